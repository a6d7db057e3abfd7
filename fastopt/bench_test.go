package fastopt_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/passes"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// What reads and writes cost. A read is timed in turns with the least that any
// library could do for it, and x-bare is the ratio of the two: it holds on a
// busy machine, the nanoseconds do not. Names are stable: they are tracked.

// benchEntry is as large as an entry of the library: a value and a pointer.
type benchEntry[T any] struct {
	value T
	_     *int
}

// benchBare is the rival: nothing but the atomic pointer.
type benchBare[T any] struct {
	current atomic.Pointer[benchEntry[T]]
}

func newBenchBare[T any](v T) *benchBare[T] {
	p := &benchBare[T]{}
	p.current.Store(&benchEntry[T]{value: v})
	return p
}

func (p *benchBare[T]) Get() T { return p.current.Load().value }

// benchLimits has 32 bytes.
type benchLimits struct {
	Rate  float64
	Burst int64
	Name  string
}

var (
	benchSink    atomic.Int64
	benchSinkAny any
	benchSinkPtr *benchEntry[int]
)

// benchAgainst reports read beside bare.
func benchAgainst(b *testing.B, bare, read passes.Rival) {
	b.ReportAllocs()
	b.ResetTimer() // what it takes to set up decides nothing about b.N
	f := passes.Time(b.N, bare, read)
	b.ReportMetric(f[0].NS, "bare-ns/op")
	b.ReportMetric(f[1].NS, "ns/op")
	b.ReportMetric(f[1].Ratio, "x-bare")
}

// Each loop makes four reads a turn: with one, the ratio of two identical loops
// is up to 1.2, by where the linker happens to put them.
const benchTurn = 4

func BenchmarkOptionGet(b *testing.B) {
	b.Run("bool", func(b *testing.B) {
		o, p := fastopt.New(new(fastopt.Registry), "bool", true), newBenchBare(true)
		benchAgainst(b, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += foldBool(p.Get())
				sum += foldBool(p.Get())
				sum += foldBool(p.Get())
				sum += foldBool(p.Get())
			}
			benchSink.Store(sum)
		}, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += foldBool(o.Get())
				sum += foldBool(o.Get())
				sum += foldBool(o.Get())
				sum += foldBool(o.Get())
			}
			benchSink.Store(sum)
		})
	})
	b.Run("int64", func(b *testing.B) {
		o, p := fastopt.New(new(fastopt.Registry), "int64", int64(7)), newBenchBare(int64(7))
		benchAgainst(b, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += p.Get()
				sum += p.Get()
				sum += p.Get()
				sum += p.Get()
			}
			benchSink.Store(sum)
		}, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += o.Get()
				sum += o.Get()
				sum += o.Get()
				sum += o.Get()
			}
			benchSink.Store(sum)
		})
	})
	b.Run("string", func(b *testing.B) {
		o, p := fastopt.New(new(fastopt.Registry), "string", "seven"), newBenchBare("seven")
		benchAgainst(b, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += foldString(p.Get())
				sum += foldString(p.Get())
				sum += foldString(p.Get())
				sum += foldString(p.Get())
			}
			benchSink.Store(sum)
		}, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += foldString(o.Get())
				sum += foldString(o.Get())
				sum += foldString(o.Get())
				sum += foldString(o.Get())
			}
			benchSink.Store(sum)
		})
	})
	b.Run("struct32", func(b *testing.B) {
		o, p := fastopt.New(new(fastopt.Registry), "struct32", benchLimits{0.5, 7, "seven"}), newBenchBare(benchLimits{0.5, 7, "seven"})
		benchAgainst(b, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += foldLimits(p.Get())
				sum += foldLimits(p.Get())
				sum += foldLimits(p.Get())
				sum += foldLimits(p.Get())
			}
			benchSink.Store(sum)
		}, func(n int) {
			sum := int64(0)
			for range n/benchTurn + 1 {
				sum += foldLimits(o.Get())
				sum += foldLimits(o.Get())
				sum += foldLimits(o.Get())
				sum += foldLimits(o.Get())
			}
			benchSink.Store(sum)
		})
	})
}

// What a user does with a value, so that all of it is read.

func foldBool(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

func foldString(v string) int64 { return int64(len(v)) + int64(v[0]) }

func foldLimits(v benchLimits) int64 { return v.Burst + int64(v.Rate) + int64(len(v.Name)) }

// BenchmarkOptionGetMany reads many options in random order, where the bytes
// touched show: x-bare against as many bare pointers, each behind a variable as
// a handle is; x-array against an array of them, which saves a load. Counts are
// powers of two.
func BenchmarkOptionGetMany(b *testing.B) {
	for _, count := range []int{512, 8192} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var r fastopt.Registry
			array := make([]benchBare[int64], count)
			bare := make([]*benchBare[int64], count)
			options := make([]*fastopt.Option[int64], count)
			for i := range count {
				bare[i] = newBenchBare(int64(i))
				array[i].current.Store(bare[i].current.Load())
				options[i] = fastopt.New(&r, fmt.Sprintf("option.%d", i), int64(i))
			}
			order, sum := rand.New(rand.NewPCG(1, 2)).Perm(count), int64(0)
			b.ReportAllocs()
			b.ResetTimer()
			f := passes.Time(b.N, func(n int) {
				for i := range n {
					sum += bare[order[i&(count-1)]].Get()
				}
			}, func(n int) {
				for i := range n {
					sum += array[order[i&(count-1)]].Get()
				}
			}, func(n int) {
				for i := range n {
					sum += options[order[i&(count-1)]].Get()
				}
			})
			benchSink.Store(sum)
			b.ReportMetric(f[0].NS, "bare-ns/op")
			b.ReportMetric(f[2].NS, "ns/op")
			b.ReportMetric(f[2].Ratio, "x-bare")
			b.ReportMetric(f[2].Ratio/f[1].Ratio, "x-array")
		})
	}
}

