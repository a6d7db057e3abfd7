package tiertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a cache that is a tiers.Marker keeps beside its entries: one mark, that
// only who knows it changes.

type markCheck struct {
	name string
	run  func(p *markProbe)
}

var markChecks = []markCheck{
	{"NoMarkIsAMiss", noMarkIsAMiss},
	{"MarkIsKeptToTheByte", markIsKept},
	{"OnlyTheExactMarkIsReplaced", onlyTheExactMark},
	{"OneOfManyReplacesAMark", oneOfManyReplaces},
	{"MarksOfNamespacesAreApart", marksAreApart},
	{"AMarkIsNoEntry", markIsNoEntry},
	{"AMarkIsNoEvent", markIsNoEvent},
	{"NobodyPutsTheZeroMark", nobodyPutsZero},
	{"MarkWithEndedContextIsNoAnswer", markContextEnded},
}

// A markProbe is a probe of a Marker.
type markProbe struct {
	*cacheProbe
	marker tiers.Marker
}

func testMarker(t *testing.T, cache tiers.Cache, marker tiers.Marker) {
	checks := markChecks
	if _, ok := marker.(MarkCorrupter); ok {
		checks = append(checks[:len(checks):len(checks)], markCheck{"ADamagedMarkCountsAsNone", damagedMark})
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			c.run(&markProbe{&cacheProbe{newProbe(t.Context(), t, patience), cache}, marker})
		})
	}
}

func markOf(epoch uint32, fed uint64) tiers.Mark {
	return tiers.Mark{Identity: tiers.Identity{Lineage: "lineage", System: "system", Timeline: 1, Database: "1", Epoch: epoch}, Fed: fed}
}

// put reports whether next took the place of old.
func (p *markProbe) put(old, next tiers.Mark) bool {
	p.Helper()
	stored, err := p.marker.PutMark(p.ctx, p.ns, old, next)
	if err != nil {
		p.Fatalf("put mark: %v", err)
	}
	return stored
}

func (p *markProbe) holds(want tiers.Mark, after string) {
	p.Helper()
	if got, err := p.marker.Mark(p.ctx, p.ns); err != nil || got != want {
		p.Fatalf("mark after %s: %+v, %v, want %+v", after, got, err, want)
	}
}

func noMarkIsAMiss(p *markProbe) {
	if m, err := p.marker.Mark(p.ctx, p.ns); !errors.Is(err, tiers.ErrMiss) || m != (tiers.Mark{}) {
		p.Fatalf("mark that nobody put: %+v, %v, want a miss", m, err)
	}
}

func markIsKept(p *markProbe) {
	text := strings.Repeat(`"\ é`+"\x00\n\xff\u2028", 30)
	last := tiers.Mark{}
	for _, m := range []tiers.Mark{
		markOf(1, 0), {Fed: 1<<64 - 1}, {Identity: tiers.Identity{Epoch: 1<<32 - 1, Timeline: 1<<32 - 1}},
		{Identity: tiers.Identity{Lineage: text, System: "a b=c", Database: string(longest('x'))}, Fed: 1<<53 + 1},
	} {
		if !p.put(last, m) {
			p.Fatalf("put %+v over %+v, which stands: not stored", m, last)
		}
		p.holds(m, "it was put")
		last = m
	}
}

func onlyTheExactMark(p *markProbe) {
	stands := markOf(3, 7)
	if p.put(stands, markOf(3, 8)) {
		p.Fatalf("stored over a mark, where none stands")
	}
	noMarkIsAMiss(p)
	p.put(tiers.Mark{}, stands)
	others := []tiers.Mark{{}, markOf(3, 6), markOf(3, 8), markOf(2, 7), markOf(4, 7)}
	for range 4 {
		others = append(others, stands)
	}
	others[5].Lineage, others[6].System, others[7].Database, others[8].Timeline = "other", "other", "other", 2
	for _, old := range others {
		if p.put(old, markOf(9, 9)) {
			p.Fatalf("stored over %+v, while %+v stands", old, stands)
		}
		p.holds(stands, "a refused put")
	}
	if !p.put(stands, markOf(2, 1)) { // who knows the mark may set it back
		p.Fatalf("not stored over the mark that stands")
	}
	p.holds(markOf(2, 1), "a put")
}

func oneOfManyReplaces(p *markProbe) {
	last := tiers.Mark{}
	for round := range uint64(20) {
		var won, failed atomic.Int64
		var winner atomic.Pointer[tiers.Mark]
		crowd(func(w int) {
			next := markOf(uint32(w+1), round+1)
			stored, err := p.marker.PutMark(p.ctx, p.ns, last, next)
			if err != nil {
				failed.Add(1)
			}
			if stored {
				won.Add(1)
				winner.Store(&next)
			}
		})
		if won.Load() != 1 || failed.Load() > 0 {
			p.Fatalf("of %d that put over one mark at once, %d were stored and %d failed", writers, won.Load(), failed.Load())
		}
		last = *winner.Load()
		p.holds(last, "one of many was put")
	}
}

