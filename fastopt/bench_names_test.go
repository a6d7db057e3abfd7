package fastopt_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/passes"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Reads by name, of 10,000 options whose values a tier has told. The first rival
// is xsync's Load of a pointer; each reads the value it finds. Names asked for are
// copies: to look up the stored string itself flatters.

const (
	benchNames = 10_000
	benchAsks  = 1 << 16
)

// benchAsked returns the order in which names are asked for, by workload.
func benchAsked(name func(i int) string) map[string][]string {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 1, benchNames-1)
	asked := map[string][]string{}
	for kind, next := range map[string]func() int{
		"hot": func() int { return 42 }, "zipf": func() int { return int(zipf.Uint64()) }, "uniform": func() int { return random.IntN(benchNames) },
	} {
		ask := make([]string, benchAsks)
		for i := range ask {
			ask[i] = strings.Clone(name(next()))
		}
		asked[kind] = ask
	}
	return asked
}

// benchNamed is a manager whose options all have a value of their own.
func benchNamed(b *testing.B, count bool) *fastopt.Manager {
	b.Helper()
	var r fastopt.Registry
	for i := range benchNames {
		fastopt.New(&r, benchName(i), 0)
	}
	m, err := fastopt.Open(b.Context(), fastopt.Config{Source: memory.NewSource(), CountReads: count}, &r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	for first := 0; first < benchNames; first += 500 {
		values := map[string]any{}
		for i := first; i < first+500; i++ {
			values[benchName(i)] = i
		}
		if _, err := m.SetAll(b.Context(), values); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

func benchName(i int) string { return fmt.Sprintf("service.option.%05d", i) }

// Each rival meets xsync alone: a third one between them, or one that reads the
// same memory, would decide whose caches are warm.
func BenchmarkByName(b *testing.B) {
	m, counting := benchNamed(b, false), benchNamed(b, true)
	viaXsync, plain := xsync.NewMapOf[string, *benchEntry[int]](), map[string]*benchEntry[int]{}
	for i := range benchNames {
		viaXsync.Store(benchName(i), &benchEntry[int]{value: i})
		plain[benchName(i)] = &benchEntry[int]{value: i}
	}
	asked := benchAsked(benchName)
	for _, kind := range []string{"hot", "zipf", "uniform"} {
		ask := asked[kind]
		bare := func(n int) {
			sum := 0
			for i := range n {
				v, _ := viaXsync.Load(ask[i%benchAsks])
				sum += v.value
			}
			benchSink.Store(int64(sum))
		}
		get := func(m *fastopt.Manager) passes.Rival {
			return func(n int) {
				sum := 0
				for i := range n {
					v, _ := m.Get(ask[i%benchAsks])
					sum += v.(int)
				}
				benchSink.Store(int64(sum))
			}
		}
		b.Run(kind+"/plain-map", func(b *testing.B) {
			benchAgainst(b, bare, func(n int) {
				sum := 0
				for i := range n {
					sum += plain[ask[i%benchAsks]].value
				}
				benchSink.Store(int64(sum))
			})
		})
		b.Run(kind+"/Manager.Get", func(b *testing.B) { benchAgainst(b, bare, get(m)) })
		b.Run(kind+"/counted", func(b *testing.B) { benchAgainst(b, bare, get(counting)) })
		b.Run(kind+"/Lookup", func(b *testing.B) {
			benchAgainst(b, bare, func(n int) {
				sum := 0
				for i := range n {
					v, _ := fastopt.Lookup[int](m, ask[i%benchAsks])
					sum += v
				}
				benchSink.Store(int64(sum))
			})
		})
	}
}
