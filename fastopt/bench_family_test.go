package fastopt_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/passes"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// What members of families cost: to read, and in memory. The rival of a read is
// xsync's Load of a pointer, alone (x-bare) and with the value that it points to
// (x-value).

// benchRows is a source that has a value for every name, and keeps none.
type benchRows struct{ *memory.Source }

func (s benchRows) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := make([]tiers.Result, len(names))
	for i, name := range names {
		rs[i].Record = tiers.Record{Name: name, Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}, Data: []byte("7"), AsOf: time.Now()}
	}
	return rs
}

func benchKey(i int) string { return fmt.Sprintf("tenant-%014d", i) } // 21 bytes

// benchFamily is a family of which so many members are in memory.
func benchFamily(b *testing.B, count int) *fastopt.Family[int] {
	b.Helper()
	var r fastopt.Registry
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "limit", Default: 1, MaxEntries: count + 1000})
	m, err := fastopt.Open(b.Context(), fastopt.Config{Source: benchRows{memory.NewSource()},
		FamilyBudget: fastopt.Budget{Rate: 10_000, Burst: 10_000, AtOnce: 2}, TTL: time.Hour, LoadTimeout: 20 * time.Second, LeaseTime: 30 * time.Second}, &r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	names := make([]string, 0, 5000)
	for at := 0; at < count; at += len(names) {
		names = names[:0]
		for i := at; i < min(at+5000, count); i++ {
			names = append(names, "limit/"+benchKey(i))
		}
		if _, err := m.Load(b.Context(), names...); err != nil {
			b.Fatal(err)
		}
	}
	if s := m.Stats(); s.Families[0].Entries != count || s.Families[0].Working != 0 {
		b.Fatalf("%+v", s.Families[0])
	}
	return f
}

func BenchmarkFamilyGet(all *testing.B) {
	const asks = 1 << 16
	for _, w := range []struct {
		name  string
		count int
		draw  func(i int) int
	}{
		{"hot", 1, func(int) int { return 0 }},
		{"zipf10k", 10_000, func() func(int) int {
			z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, 9_999)
			return func(int) int { return int(z.Uint64()) }
		}()},
		{"uniform1M", 1_000_000, func(int) int { return rand.IntN(1_000_000) }},
	} {
		var f *fastopt.Family[int]
		var bare *xsync.MapOf[string, *benchEntry[int]]
		ask := make([]string, asks)
		all.Run(w.name, func(b *testing.B) {
			if f == nil { // else once for each length of the benchmark
				f, bare = benchFamily(all, w.count), xsync.NewMapOf[string, *benchEntry[int]]()
				for i := range w.count {
					bare.Store(benchKey(i), &benchEntry[int]{value: 7})
				}
				for i := range ask {
					ask[i] = strings.Clone(benchKey(w.draw(i)))
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			at := [3]int{0, asks / 3, 2 * asks / 3} // each goes on where it was, and finds nothing that another has just warmed
			fs := passes.Time(b.N, func(n int) {
				for range n {
					benchSinkPtr, _ = bare.Load(ask[at[0]&(asks-1)])
					at[0]++
				}
			}, func(n int) {
				sum := 0
				for range n {
					e, _ := bare.Load(ask[at[1]&(asks-1)])
					sum += e.value
					at[1]++
				}
				benchSink.Store(int64(sum))
			}, func(n int) {
				sum := 0
				for range n {
					sum += f.Get(ask[at[2]&(asks-1)])
					at[2]++
				}
				if sum != 7*n {
					b.Fatal("a miss")
				}
				benchSink.Store(int64(sum))
			})
			b.ReportMetric(fs[0].NS, "bare-ns/op")
			b.ReportMetric(fs[2].NS, "ns/op")
			b.ReportMetric(fs[2].Ratio, "x-bare")
			b.ReportMetric(fs[2].NS/fs[1].NS, "x-value")
		})
	}
}

// BenchmarkFamilyMemory is what a million members take, but for what the source
// and the names asked for take.
func BenchmarkFamilyMemory(b *testing.B) {
	const count = 1_000_000
	for b.Loop() {
		before := benchHeap()
		f := benchFamily(b, count)
		after := benchHeap()
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/count, "B/entry")
		b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/count, "objects/entry")
		start := time.Now()
		for range 5 {
			runtime.GC()
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds())/5, "gc-ms")
		runtime.KeepAlive(f)
	}
}

func benchHeap() (s runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s
}
