// Package bench measures the library against what else a service could use. It
// is a module of its own, so that rivals enter no user's module graph.
package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/passes"
)

// Looking up one of ten thousand options by name, and reading one through a
// handle. All rivals of a benchmark run in turns; figures are medians over the
// passes, and x-… is the ratio to the first rival in the same pass.

const (
	names = 10_000
	asked = 1 << 16 // a power of two
)

// A subject is a rival with the name under which its figures are reported.
type subject struct {
	name string
	run  passes.Rival
}

// inTurns reports the first subject's ns/op, and of each other its ns and its
// ratio to the first.
func inTurns(b *testing.B, subjects ...subject) {
	b.Helper()
	rivals := make([]passes.Rival, len(subjects))
	for i, s := range subjects {
		rivals[i] = s.run
	}
	f := passes.Time(b.N, rivals...)
	b.ReportMetric(f[0].NS, "ns/op")
	for i, s := range subjects[1:] {
		b.ReportMetric(f[i+1].NS, s.name+"-ns")
		b.ReportMetric(f[i+1].Ratio, "x-"+s.name)
	}
}

// A workload is the order in which names are asked for. They are copies: to
// look up the stored string itself flatters, for equal pointers compare fast.
func workload(kind string) []string {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 1, names-1)
	next := map[string]func() int{
		"hot": func() int { return 42 }, "zipf": func() int { return int(zipf.Uint64()) }, "uniform": func() int { return random.IntN(names) },
	}[kind]
	ask := make([]string, asked)
	for i := range ask {
		ask[i] = strings.Clone(name(next()))
	}
	return ask
}

func name(i int) string { return fmt.Sprintf("service.option.%05d", i) }

// value is what rivals keep under a name: as large as an entry of the library.
type value struct {
	n int
	_ *int
}

var (
	sinkValue *value
	sinkAny   any
	sinkInt   int
)

// BenchmarkByName compares maps that hold 10,000 options. The first rival is
// xsync's Load of a pointer; each then reads the value.
func BenchmarkByName(b *testing.B) {
	var (
		viaXsync = xsync.NewMapOf[string, *value]()
		viaSync  sync.Map
		locked   sync.RWMutex
		viaLock  = map[string]*value{}
		frozen   = map[string]*value{}
		r        fastopt.Registry
	)
	for i := range names {
		v := &value{n: i}
		viaXsync.Store(name(i), v)
		viaSync.Store(name(i), v)
		viaLock[name(i)], frozen[name(i)] = v, v
		fastopt.New(&r, name(i), i)
	}
	m, err := fastopt.Open(b.Context(), fastopt.Config{}, &r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	for _, kind := range []string{"hot", "zipf", "uniform"} {
		ask := workload(kind)
		b.Run(kind, func(b *testing.B) {
			inTurns(b, subject{"xsync", func(n int) {
				for i := range n {
					sinkValue, _ = viaXsync.Load(ask[i&(asked-1)])
					sinkInt += sinkValue.n
				}
			}}, subject{"frozen-map", func(n int) {
				for i := range n {
					sinkValue = frozen[ask[i&(asked-1)]]
					sinkInt += sinkValue.n
				}
			}}, subject{"sync.Map", func(n int) {
				for i := range n {
					v, _ := viaSync.Load(ask[i&(asked-1)])
					sinkValue = v.(*value)
					sinkInt += sinkValue.n
				}
			}}, subject{"rwmutex", func(n int) {
				for i := range n {
					locked.RLock()
					sinkValue = viaLock[ask[i&(asked-1)]]
					locked.RUnlock()
					sinkInt += sinkValue.n
				}
			}}, subject{"Manager.Get", func(n int) {
				for i := range n {
					sinkAny, _ = m.Get(ask[i&(asked-1)])
					sinkInt += sinkAny.(int)
				}
			}}, subject{"Lookup", func(n int) {
				for i := range n {
					v, _ := fastopt.Lookup[int](m, ask[i&(asked-1)])
					sinkInt += v
				}
			}})
		})
	}
}

// A config is what a service without a library keeps behind one pointer. Five
// fields are read by each request.
type config struct {
	rate             float64
	burst, size, try int
	on               bool
	_                [256]byte
}

// BenchmarkRequest reads five options as a request would: from the fields of
// one struct behind one atomic pointer, the honest rival, and through handles.
func BenchmarkRequest(b *testing.B) {
	var current atomic.Pointer[config]
	current.Store(&config{rate: 1, burst: 2, size: 3, try: 4, on: true})
	var r fastopt.Registry
	rate, on := fastopt.New(&r, "rate", 1.0), fastopt.New(&r, "on", true)
	burst, size, try := fastopt.New(&r, "burst", 2), fastopt.New(&r, "size", 3), fastopt.New(&r, "try", 4)
	inTurns(b, subject{"struct", func(n int) {
		sum := 0
		for range n {
			if c := current.Load(); c.on {
				sum += int(c.rate) + c.burst + c.size + c.try
			}
		}
		sinkInt = sum
	}}, subject{"handles", func(n int) {
		sum := 0
		for range n {
			if on.Get() {
				sum += int(rate.Get()) + burst.Get() + size.Get() + try.Get()
			}
		}
		sinkInt = sum
	}})
}
