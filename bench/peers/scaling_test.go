package peers

import (
	"context"
	"runtime"
	"testing"

	"github.com/fastopt/fastopt-go/internal/passes"
)

// What a second reader costs the first one.

// readers returns n readers of a store, each with an order of its own.
func readers(s Store, o Order, n int) []passes.Rival {
	work := make([]passes.Rival, n)
	for i := range work {
		work[i] = reading(s, NewAsk(o, readersSize, 1<<15, uint64(i)))
	}
	return work
}

const readersSize = 10_000

// wakes is how many operations a reader makes at least per pass, so that to start
// its goroutine takes little of it.
const wakes = 50_000

func openReaders(b *testing.B, name string) Store {
	b.Helper()
	p, ok := Named(name)
	if !ok {
		b.Fatalf("no peer is named %s", name)
	}
	s, err := p.Open(context.Background(), readersSize)
	if err != nil {
		b.Fatalf("open %s: %v", name, err)
	}
	b.Cleanup(func() { must(s.Close()) })
	return s
}

// BenchmarkParallel is BenchmarkPeers with as many readers as there are
// processors (-cpu), each with an order of its own: BenchmarkParallel/<order>/<peer>.
// ns/op is of one reader.
func BenchmarkParallel(b *testing.B) {
	for _, o := range []Order{Hot, Zipf} {
		b.Run(string(o), func(b *testing.B) {
			for _, p := range All() {
				if p.Job == DoesMore {
					continue
				}
				b.Run(p.Name, func(b *testing.B) {
					n := runtime.GOMAXPROCS(0)
					other := references(p)[0]
					run := together(readers(openReaders(b, p.Name), o, n))
					against := together(readers(openReaders(b, other), o, n))
					b.ResetTimer()
					f := passes.Time(max(b.N, passes.Passes*enough(p)), run, against)
					b.ReportMetric(f[0].NS, "ns/op")
					if other != p.Name {
						b.ReportMetric(1/f[1].Ratio, "x-"+other)
					}
				})
			}
		})
	}
}

// enough is how many operations a pass has at least.
func enough(p Peer) int {
	if p.Job == ByHandle {
		return wakes * handleFactor
	}
	return wakes
}

// BenchmarkScaling compares two readers at once, in the order of zipf, with one
// alone, in turns. x-scaling is how much more the two read together: 2 is all
// that two processors can do. x-bare is that by the scaling of bare atomic
// pointers in the same run. ns/op is of one reader of two.
func BenchmarkScaling(b *testing.B) {
	for _, p := range All() {
		if p.Job == DoesMore {
			continue
		}
		b.Run(p.Name, func(b *testing.B) {
			own := readers(openReaders(b, p.Name), Zipf, 2)
			bare := readers(openReaders(b, "atomic.Pointer"), Zipf, 2)
			longer := wakes * handleFactor / enough(p)
			b.ResetTimer()
			f := passes.Time(max(b.N, passes.Passes*enough(p)), together(own), together(own[:1]),
				times(longer, together(bare)), times(longer, together(bare[:1])))
			scaling, least := 2*f[1].Ratio, 2*f[3].Ratio/f[2].Ratio
			b.ReportMetric(f[0].NS, "ns/op")
			b.ReportMetric(scaling, "x-scaling")
			b.ReportMetric(scaling/least, "x-bare")
		})
	}
}

// times does each operation k times.
func times(k int, do passes.Rival) passes.Rival { return func(n int) { do(k * n) } }