// benchOpen opens a manager of the registry over stores in memory.
func benchOpen(b *testing.B, r *fastopt.Registry) *fastopt.Manager {
	b.Helper()
	m, err := fastopt.Open(b.Context(), fastopt.Config{Cache: memory.NewCache(), Source: memory.NewSource()}, r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	return m
}

// BenchmarkManagerGet reads by name. The rival is xsync's Load of a pointer.
// The names asked for are copies: to look up the stored string itself flatters.
func BenchmarkManagerGet(b *testing.B) {
	const count = 10_000
	var r fastopt.Registry
	bare := xsync.NewMapOf[string, *benchEntry[int]]()
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("service.option.%05d", i)
		fastopt.New(&r, strings.Clone(names[i]), i)
		bare.Store(strings.Clone(names[i]), &benchEntry[int]{value: i})
	}
	m := benchOpen(b, &r)
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 1, count-1)
	orders := map[string]func() int{
		"hot": func() int { return 42 }, "zipf": func() int { return int(zipf.Uint64()) }, "uniform": func() int { return random.IntN(count) },
	}
	for _, kind := range []string{"hot", "zipf", "uniform"} {
		b.Run(kind, func(b *testing.B) {
			ask := make([]string, 1<<16)
			for i := range ask {
				ask[i] = names[orders[kind]()]
			}
			benchAgainst(b, func(n int) {
				for i := range n {
					benchSinkPtr, _ = bare.Load(ask[i&(1<<16-1)])
				}
			}, func(n int) {
				for i := range n {
					benchSinkAny, _ = m.Get(ask[i&(1<<16-1)])
				}
			})
		})
	}
}

// benchOption is an option that the source has a value of.
func benchOption(b *testing.B) *fastopt.Option[int] {
	b.Helper()
	var r fastopt.Registry
	o := fastopt.New(&r, "option", 1)
	benchOpen(b, &r)
	if _, err := o.Set(b.Context(), 7); err != nil {
		b.Fatal(err)
	}
	if got := o.Load(b.Context()); got.State != fastopt.Fresh || got.Value != 7 {
		b.Fatalf("the option reads %v, %v", got.State, got.Err)
	}
	return o
}

func BenchmarkInspect(b *testing.B) {
	o := benchOption(b)
	b.ReportAllocs()
	for b.Loop() {
		benchSink.Store(int64(o.Inspect().Value))
	}
}

// BenchmarkLoadFresh is a Load that need not wait.
func BenchmarkLoadFresh(b *testing.B) {
	o, ctx := benchOption(b), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		benchSink.Store(int64(o.Load(ctx).Value))
	}
}

// BenchmarkPoint is what a named point costs a production binary.
func BenchmarkPoint(b *testing.B) {
	owner := &fastopt.Manager{}
	for b.Loop() {
		point.At(point.InstallSwap, owner, "option")
	}
}

// BenchmarkSet writes to stores in memory. points/op is how many named points
// one write passes, in all goroutines; x-hooked is the cost of a Set with an
// empty hook in all of them to one without.
func BenchmarkSet(b *testing.B) {
	o, ctx := benchOption(b), b.Context()
	set := func(n int) {
		for i := range n {
			if _, err := o.Set(ctx, i); err != nil {
				b.Fatal(err)
			}
		}
	}
	var passed atomic.Int64
	restore := point.Set(func(point.Point, any, string) { passed.Add(1) })
	set(1000)
	restore()
	b.ReportAllocs()
	b.ResetTimer()
	f := passes.Time(b.N, set, func(n int) {
		defer point.Set(func(point.Point, any, string) {})()
		set(n)
	})
	b.ReportMetric(f[0].NS, "ns/op")
	b.ReportMetric(f[1].Ratio, "x-hooked")
	b.ReportMetric(float64(passed.Load())/1000, "points/op")
}

// BenchmarkSourceWrite is the part of a Set that the store in memory takes.
func BenchmarkSourceWrite(b *testing.B) {
	s, ctx := memory.NewSource(), b.Context()
	writes := []tiers.Write{{Name: "option", Data: []byte("7")}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Write(ctx, "default", writes); err != nil {
			b.Fatal(err)
		}
	}
}
