package tiertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What the watchers of a source hear, and when.

func sourceWatchHears(p *sourceProbe) {
	one, two := p.listen(p.source.Watch, nil), p.listen(p.source.Watch, nil)
	defer one.stop()
	defer two.stop()
	both := func(names ...string) func() {
		from := []int{one.ready().place(), two.ready().place()}
		return func() {
			p.Helper()
			for _, name := range names {
				one.changed(from[0], name)
				two.changed(from[1], name)
			}
		}
	}
	heard := both("a")
	p.set("a", `1`)
	heard()
	one.settled() // so that the next event of a is another one
	two.settled()
	heard = both("a")
	p.delete("a")
	heard()
	heard = both("b", "c", "ä b")
	p.write(tiers.Write{Name: "b", Data: []byte(`1`)}, tiers.Write{Name: "c", Data: []byte(`1`)}, tiers.Write{Name: "ä b", Data: []byte(`1`)})
	heard()
}

func sourceWatchIsApart(p *sourceProbe) {
	l := p.listen(p.source.Watch, nil)
	defer l.stop()
	l.ready()
	other := &sourceProbe{newProbe(p.ctx, p.tester, p.wait), p.source}
	for _, ns := range []string{other.ns, p.ns + " x", p.ns + ":", p.ns + "\n"} {
		other.ns = ns
		other.set("theirs", `1`)
	}
	p.set("ours", `1`)
	l.changed(0, "ours")
	l.settled()
	if n := l.counts(0, "theirs"); n > 0 {
		p.Fatalf("heard %d changes of other namespaces", n)
	}
}

func sourceAliveCovers(p *sourceProbe) {
	l := p.listen(p.source.Watch, nil)
	defer l.stop()
	from := l.ready().place()
	for i := range 3 {
		p.set("a", fmt.Sprint(i))
		p.set(fmt.Sprintf("b%d", i), `1`)
		next := l.settled()
		for _, name := range []string{"a", fmt.Sprintf("b%d", i)} {
			if !said(l.heard()[from:next], name) {
				p.Fatalf("Alive since after a change of %q came before its announcement", name)
			}
		}
		from = next
	}
}

func said(events []tiers.Event, name string) bool {
	for _, e := range events {
		if e.Kind == tiers.Changed && e.Name == name {
			return true
		}
	}
	return false
}

func sourceAliveRepeats(p *sourceProbe) {
	l := p.listen(p.source.Watch, nil)
	defer l.stop()
	p.aliveRepeats(l)
}

// aliveRepeats waits for four heartbeats, each with a later Since, in the time
// in which five are due.
func (p *probe) aliveRepeats(l *listener) {
	p.Helper()
	next, since := 0, time.Time{}
	for range 4 {
		next = l.await(next, isAlive, "an idle watcher hears Alive about once a second")
		s := l.heard()[next-1].Since
		if !s.After(since) {
			p.Fatalf("Alive since an instant that is not later than the one before")
		}
		since = s
	}
}

func sourceSlowWatcher(p *sourceProbe) {
	gate := make(chan struct{})
	slow, quick := p.listen(p.source.Watch, gate), p.listen(p.source.Watch, nil)
	defer slow.stop()
	opened := false
	defer func() {
		if !opened {
			close(gate)
		}
	}()
	defer quick.stop()
	from := quick.ready().place()
	ctx, cancel := context.WithTimeout(p.ctx, p.wait)
	defer cancel()
	for i := range 50 {
		_, err := p.source.Write(ctx, p.ns, []tiers.Write{{Name: fmt.Sprintf("n%d", i), Data: []byte(`1`)}})
		if err != nil {
			p.Fatalf("write while a watcher is slow: %v", err)
		}
	}
	quick.changed(from, "n49")
	close(gate)
	opened = true
	// The slow one may have joined late; from its first Alive on it must hear all.
	slow.settled()
	p.set("last", `1`)
	slow.changed(0, "last")
}

func sourceWatchEnds(p *sourceProbe) {
	l := p.listen(p.source.Watch, nil)
	defer l.stop()
	l.ready()
	if err := l.stop(); !errors.Is(err, context.Canceled) {
		p.Fatalf("watch ended with %v, want the error of its context", err)
	}
	events := l.place()
	p.set("a", `1`)
	if l.place() != events {
		p.Fatalf("sink was called after Watch had returned")
	}
}
