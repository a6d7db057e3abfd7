package tiertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Who may lead, and when somebody else may. A source that elects is checked for
// it by TestSource.

type electCheck struct {
	name string
	run  func(p *electProbe)
}

var electChecks = []electCheck{
	{"OneLeadsAtATime", oneLeadsAtATime},
	{"ASpareGetsItsTurn", aSpareGetsItsTurn},
	{"TheNextLeadsSoon", theNextLeadsSoon},
	{"WhoGivesUpStandsBack", whoGivesUpStandsBack},
	{"NamespacesElectApart", namespacesElectApart},
	{"ElectEndsWithItsContext", electEnds},
	{"TheRightOutlastsTheWork", theRightOutlastsTheWork},
}

// An electProbe is a probe of an elector.
type electProbe struct {
	*probe
	elector tiers.Elector
}

func testElector(t *testing.T, elector tiers.Elector) {
	for _, c := range electChecks {
		t.Run(c.name, func(t *testing.T) { c.run(&electProbe{newProbe(t.Context(), t, patience), elector}) })
	}
}

// A candidate runs one Elect.
type candidate struct {
	p      *electProbe
	cancel context.CancelFunc
	done   chan struct{} // closed when Elect has returned
	err    error         // written before done is closed

	leads  atomic.Bool
	times  atomic.Int32 // it has led
	resign chan struct{}
}

// stand lets a candidate stand for a namespace. work, if not nil, is what it
// does after its context has ended.
func (p *electProbe) stand(namespace string, work func()) *candidate {
	ctx, cancel := context.WithCancel(p.ctx)
	c := &candidate{p: p, cancel: cancel, done: make(chan struct{}), resign: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = p.elector.Elect(ctx, namespace, func(ctx context.Context) {
			c.times.Add(1)
			c.leads.Store(true)
			defer c.leads.Store(false)
			select {
			case <-ctx.Done():
			case <-c.resign:
			}
			if work != nil {
				work()
			}
		})
	}()
	return c
}

// stop ends the candidacy and returns the error of Elect. It may be called again.
func (c *candidate) stop() error {
	c.cancel()
	c.p.promptly("Elect, its context ended,", func() { <-c.done })
	return c.err
}

func (p *electProbe) leads(c *candidate, what string) {
	p.Helper()
	p.eventually(c.leads.Load, "%s leads", what)
}

func oneLeadsAtATime(p *electProbe) {
	var all []*candidate
	for range 3 { // all of whom stand ready
		c := p.stand(p.ns, nil)
		defer c.stop()
		all = append(all, c)
	}
	for len(all) > 0 {
		var leader int
		p.eventually(func() bool {
			for i, c := range all {
				if c.leads.Load() {
					leader = i
					return true
				}
			}
			return false
		}, "one of %d candidates leads", len(all))
		for start := time.Now(); time.Since(start) < 300*time.Millisecond; time.Sleep(5 * time.Millisecond) {
			for i, c := range all {
				if c.leads.Load() != (i == leader) {
					p.Fatalf("of %d candidates not exactly the one that began leads", len(all))
				}
			}
		}
		all[leader].stop()
		all = append(all[:leader], all[leader+1:]...)
	}
}

// Those for whom there is no place at first look for one now and then,
// within a minute.
func aSpareGetsItsTurn(p *electProbe) {
	p.wait += time.Minute
	var all []*candidate
	for range 5 {
		c := p.stand(p.ns, nil)
		defer c.stop()
		all = append(all, c)
	}
	for len(all) > 0 {
		leader := -1
		p.eventually(func() bool {
			leader = slices.IndexFunc(all, func(c *candidate) bool { return c.leads.Load() })
			return leader >= 0
		}, "one of %d candidates leads", len(all))
		all[leader].stop()
		all = slices.Delete(all, leader, leader+1)
	}
}

// soon is how long a right that was given up may lie about, and some patience
// for a busy machine.
const soon = 500*time.Millisecond + 250*time.Millisecond

func theNextLeadsSoon(p *electProbe) {
	one := p.stand(p.ns, nil)
	defer one.stop()
	p.leads(one, "the only candidate")
	two := p.stand(p.ns, nil)
	defer two.stop()
	time.Sleep(300 * time.Millisecond) // it has begun to wait
	one.stop()
	freed := time.Now()
	p.leads(two, "the next candidate")
	if d := time.Since(freed); d > soon {
		p.Fatalf("the right lay about for %v", d)
	}
}

func whoGivesUpStandsBack(p *electProbe) {
	one := p.stand(p.ns, nil)
	defer one.stop()
	p.leads(one, "the only candidate")
	two := p.stand(p.ns, nil)
	defer two.stop()
	time.Sleep(300 * time.Millisecond)
	one.resign <- struct{}{}
	p.leads(two, "the other candidate")
	two.resign <- struct{}{}
	p.eventually(func() bool { return one.times.Load()+two.times.Load() == 3 }, "one of the two that gave up leads again")
}

func namespacesElectApart(p *electProbe) {
	for _, ns := range []string{p.ns, p.ns + " x", " " + p.ns, p.ns + ":", p.ns + "\n", "ä" + p.ns} {
		c := p.stand(ns, nil)
		defer c.stop()
		p.leads(c, "the only candidate of its namespace")
	}
}

func electEnds(p *electProbe) {
	one, two := p.stand(p.ns, nil), p.stand(p.ns, nil)
	defer one.stop()
	defer two.stop()
	p.eventually(func() bool { return one.leads.Load() || two.leads.Load() }, "one leads")
	for _, c := range []*candidate{one, two} {
		if err := c.stop(); !errors.Is(err, context.Canceled) {
			p.Fatalf("Elect ended with %v, want the error of its context", err)
		}
		if c.leads.Load() {
			p.Fatalf("Elect has returned before lead has")
		}
	}
}

// The right is not given up while lead still works, though its context ended.
func theRightOutlastsTheWork(p *electProbe) {
	finish := make(chan struct{})
	end := sync.OnceFunc(func() { close(finish) })
	defer end()
	one := p.stand(p.ns, func() { <-finish })
	p.leads(one, "the only candidate")
	two := p.stand(p.ns, nil)
	defer two.stop()
	defer one.stop()
	defer end()
	one.cancel()
	for start := time.Now(); time.Since(start) < 600*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if two.leads.Load() {
			p.Fatalf("another candidate leads while the first still works")
		}
	}
	end()
	p.leads(two, "the next candidate")
}
