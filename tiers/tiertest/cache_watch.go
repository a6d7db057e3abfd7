package tiertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What the watchers of a cache hear, who holds a lease, and what a call gives
// whose context has ended.

// change fills name with a newer value each time.
func (p *cacheProbe) change(name string, revision uint64) {
	p.Helper()
	if !p.fill(tiers.Fill{Record: value(name, fmt.Sprint(revision), at(revision))})[0].Stored {
		p.Fatalf("fill %q with a newer record: refused", name)
	}
}

func cacheWatchHears(p *cacheProbe) {
	one, two := p.listen(p.cache.Watch, nil), p.listen(p.cache.Watch, nil)
	defer one.stop()
	defer two.stop()
	one.ready()
	two.ready()
	p.change("a", 1)
	p.change("b", 1)
	for revision := uint64(2); revision < 5; revision++ {
		one.settled() // what comes now is news
		two.settled()
		p.load("a", "b")
		from := []int{one.place(), two.place()}
		p.change("a", revision)
		p.change("b", revision)
		for _, name := range []string{"a", "b"} {
			one.changed(from[0], name)
			two.changed(from[1], name)
		}
		p.loads(value("a", fmt.Sprint(revision), at(revision)))
	}
	one.settled()
	p.load("a")
	from := one.place()
	p.fill(tiers.Fill{Record: tombstone("a", at(9))})
	one.changed(from, "a")
}

func cacheWatchHearsMisses(p *cacheProbe) {
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	l.ready()
	for _, name := range []string{"a", "b c", "ä"} {
		p.misses(name)
		from := l.place()
		p.change(name, 1)
		l.changed(from, name)
	}
	p.misses("none")
	from := l.place()
	p.fill(tiers.Fill{Record: noRow("none", at(1))})
	l.changed(from, "none")
}

func noWriteIsNoEvent(p *cacheProbe) {
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	l.ready()
	p.stores(value("a", `1`, at(5)))
	p.stores(noRow("b", at(5)))
	l.settled()
	p.load("a", "b")
	from := l.place()
	p.fill(
		tiers.Fill{Record: value("a", `1`, at(5))},
		tiers.Fill{Record: value("a", `0`, at(4))},
		tiers.Fill{Record: noRow("b", at(5))},
		tiers.Fill{Record: noRow("b", at(6))},
		tiers.Fill{Record: value("b", `1`, at(4))},
	)
	l.settled()
	if n := l.counts(from, "a") + l.counts(from, "b"); n > 0 {
		p.Fatalf("fills that wrote nothing announced %d changes", n)
	}
}

func cacheWatchIsApart(p *cacheProbe) {
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	l.ready()
	other := &cacheProbe{newProbe(p.ctx, p.tester, p.wait), p.cache}
	for _, ns := range []string{other.ns, p.ns + ":x", p.ns + ":", p.ns + " "} {
		other.ns = ns
		other.misses("theirs")
		other.change("theirs", 1)
		other.loads(value("theirs", `1`, at(1)))
	}
	p.misses("ours")
	p.change("ours", 1)
	l.changed(0, "ours")
	l.settled()
	for _, e := range l.heard() {
		if e.Kind == tiers.Changed && e.Name != "ours" {
			p.Fatalf("heard a change of %q, which is another namespace's", e.Name)
		}
	}
}

func cacheAliveCovers(p *cacheProbe) {
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	from := l.ready().place()
	for i := range 3 {
		name := fmt.Sprintf("b%d", i)
		p.load("a", name)
		p.change("a", uint64(i+1))
		p.change(name, 1)
		next := l.settled()
		for _, name := range []string{"a", name} {
			if !said(l.heard()[from:next], name) {
				p.Fatalf("Alive since after a change of %q came before its announcement", name)
			}
		}
		from = next
	}
}

func cacheAliveRepeats(p *cacheProbe) {
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	p.aliveRepeats(l)
}

