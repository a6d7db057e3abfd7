package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// The schedule breaks things, each kind once a round by itself, in an order and
// with lengths that the seed alone decides; after every few of them come several
// at once, which begin and end when they will: a storm. After each it waits for
// recovery (recovery.go), and then for a moment of health.

// A step of the schedule.
type step struct {
	parts []part        // one, or a storm
	rest  time.Duration // how long all is healthy afterwards
}

// A part is one fault.
type part struct {
	fault  int           // index into the backend's faults
	start  time.Duration // after the step's
	length time.Duration // for how long
}

// A plan yields the steps.
type plan struct {
	rnd     *rand.Rand
	faults  []fault
	longest time.Duration
	first   int // fault that opens the first round; -1: none
	round   []int
	single  int // faults since the last storm
}

// The length of a fault: short in a short run, so that every kind has its turn,
// and up to 8 s in a long one.
const (
	shortestFault = 400 * time.Millisecond
	longestFault  = 8 * time.Second

	stormEvery = 4 // single faults
	stormLeast = 2
	stormMost  = 4
)

func newPlan(seed uint64, faults []fault, duration time.Duration) *plan {
	longest := min(max(duration/30, 2*shortestFault), longestFault)
	return &plan{rnd: rand.New(rand.NewPCG(seed, 3)), faults: faults, longest: longest, first: -1}
}

func (p *plan) next() step {
	if p.single == stormEvery {
		p.single = 0
		if s := p.storm(); len(s.parts) > 1 {
			return s
		}
	}
	p.single++
	if len(p.round) == 0 {
		p.round = p.rnd.Perm(len(p.faults))
		if i := slices.Index(p.round, p.first); i > 0 {
			p.round[0], p.round[i] = p.round[i], p.round[0]
		}
		p.first = -1
	}
	s := step{parts: []part{{fault: p.round[0], length: p.length()}}, rest: p.rest()}
	p.round = p.round[1:]
	return s
}

// storm is faults that do not stand in each other's way, as many as there are up
// to a number.
func (p *plan) storm() (s step) {
	var chosen []fault
	most := stormLeast + p.rnd.IntN(stormMost-stormLeast+1)
	for _, i := range p.rnd.Perm(len(p.faults)) {
		if f := p.faults[i]; len(chosen) < most && f.overlaps(chosen) {
			chosen = append(chosen, f)
			s.parts = append(s.parts, part{i, time.Duration(p.rnd.Int64N(int64(p.longest / 2))), p.length()})
		}
	}
	s.rest = p.rest()
	return s
}

func (p *plan) length() time.Duration {
	return shortestFault + time.Duration(p.rnd.Int64N(int64(p.longest-shortestFault)))
}

func (p *plan) rest() time.Duration {
	return 100*time.Millisecond + time.Duration(p.rnd.Int64N(int64(p.longest/2)))
}

// A tally is what became of one kind of fault.
type tally struct {
	name             string
	injected, bitten int
	stormed          int           // … in storms
	recovery         time.Duration // worst
}

// scheduleLoop carries out the plan until the run is nearly over.
func (r *run) scheduleLoop(ctx context.Context) {
	if len(r.faults) == 0 {
		return
	}
	p := newPlan(r.conf.seed, r.faults, r.conf.duration)
	p.first = slices.IndexFunc(r.faults, func(f fault) bool { return f.outlasts })
	for pause(ctx, 500*time.Millisecond); ctx.Err() == nil; {
		s := p.next()
		length := r.fit(&s)
		if left := r.conf.duration - time.Duration(r.now()); length+recoveryBound > left {
			if left > 4*time.Second {
				continue // there is time for another
			}
			return // the end is healthy
		}
		if !r.step(ctx, s) {
			return
		}
		pause(ctx, s.rest)
	}
}

// fit gives the parts of s the lengths that their faults need, and returns how
// long all of it takes.
func (r *run) fit(s *step) (all time.Duration) {
	for i := range s.parts {
		p := &s.parts[i]
		f := r.faults[p.fault]
		switch p.length = max(p.length, f.least); {
		case f.outlasts:
			p.length = r.graceOver()
		case f.brief:
			p.length = 0
		}
		all = max(all, p.start+p.length)
	}
	return all
}

// graceOver is how long no tier must answer until every option that has a grace
// has surely used it up.
func (r *run) graceOver() time.Duration {
	return time.Duration(max(r.lives[graceful].usable, r.lives[strict].usable)) + 500*time.Millisecond
}

// step carries s out and waits for recovery. It returns false if something
// could not be done: then it makes no sense to go on.
func (r *run) step(ctx context.Context, s step) bool {
	var names []string
	for _, p := range s.parts {
		names = append(names, r.faults[p.fault].name)
	}
	all := strings.Join(names, " + ")
	lines := r.lines()
	errs := make([]error, len(s.parts))
	var parts sync.WaitGroup
	for i, p := range s.parts {
		parts.Go(func() {
			pause(ctx, p.start)
			errs[i] = r.carryOut(ctx, p, len(s.parts) == 1)
		})
	}
	parts.Wait()
	took, well := r.recover(ctx, all)
	if well {
		r.weather.recovered(r.now())
	}
	if ctx.Err() == nil {
		r.judgeLines(all, lines, len(s.parts))
	}
	if len(s.parts) == 1 {
		t := &r.tallies[s.parts[0].fault]
		t.recovery = max(t.recovery, took)
	} else {
		r.storms.injected++
		r.storms.recovery = max(r.storms.recovery, took)
	}
	for i, err := range errs {
		if err != nil {
			r.violateAfter(names[i], idleFault, nil, err.Error())
			return false
		}
	}
	return true
}

// carryOut lets one fault happen. Only of one by itself is it judged whether it
// was felt: in a storm another may have been before it. An error means that it
// could not be done.
func (r *run) carryOut(ctx context.Context, p part, single bool) (err error) {
	f, t := r.faults[p.fault], &r.tallies[p.fault]
	spell := r.weather.begin(f.name, f.effects, r.now())
	defer func() { r.weather.ended(spell, r.now()) }() // also after an error
	// An order that is cut short half-way would leave something broken.
	strikeCtx, cancelStrike := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancelStrike()
	if err := f.strike(strikeCtx); err != nil {
		return fmt.Errorf("%s: could not be done: %w", f.name, err)
	}
	r.weather.struck(spell, r.now())
	over := time.Now().Add(p.length)
	if f.during != nil {
		if err = f.during(strikeCtx); err != nil {
			err = fmt.Errorf("%s: %w", f.name, err)
		}
	}
	pause(ctx, time.Until(over))
	bitten := f.bitten(ctx)
	switch {
	case !single:
		t.stormed++
	case bitten:
		t.injected++
		t.bitten++
	default:
		t.injected++
		if ctx.Err() == nil {
			r.violateAfter(f.name, idleFault, nil, fmt.Sprintf("it lasted %v, and nobody met it", p.length.Round(time.Millisecond)))
		}
	}
	r.weather.ending(spell, r.now())
	// The end of the run must not leave anything broken.
	mendCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := f.mend(mendCtx); err != nil {
		return fmt.Errorf("%s: could not be mended: %w", f.name, err)
	}
	return err
}
