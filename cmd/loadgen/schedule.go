package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The schedule breaks things one after the other, each kind once a round, in an
// order and with lengths that the seed alone decides. Between two faults it
// waits for recovery (recovery.go), and then for a moment of health.

// A step of the schedule.
type step struct {
	fault  int           // index into the backend's faults
	length time.Duration // for how long
	rest   time.Duration // how long all is healthy afterwards
}

// A plan yields the steps.
type plan struct {
	rnd     *rand.Rand
	kinds   int
	longest time.Duration
	first   int // fault that opens the first round; -1: none
	round   []int
}

// The length of a fault: short in a short run, so that every kind has its turn,
// and up to 8 s in a long one.
const (
	shortestFault = 400 * time.Millisecond
	longestFault  = 8 * time.Second
)

func newPlan(seed uint64, kinds int, duration time.Duration) *plan {
	longest := min(max(duration/30, 2*shortestFault), longestFault)
	return &plan{rnd: rand.New(rand.NewPCG(seed, 3)), kinds: kinds, longest: longest, first: -1}
}

func (p *plan) next() step {
	if len(p.round) == 0 {
		p.round = p.rnd.Perm(p.kinds)
		if i := slices.Index(p.round, p.first); i > 0 {
			p.round[0], p.round[i] = p.round[i], p.round[0]
		}
		p.first = -1
	}
	s := step{fault: p.round[0]}
	p.round = p.round[1:]
	s.length = shortestFault + time.Duration(p.rnd.Int64N(int64(p.longest-shortestFault)))
	s.rest = 100*time.Millisecond + time.Duration(p.rnd.Int64N(int64(p.longest/2)))
	return s
}

// A tally is what became of one kind of fault.
type tally struct {
	name             string
	injected, bitten int
	recovery         time.Duration // worst
}

// scheduleLoop carries out the plan until the run is nearly over.
func (r *run) scheduleLoop(ctx context.Context) {
	if len(r.faults) == 0 {
		return
	}
	p := newPlan(r.conf.seed, len(r.faults), r.conf.duration)
	p.first = slices.IndexFunc(r.faults, func(f fault) bool { return f.outlasts })
	for pause(ctx, 500*time.Millisecond); ctx.Err() == nil; {
		s := p.next()
		f := r.faults[s.fault]
		length := s.length
		switch length = max(length, f.least); {
		case f.outlasts:
			length = r.graceOver()
		case f.brief:
			length = 0
		}
		if left := r.conf.duration - time.Duration(r.now()); length+recoveryBound > left {
			if f.outlasts && left > 4*time.Second {
				continue // there is time for another
			}
			return // the end is healthy
		}
		if err := r.carryOut(ctx, f, length, &r.tallies[s.fault]); err != nil {
			r.violateAfter(f.name, idleFault, nil, err.Error())
			return
		}
		pause(ctx, s.rest)
	}
}

// graceOver is how long no tier must answer until every option that has a grace
// has surely used it up.
func (r *run) graceOver() time.Duration {
	return time.Duration(max(r.lives[graceful].usable, r.lives[strict].usable)) + 500*time.Millisecond
}

// carryOut lets one fault happen. An error means that it could not be done.
func (r *run) carryOut(ctx context.Context, f fault, length time.Duration, t *tally) (err error) {
	t.injected++
	r.weather.begin(f.name, f.effects, r.now())
	defer func() { // also after an error
		r.weather.ended(r.now())
		r.weather.recovered(r.now())
	}()
	// An order that is cut short half-way would leave something broken.
	strikeCtx, cancelStrike := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancelStrike()
	if err := f.strike(strikeCtx); err != nil {
		return fmt.Errorf("%s: could not be done: %w", f.name, err)
	}
	r.weather.struck(r.now())
	pause(ctx, length)
	if f.bitten(ctx) {
		t.bitten++
	} else if ctx.Err() == nil {
		r.violateAfter(f.name, idleFault, nil, fmt.Sprintf("it lasted %v, and nobody met it", length.Round(time.Millisecond)))
	}
	r.weather.ending(r.now())
	// The end of the run must not leave anything broken.
	mendCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := f.mend(mendCtx); err != nil {
		return fmt.Errorf("%s: could not be mended: %w", f.name, err)
	}
	r.weather.ended(r.now())
	t.recovery = max(t.recovery, r.recover(ctx, f.name))
	return nil
}
