// Workloads: ways to use a store, each as somebody who does n operations when
// asked to, again and again.

package peers

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/internal/passes"
)

// A rival is a workload on one store.
type rival struct {
	do      passes.Rival
	changes atomic.Int64 // made beside the reads
}

var sink atomic.Int64 // so that no read is optimized away

// A preparation makes rivals of stores of size keys; what it asks for is the
// same for each.
type preparation func(size int) func(s Store) *rival

// inOrder reads; each operation is one read of an order that repeats after asked.
func inOrder(o Order, asked int) preparation {
	return func(size int) func(s Store) *rival {
		ask := NewAsk(o, size, asked, 1)
		return func(s Store) *rival { return &rival{do: reading(s, ask)} }
	}
}

// A summer is the part of a Store that reads in an order.
type summer interface{ Sum(ask Ask) int }

// reading reads ask round and round.
func reading(s summer, ask Ask) passes.Rival {
	at := 0
	return func(n int) {
		for n > 0 {
			step := min(n, len(ask.At)-at)
			sink.Add(int64(s.Sum(ask.part(at, step))))
			at, n = (at+step)%len(ask.At), n-step
		}
	}
}

// inChain reads where each read says what the next one is of, so that none can
// begin before the one before has ended.
func inChain(size int) func(s Store) *rival {
	keys := Keys(size)
	return func(s Store) *rival {
		at := 0
		return &rival{do: func(n int) { at = s.Walk(keys, at, n) }}
	}
}

// mixed writes once in every operations, and reads else. Keys are in the order of zipf.
func mixed(every int) preparation {
	return func(size int) func(s Store) *rival {
		const asked = 1 << 16
		ask := NewAsk(Zipf, size, asked, 1)
		truth := values(size)
		return func(s Store) *rival {
			at, due := 0, every
			return &rival{do: func(n int) {
				for ; n > 0; n-- {
					if due--; due == 0 {
						due = every
						must(s.Set(ask.At[at], ask.Keys[at], truth[ask.At[at]]))
						at = (at + 1) % asked
						continue
					}
					step := min(n, due, asked-at)
					sink.Add(int64(s.Sum(ask.part(at, step))))
					at, n, due = (at+step)%asked, n-step+1, due-step+1
				}
			}}
		}
	}
}

// must ends the benchmark: a peer that fails in memory has no row.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// byRequest reads RequestSize options in each operation.
func byRequest(size int) func(s Store) *rival {
	ask := Ask{At: make([]int, RequestSize), Keys: Keys(RequestSize)}
	for i := range ask.At {
		ask.At[i] = i % size
	}
	return func(s Store) *rival {
		if r, ok := s.(Requester); ok {
			return &rival{do: func(n int) { sink.Add(int64(r.Requests(n))) }}
		}
		return &rival{do: func(n int) {
			for range n {
				sink.Add(int64(s.Sum(ask)))
			}
		}}
	}
}

// Paces of who changes something beside the reads. All peers but rueidis can
// keep them.
const (
	publishPace = 10 * time.Microsecond
	stormPace   = 100 * time.Microsecond // each of 10,000 keys once a second
)

// besidePublisher reads one key while its neighbour is set again and again.
func besidePublisher(size int) func(s Store) *rival {
	ask := NewAsk(Hot, size, 1<<10, 1)
	key, value := Key(hotKey+1), values(size)[hotKey+1]
	return func(s Store) *rival {
		r := new(rival)
		r.do = r.beside(reading(s, ask), publishPace, func() { must(s.Set(hotKey+1, key, value)) })
		return r
	}
}

// inStorm reads while one key after the other is invalidated.
func inStorm(size int) func(s Store) *rival {
	ask := NewAsk(Zipf, size, 1<<16, 1)
	keys := Keys(size)
	return func(s Store) *rival {
		r, next := new(rival), 0
		r.do = r.beside(reading(s, ask), stormPace, func() {
			must(s.Invalidate(next, keys[next]))
			next = (next + 1) % size
		})
		return r
	}
}

// beside does work while another goroutine changes something at a pace, which
// goes on from one call to the next. Who cannot keep it changes without a rest.
func (r *rival) beside(work passes.Rival, pace time.Duration, change func()) passes.Rival {
	rest := pace // until the next change
	return func(n int) {
		var done atomic.Bool
		var other sync.WaitGroup
		other.Go(func() {
			next := time.Now().Add(rest)
			for !done.Load() {
				if rest = time.Until(next); rest > 0 {
					continue
				}
				change()
				r.changes.Add(1)
				next = next.Add(max(pace, -rest))
			}
		})
		work(n)
		done.Store(true)
		other.Wait()
	}
}

// together does work in several goroutines at once, n operations in each.
func together(work []passes.Rival) passes.Rival {
	return func(n int) {
		var all sync.WaitGroup
		for _, w := range work {
			all.Go(func() { w(n) })
		}
		all.Wait()
	}
}