func marksAreApart(p *markProbe) {
	root := p.ns
	spaces := []string{root, root + ":", root + ":a", root + "%3A", root + "%", "{" + root + "}", root + " ", root + ":mark"}
	for i, ns := range spaces {
		p.ns = ns
		if !p.put(tiers.Mark{}, markOf(1, uint64(i+1))) {
			p.Fatalf("the mark of namespace %d collides with another", i)
		}
	}
	for i, ns := range spaces {
		p.ns = ns
		p.holds(markOf(1, uint64(i+1)), "marks of other namespaces were put")
	}
	for _, bad := range badNames {
		if _, err := p.marker.Mark(p.ctx, bad); err == nil || errors.Is(err, tiers.ErrMiss) {
			p.Fatalf("mark of bad namespace %q: %v, want an error that is no miss", bad, err)
		}
		if _, err := p.marker.PutMark(p.ctx, bad, tiers.Mark{}, markOf(1, 1)); err == nil {
			p.Fatalf("put mark in bad namespace %q: want an error", bad)
		}
	}
}

func markIsNoEntry(p *markProbe) {
	names := []string{"mark", ":", ":mark", "fastopt", "M", p.ns, p.ns + ":mark", "lease"}
	p.put(tiers.Mark{}, markOf(1, 1))
	for i, name := range names {
		p.misses(name)
		p.stores(value(name, fmt.Sprint(i), at(uint64(i+1))))
		p.lease(name, patience)
	}
	p.holds(markOf(1, 1), "entries were filled")
	p.put(markOf(1, 1), markOf(1, 2))
	for i, name := range names {
		p.loads(value(name, fmt.Sprint(i), at(uint64(i+1))))
	}
}

func markIsNoEvent(p *markProbe) {
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	l.ready()
	p.misses("a")
	from := l.settled()
	last := tiers.Mark{}
	for fed := range uint64(10) {
		p.marker.Mark(p.ctx, p.ns)
		p.put(last, markOf(1, fed+1))
		last = markOf(1, fed+1)
		p.holds(last, "it was put")
	}
	l.settled()
	for _, e := range l.heard()[from:] {
		if e.Kind != tiers.Alive {
			p.Fatalf("steps of the mark told a watcher of kind %d, %q", e.Kind, e.Name)
		}
	}
}

func nobodyPutsZero(p *markProbe) {
	for _, old := range []tiers.Mark{{}, markOf(1, 1)} {
		if stored, err := p.marker.PutMark(p.ctx, p.ns, old, tiers.Mark{}); err == nil || stored {
			p.Fatalf("put of the zero mark: %v, %v, want an error", stored, err)
		}
		p.put(tiers.Mark{}, markOf(1, 1))
	}
	p.holds(markOf(1, 1), "the zero mark was refused")
}

func markContextEnded(p *markProbe) {
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	var err error
	p.promptly("Mark with an ended context", func() { _, err = p.marker.Mark(ctx, p.ns) })
	if !errors.Is(err, tiers.ErrUnavailable) {
		p.Fatalf("mark with an ended context: %v, want ErrUnavailable", err)
	}
	var stored bool
	p.promptly("PutMark with an ended context", func() { stored, err = p.marker.PutMark(ctx, p.ns, tiers.Mark{}, markOf(1, 1)) })
	if !errors.Is(err, tiers.ErrUnavailable) || stored {
		p.Fatalf("put mark with an ended context: %v, %v, want ErrUnavailable", stored, err)
	}
	noMarkIsAMiss(p)
}

func damagedMark(p *markProbe) {
	p.put(tiers.Mark{}, markOf(3, 7))
	raw := []byte("\x00 no mark")
	p.marker.(MarkCorrupter).CorruptMark(p.ns, raw)
	_, err := p.marker.Mark(p.ctx, p.ns)
	corrupt, ok := errors.AsType[*tiers.CorruptError](err)
	if !ok || string(corrupt.Raw) != string(raw) {
		p.Fatalf("mark of damaged bytes: %v, want a CorruptError with them", err)
	}
	if p.put(markOf(3, 7), markOf(3, 8)) {
		p.Fatalf("stored over a mark that was damaged, as if it stood")
	}
	if !p.put(tiers.Mark{}, markOf(3, 9)) {
		p.Fatalf("damaged bytes do not count as no mark")
	}
	p.holds(markOf(3, 9), "damaged bytes were replaced")
}
