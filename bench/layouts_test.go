package bench

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/fastopt/fastopt-go/internal/passes"
)

// Ways to lay out a handle and what it points to, measured where it shows: in a
// chain of reads each of which says what is read next. All are local copies; the
// library's is "today". The first rival is a bare atomic pointer to an entry of 16
// bytes, each in an object of its own that a variable points to, as a handle is;
// x-… is the ratio to it in the same pass.

// facts are as large as what the library knows of an entry beside its value.
type facts [120]byte

type small struct { // 16 bytes: value first, all else behind a pointer
	value int64
	*facts
}

type medium struct { // 48 bytes: value first, some of the rest inline
	value int64
	_     *facts
	_     [32]byte
}

type large struct { // 64 bytes: value first, what a read by the clock needs inline
	value int64
	_     *facts
	_     [48]byte
}

type alone struct{ value int64 } // 8 bytes: the facts hang on the handle, and change apart from it

// A handle of 16 bytes is today's: the pointer, and one to everything else.
type handle[E any] struct {
	current atomic.Pointer[E]
	_       *facts
}

// A fat handle has everything else in itself.
type fat[E any] struct {
	current atomic.Pointer[E]
	_       [104]byte
}

// A worded handle has the value itself, too, where it is one word: it and the
// pointer cannot change together.
type worded struct {
	word    atomic.Int64
	current atomic.Pointer[small]
}

// A subject is a rival with the name under which its figures are reported.
type subject struct {
	name string
	run  passes.Rival
}

var sinkInt int

// chain returns a random cycle through n indices (Sattolo's algorithm).
func chain(n int) []int64 {
	random := rand.New(rand.NewPCG(5, 6))
	cycle := make([]int64, n)
	for i := range cycle {
		cycle[i] = int64(i)
	}
	for i := n - 1; i > 0; i-- {
		j := random.IntN(i)
		cycle[i], cycle[j] = cycle[j], cycle[i]
	}
	return cycle
}

// inRow makes handles one right after the other, and entries in the same order.
func inRow[H any](values []int64, set func(h *H, v int64)) []*H {
	handles := make([]*H, len(values))
	for i := range handles {
		handles[i] = new(H)
	}
	for i, v := range values {
		set(handles[i], v)
	}
	return handles
}

// amid makes handles each followed by a first entry, which a second one replaces.
func amid[H any](values []int64, set func(h *H, v int64)) []*H {
	handles := make([]*H, len(values))
	for i := range handles {
		handles[i] = new(H)
		set(handles[i], 0)
	}
	for i, v := range values {
		set(handles[i], v)
	}
	return handles
}

// apart makes handles with 112 bytes from one to the next, as declaring would
// leave them if they were not put side by side: each has a cache line of its own.
func apart[H any](values []int64, set func(h *H, v int64)) []*H {
	handles := make([]*H, len(values))
	for i := range handles {
		handles[i] = new(H)
		for range 6 {
			sinkRubbish = new(small)
		}
	}
	for i, v := range values {
		set(handles[i], v)
	}
	return handles
}

var sinkRubbish *small

func setSmall(h *handle[small], v int64)   { h.current.Store(&small{v, new(facts)}) }
func setBare(h *handle[small], v int64)    { h.current.Store(&small{value: v}) }
func setMedium(h *handle[medium], v int64) { h.current.Store(&medium{value: v}) }
func setLarge(h *handle[large], v int64)   { h.current.Store(&large{value: v}) }
func setAlone(h *handle[alone], v int64)   { h.current.Store(&alone{v}) }
func setFat(h *fat[small], v int64)        { h.current.Store(&small{value: v}) }
func setWorded(h *worded, v int64)         { h.word.Store(v); h.current.Store(&small{value: v}) }

// BenchmarkLayouts: BenchmarkLayouts/<handles>.
func BenchmarkLayouts(b *testing.B) {
	for _, count := range []int{64, 512, 2048, 8192} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			values := chain(count)
			array := make([]atomic.Pointer[small], count)
			for i, v := range values {
				array[i].Store(&small{value: v})
			}
			layouts := []subject{
				{"bare", walkSmall(inRow(values, setBare))},
				{"array", func(n int) { walkArray(array, n) }},
				{"today", walkSmall(inRow(values, setSmall))},
				{"today-amid", walkSmall(amid(values, setSmall))},
				{"today-apart", walkSmall(apart(values, setSmall))},
				{"inline-48", walkMedium(inRow(values, setMedium))},
				{"inline-64", walkLarge(inRow(values, setLarge))},
				{"meta-behind-handle", walkAlone(inRow(values, setAlone))},
				{"fat-handle", walkFat(inRow(values, setFat))},
				{"word", walkWorded(inRow(values, setWorded))},
			}
			rivals := make([]passes.Rival, len(layouts))
			for i, l := range layouts {
				rivals[i] = l.run
			}
			b.ResetTimer()
			// Each must bring its own into the processor's caches again.
			f := passes.Time(max(b.N, passes.Passes*16*count), rivals...)
			b.ReportMetric(f[0].NS, "ns/op")
			for i, l := range layouts[1:] {
				b.ReportMetric(f[i+1].Ratio, "x-"+l.name)
			}
		})
	}
}

// The loops are written out: one loop over an interface or a type parameter would
// cost more than the reads.

func walkSmall(handles []*handle[small]) passes.Rival {
	return func(n int) {
		at := int64(0)
		for range n {
			at = handles[at].current.Load().value
		}
		sinkInt = int(at)
	}
}

func walkMedium(handles []*handle[medium]) passes.Rival {
	return func(n int) {
		at := int64(0)
		for range n {
			at = handles[at].current.Load().value
		}
		sinkInt = int(at)
	}
}

func walkLarge(handles []*handle[large]) passes.Rival {
	return func(n int) {
		at := int64(0)
		for range n {
			at = handles[at].current.Load().value
		}
		sinkInt = int(at)
	}
}

func walkAlone(handles []*handle[alone]) passes.Rival {
	return func(n int) {
		at := int64(0)
		for range n {
			at = handles[at].current.Load().value
		}
		sinkInt = int(at)
	}
}

func walkFat(handles []*fat[small]) passes.Rival {
	return func(n int) {
		at := int64(0)
		for range n {
			at = handles[at].current.Load().value
		}
		sinkInt = int(at)
	}
}

func walkWorded(handles []*worded) passes.Rival {
	return func(n int) {
		at := int64(0)
		for range n {
			at = handles[at].word.Load()
		}
		sinkInt = int(at)
	}
}

func walkArray(slots []atomic.Pointer[small], n int) {
	at := int64(0)
	for range n {
		at = slots[at].Load().value
	}
	sinkInt = int(at)
}