func cacheSlowWatcher(p *cacheProbe) {
	gate := make(chan struct{})
	slow, quick := p.listen(p.cache.Watch, gate), p.listen(p.cache.Watch, nil)
	defer slow.stop()
	opened := false
	defer func() {
		if !opened {
			close(gate)
		}
	}()
	defer quick.stop()
	from := quick.ready().place()
	p.promptly("fills while a watcher is slow", func() {
		for i := range 50 {
			name := fmt.Sprintf("n%d", i)
			p.cache.Load(p.ctx, p.ns, []string{name})
			p.cache.Fill(p.ctx, p.ns, []tiers.Fill{{Record: value(name, `1`, at(1))}})
		}
	})
	quick.changed(from, "n49")
	close(gate)
	opened = true
	slow.settled()
	p.misses("last")
	p.change("last", 1)
	slow.changed(0, "last")
}

func cacheWatchEnds(p *cacheProbe) {
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	l.ready()
	if err := l.stop(); !errors.Is(err, context.Canceled) {
		p.Fatalf("watch ended with %v, want the error of its context", err)
	}
	events := l.place()
	p.load("a")
	p.change("a", 1)
	p.loads(value("a", `1`, at(1)))
	if l.place() != events {
		p.Fatalf("sink was called after Watch had returned")
	}
}

func (p *cacheProbe) lease(name string, d time.Duration) bool {
	p.Helper()
	held, err := p.cache.Lease(p.ctx, p.ns, []string{name}, d)
	if err != nil || len(held) != 1 {
		p.Fatalf("lease %q: %v, %v", name, held, err)
	}
	return held[0]
}

func leaseHasOneHolder(p *cacheProbe) {
	var held atomic.Int64
	var failed atomic.Pointer[error]
	crowd(func(int) {
		got, err := p.cache.Lease(p.ctx, p.ns, []string{"a"}, time.Hour)
		if err != nil {
			failed.Store(&err)
		}
		if err == nil && got[0] {
			held.Add(1)
		}
	})
	if err := failed.Load(); err != nil {
		p.Fatalf("lease: %v", *err)
	}
	if n := held.Load(); n != 1 {
		p.Fatalf("of %d callers %d hold the lease", writers, n)
	}
	if !p.lease("b", time.Hour) {
		p.Fatalf("a lease of one name keeps out another")
	}
	other := &cacheProbe{newProbe(p.ctx, p.tester, p.wait), p.cache}
	if !other.lease("a", time.Hour) {
		p.Fatalf("a lease of one namespace keeps out another")
	}
	p.misses("a") // a lease is no entry
	p.stores(value("a", `1`, at(1)))
}

func leaseEnds(p *cacheProbe) {
	const d = 200 * time.Millisecond
	start := time.Now()
	if !p.lease("a", d) {
		p.Fatalf("a lease that nobody holds is refused")
	}
	p.eventually(func() bool { return p.lease("a", time.Hour) }, "a lease of %v is granted again", d)
	if after := time.Since(start); after < d-20*time.Millisecond {
		p.Fatalf("a lease of %v was granted again after %v", d, after)
	}
	if p.lease("a", d) {
		p.Fatalf("a lease was granted twice")
	}
}

func cacheContextEnded(p *cacheProbe) {
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	var rs []tiers.Result
	p.promptly("Load with an ended context", func() { rs = p.cache.Load(ctx, p.ns, []string{"a", "b"}) })
	if len(rs) != 2 || rs[0].Err == nil || rs[1].Err == nil || rs[0].Name != "a" || rs[1].Name != "b" {
		p.Fatalf("load with an ended context: want an error for each of 2 names, got %d results", len(rs))
	}
	var fs []tiers.FillResult
	fills := []tiers.Fill{{Record: value("a", `1`, at(1))}, {Record: value("b", `1`, at(1))}}
	p.promptly("Fill with an ended context", func() { fs = p.cache.Fill(ctx, p.ns, fills) })
	if len(fs) != 2 || fs[0].Err == nil || fs[1].Err == nil || fs[0].Stored || fs[1].Stored {
		p.Fatalf("fill with an ended context: want an error for each of 2 fills, got %d results", len(fs))
	}
	var err error
	p.promptly("Lease with an ended context", func() { _, err = p.cache.Lease(ctx, p.ns, []string{"a"}, time.Second) })
	if err == nil {
		p.Fatalf("lease with an ended context was answered")
	}
	p.promptly("Watch with an ended context", func() { err = p.cache.Watch(ctx, p.ns, func(tiers.Event) {}) })
	if !errors.Is(err, context.Canceled) {
		p.Fatalf("watch with an ended context: %v, want its error", err)
	}
}
