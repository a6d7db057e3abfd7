package peers

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/fastopt/fastopt-go/internal/passes"
)

// What Option.Get costs where the bytes that it touches show: in a chain of
// reads none of which can begin before the last has ended, and in the order of
// zipf. x-array is the ratio to an array of atomic pointers to entries of 16
// bytes, the least there is. A service does not have its options in an array,
// but in variables that point to them: x-variables is the ratio to as many bare
// pointers that stand behind variables, as handles do.

// behindVariables are bare pointers, each an object of its own of 16 bytes, as a
// handle is.
type behindVariables struct{ slots []*paddedPointer }

type paddedPointer struct {
	current atomic.Pointer[entry]
	_       *int
}

func newBehindVariables(size int) *behindVariables {
	s := &behindVariables{slots: make([]*paddedPointer, size)}
	for i, v := range values(size) {
		s.slots[i] = new(paddedPointer)
		s.slots[i].current.Store(&entry{value: v})
	}
	return s
}

func (s *behindVariables) Sum(ask Ask) (total int) {
	slots := s.slots
	for _, i := range ask.At {
		total += slots[i].current.Load().value
	}
	return total
}

func (s *behindVariables) Walk(_ []string, at, n int) int {
	slots := s.slots
	for range n {
		at = slots[at].current.Load().value
	}
	return at
}

// handleRivals are an option's handle and the two that it is compared with.
func handleRivals(b *testing.B, size int, do func(s readsOnly) passes.Rival) []passes.Rival {
	b.Helper()
	var rivals []passes.Rival
	for _, name := range []string{"Option.Get", "atomic.Pointer"} {
		p, _ := Named(name)
		s, err := p.Open(b.Context(), size)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { must(s.Close()) })
		rivals = append(rivals, do(s))
	}
	return append(rivals, do(newBehindVariables(size)))
}

// readsOnly is the part of a Store that reads.
type readsOnly interface {
	Sum(ask Ask) int
	Walk(keys []string, at, n int) int
}

func reportHandles(b *testing.B, least int, rivals []passes.Rival) {
	b.Helper()
	b.ResetTimer()
	f := passes.Time(max(b.N, passes.Passes*least), rivals...)
	b.ReportMetric(f[0].NS, "ns/op")
	b.ReportMetric(1/f[1].Ratio, "x-array")
	b.ReportMetric(1/f[2].Ratio, "x-variables")
}

// BenchmarkHandles: chain/<handles>, and zipf-10k.
func BenchmarkHandles(b *testing.B) {
	for _, size := range []int{64, 512, 2048, 8192} {
		b.Run(fmt.Sprintf("chain/%d", size), func(b *testing.B) {
			reportHandles(b, 8*size, handleRivals(b, size, func(s readsOnly) passes.Rival {
				at := 0
				return func(n int) { at = s.Walk(nil, at, n) }
			}))
		})
	}
	b.Run("zipf-10k", func(b *testing.B) {
		ask := NewAsk(Zipf, 10_000, 1<<16, 1)
		reportHandles(b, 1<<17, handleRivals(b, 10_000, func(s readsOnly) passes.Rival { return reading(s, ask) }))
	})
}
