package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/fastopt"
)

// What Get costs during a fault: batches of Gets in turns with batches of bare
// atomic.Pointer loads, of entries of the same size behind as many handles, on one
// goroutine. Whatever the machine does to one it does to the other.

const (
	batch   = 1000
	handles = 100                   // read in turn, so that both kinds and what they point to fit the nearest cache
	burst   = 400                   // pairs of batches
	breathe = 25 * time.Millisecond // between bursts, so that 8 readers leave the machine to others
	tooLong = int64(10 * time.Millisecond)
	perTurn = 4 // reads of a turn: with one, where the linker puts a loop shows
)

// pair is as large as the library's entry of an int64.
type pair struct {
	value int64
	facts *int
}

type reader struct {
	options []*fastopt.Option[int64] // a multiple of perTurn
	bare    []*atomic.Pointer[pair]  // as many
	base    time.Time
	sink    atomic.Int64 // so that no loop is optimized away

	gets, bares tally
	long        [2][]int64 // of each: batches that took over tooLong
	most        [2]int64   // of each: the longest
}

func newReader(options []*fastopt.Option[int64]) *reader {
	r := &reader{options: options, base: time.Now(), gets: newTally(), bares: newTally()}
	for range options {
		p := new(atomic.Pointer[pair])
		p.Store(&pair{value: 7, facts: new(int)})
		r.bare = append(r.bare, p)
	}
	return r
}

// read measures for so long, in so many slices.
func (r *reader) read(ctx context.Context, lasts time.Duration, parts int) (all []slice) {
	start := time.Now()
	for i := range parts {
		clock := r.clock()
		end := start.Add(lasts * time.Duration(i+1) / time.Duration(parts))
		for {
			r.burst() // once at least, however late it is
			if worker.Pause(ctx, min(breathe, time.Until(end))); !time.Now().Before(end) || ctx.Err() != nil {
				break
			}
		}
		all = append(all, slice{
			Gets: r.gets.histogram(), Bare: r.bares.histogram(), Clock: clock,
			Waited: over(r.long[0], r.most[1]), Mirror: over(r.long[1], r.most[0]),
		})
		r.long, r.most = [2][]int64{}, [2]int64{}
	}
	return all
}

// over counts what exceeds most by more than tooLong.
func over(long []int64, most int64) (n int) {
	for _, d := range long {
		if d > most+tooLong {
			n++
		}
	}
	return n
}

// clock returns what a measured duration holds of the clock itself.
func (r *reader) clock() int64 {
	all := make([]int64, 101)
	for i := range all {
		t := r.now()
		all[i] = r.now() - t
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (r *reader) now() int64 { return int64(time.Since(r.base)) }

// burst reads pairs of batches; who comes first takes turns.
func (r *reader) burst() {
	sum := int64(0)
	for i := range burst {
		t0 := r.now()
		if i%2 == 0 {
			sum += readOptions(r.options)
			t1 := r.now()
			sum += readBare(r.bare)
			r.note(t1-t0, r.now()-t1)
		} else {
			sum += readBare(r.bare)
			t1 := r.now()
			sum += readOptions(r.options)
			r.note(r.now()-t1, t1-t0)
		}
	}
	r.sink.Store(sum)
}

func (r *reader) note(gets, bare int64) {
	r.gets[bucket(gets)]++
	r.bares[bucket(bare)]++
	for i, d := range [2]int64{gets, bare} {
		r.most[i] = max(r.most[i], d)
		if d > tooLong {
			r.long[i] = append(r.long[i], d)
		}
	}
}

//go:noinline
func readOptions(options []*fastopt.Option[int64]) (sum int64) {
	for n := 0; n < batch; {
		for i := 0; i+perTurn <= len(options) && n < batch; i, n = i+perTurn, n+perTurn {
			sum += options[i].Get()
			sum += options[i+1].Get()
			sum += options[i+2].Get()
			sum += options[i+3].Get()
		}
	}
	return sum
}

//go:noinline
func readBare(bare []*atomic.Pointer[pair]) (sum int64) {
	for n := 0; n < batch; {
		for i := 0; i+perTurn <= len(bare) && n < batch; i, n = i+perTurn, n+perTurn {
			sum += bare[i].Load().value
			sum += bare[i+1].Load().value
			sum += bare[i+2].Load().value
			sum += bare[i+3].Load().value
		}
	}
	return sum
}
