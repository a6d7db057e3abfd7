package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/fastopt"
)

// What a worker does in a window, healthy or not, always the same: it reads,
// loads keys that nobody has, and one of the workers writes.

const loadEvery = 250 * time.Millisecond

// observe does all of it until the window ends.
func (s *service) observe(ctx context.Context, a window) (o observation) {
	lasts, begun := time.Duration(a.Lasts), worker.Now()
	var c canary
	watched, stop := context.WithCancel(ctx)
	var all, ticking sync.WaitGroup
	ticking.Go(func() { c.run(watched) })
	all.Go(func() { o.Slices = s.reader.read(ctx, lasts, a.Slices) })
	all.Go(func() { o.Loads = s.loadCold(ctx, lasts, &c) })
	if a.Sets.Every > 0 {
		all.Go(func() { o.Sets = s.write(ctx, lasts, a.Sets) })
	}
	all.Wait()
	stop()
	ticking.Wait()
	o.Lag = c.lag(begun, worker.Now())
	return o
}

// loadCold loads a member that was never in memory every loadEvery.
func (s *service) loadCold(ctx context.Context, lasts time.Duration, c *canary) (all []load) {
	var mu sync.Mutex
	var busy sync.WaitGroup
	var spans [][2]int64
	every(ctx, lasts, loadEvery, func(int) {
		busy.Go(func() {
			key := fmt.Sprintf("cold-%d-%d", os.Getpid(), worker.Now())
			begun := worker.Now()
			s.family.Load(ctx, key)
			ended := worker.Now()
			mu.Lock()
			defer mu.Unlock()
			spans = append(spans, [2]int64{begun, ended})
		})
	})
	busy.Wait()
	worker.Pause(ctx, 10*canaryPeriod) // a timer that was due during the last one has run, too
	for _, span := range spans {
		all = append(all, load{Took: span[1] - span[0], Lag: c.lag(span[0], span[1])})
	}
	return all
}

// written is the option that is set again and again.
const written = 0

// write sets it, one Set after the other.
func (s *service) write(ctx context.Context, lasts time.Duration, a setting) (all []set) {
	every(ctx, lasts, time.Duration(a.Every), func(i int) { all = append(all, s.set(ctx, change{written, a.First + int64(i)})) })
	return all
}

// every calls do at a fixed pace until lasts is over, late if it must.
func every(ctx context.Context, lasts, period time.Duration, do func(i int)) {
	start := time.Now()
	for i := 0; time.Duration(i)*period < lasts && ctx.Err() == nil; i++ {
		worker.Pause(ctx, time.Until(start.Add(time.Duration(i)*period)))
		do(i)
	}
}

// standstill is a gap between two looks that means that the process was stopped.
const standstill = int64(time.Second)

// end watches options whose tiers are dead until their time is over and longer.
// It reads the clock next to each Get and Inspect on the side that invents neither
// lateness nor haste.
func (s *service) end(ctx context.Context, lasts time.Duration) (e ending) {
	begun := worker.Now()
	var c canary
	watched, stop := context.WithCancel(ctx)
	var ticking sync.WaitGroup
	ticking.Go(func() { c.run(watched) })
	mortal := s.options[:len(s.options)-s.forever]
	over := make([]int64, len(mortal)) // not before then does each end
	gone := make([]bool, len(mortal))
	for last := begun; worker.Now() < begun+int64(lasts) && ctx.Err() == nil; worker.Pause(ctx, look) {
		at := worker.Now()
		if at-last > standstill {
			e.Woke = at
		}
		last = at
		for i, o := range mortal {
			s.lookAt(o, &over[i], &gone[i], &e)
		}
	}
	stop()
	ticking.Wait()
	for i := range mortal {
		if gone[i] {
			e.Defaults++
		}
	}
	for _, o := range s.options[len(mortal):] {
		if o.Get() != nothing {
			e.Kept++
		}
	}
	if e.Lag = c.lag(begun, worker.Now()); e.Woke != 0 {
		e.Ran = c.after(e.Woke)
	}
	return e
}

// lookAt compares what one option reads with when its value is over.
func (s *service) lookAt(o *fastopt.Option[int64], over *int64, gone *bool, e *ending) {
	before := worker.Now()
	v := o.Get()
	if *over != 0 && v != nothing && before > *over {
		e.Late, e.Old = max(e.Late, before-*over), before
	}
	after := worker.Now()
	if v == nothing && !*gone {
		*gone = true
		if *over == 0 || after < *over-int64(look) {
			e.Early++
		}
	}
	before = worker.Now()
	r := o.Inspect()
	switch {
	case r.State == fastopt.Expired || r.State == fastopt.Unloaded:
	case r.Age >= s.lives:
		e.Inspected++
	default:
		*over = max(*over, before-int64(r.Age)+int64(s.lives))
	}
}

// good is how soon an answer must come to count.
const good = int64(300 * time.Millisecond)

const binEvery = 250 * time.Millisecond

// offer loads at a fixed rate, whatever becomes of it.
func (s *service) offer(ctx context.Context, a offer) []bin {
	period := time.Duration(1e9 / a.PerSecond)
	begun := worker.Now()
	bins := make([]bin, a.Lasts/int64(binEvery)+1)
	for i := range bins {
		bins[i].At = begun + int64(i)*int64(binEvery)
	}
	var mu sync.Mutex
	var busy sync.WaitGroup
	start := time.Now()
	for i := 0; ; i++ {
		due := time.Duration(i) * period
		if int64(due) >= a.Lasts || ctx.Err() != nil {
			break
		}
		if d := time.Until(start.Add(due)); d > 0 {
			worker.Pause(ctx, d)
		}
		busy.Go(func() {
			r := s.family.Load(ctx, fmt.Sprintf("m%d", i%a.Members))
			took := int64(time.Since(start) - due)
			mu.Lock()
			defer mu.Unlock()
			b := &bins[due/binEvery]
			b.Due++
			if r.Err == nil && r.State == fastopt.Fresh && took <= good {
				b.Good++
			}
		})
	}
	busy.Wait()
	return bins
}
