package main

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

const second = int64(time.Second)

func newTestWeather() *weather {
	ttl := [classes]int64{second, second, 2 * second, second}
	usable := [classes]int64{graceful: 3 * second, forever: -1, strict: 2 * second, member: 3 * second}
	return newWeather(ttl, usable, 2*time.Second)
}

func TestDefaultsAreExcusedAndDueInTime(t *testing.T) {
	w := newTestWeather()
	check := func(when string, may, must [classes]bool) {
		t.Helper()
		if p := w.now.Load(); p.may != may || p.must != must {
			t.Fatalf("%s: may %v, must %v", when, p.may, p.must)
		}
	}
	none := [classes]bool{}
	both := w.begin("both", effects{cacheOut: true, sourceOut: true}, 10*second)
	check("at once", [classes]bool{strict: true}, none) // it may have been TTL old
	w.struck(both, 10*second)
	w.tick(11*second, 0)
	check("after the TTL", [classes]bool{strict: true}, none)
	w.tick(12*second+second/10, 0)
	check("after TTL and grace of the shortest", [classes]bool{graceful: true, strict: true, member: true}, [classes]bool{strict: true})
	w.tick(13*second+second/10, int64(time.Second)) // timers are late
	check("with lag", [classes]bool{graceful: true, strict: true, member: true}, [classes]bool{strict: true})
	w.tick(15*second, 0)
	all := [classes]bool{graceful: true, strict: true, member: true}
	check("after all of them", all, all)
	w.ending(both, 16*second)
	check("when it is about to end", all, none)
	w.ended(both, 16*second)
	check("until all have recovered", all, none)
	w.recovered(17 * second)
	check("afterwards", none, none)
	if !w.now.Load().healthy {
		t.Fatal("not healthy after recovery")
	}
}

func TestOneTierAloneExcusesNothing(t *testing.T) {
	for _, e := range []effects{{cacheOut: true}, {sourceOut: true}, {cacheLoss: true}} {
		w := newTestWeather()
		w.struck(w.begin("one", e, second), second)
		w.tick(100*second, 0)
		if p := w.now.Load(); p.may != [classes]bool{} || p.must != [classes]bool{} {
			t.Errorf("%+v: may %v, must %v", e, p.may, p.must)
		}
	}
}

// A tier that comes back has to be found again. If the other one breaks then, no
// tier answers for a moment: but it is no duty to fall to a default.
func TestFaultsThatTouchAreAsIfTogether(t *testing.T) {
	w := newTestWeather()
	a := w.begin("cache", effects{cacheOut: true}, 10*second)
	w.struck(a, 10*second)
	w.ended(a, 11*second)
	b := w.begin("source", effects{sourceOut: true}, 12*second)
	w.struck(b, 12*second)
	w.tick(14*second, 0)
	if p := w.now.Load(); !p.may[graceful] || p.must[strict] {
		t.Errorf("2 s after they touched: may %v, must %v", p.may, p.must)
	}
	if e, _ := w.look(12*second+second/2, 0); !e.allOut() {
		t.Error("the cache is back, and found at once")
	}
	if e, _ := w.look(14*second, 0); e.cacheOut {
		t.Error("the cache is back, and never found")
	}
	w.ended(b, 15*second)
	w.recovered(16 * second)
	c := w.begin("source", effects{sourceOut: true}, 17*second)
	w.struck(c, 17*second)
	w.tick(30*second, 0)
	if p := w.now.Load(); p.may[graceful] || p.may[strict] {
		t.Errorf("after all was well again: may %v", p.may)
	}
}

// A machine that is too slow does not become fast because a fault has ended.
func TestASlowMachineExcusesOnAndOn(t *testing.T) {
	w := newTestWeather()
	w.tick(second, w.tooLate+1)
	w.tick(5*second, w.tooLate+1)
	w.ended(w.begin("one", effects{cacheOut: true}, 5*second), 6*second)
	w.recovered(7 * second)
	next := w.begin("another", effects{}, 7*second)
	w.tick(7*second+1, w.tooLate+1)
	if p := w.now.Load(); !p.may[graceful] || p.must != [classes]bool{} {
		t.Errorf("may %v, must %v", p.may, p.must)
	}
	w.ended(next, 8*second)
	w.tick(9*second, w.tooLate)
	w.recovered(9 * second)
	if p := w.now.Load(); p.may[graceful] {
		t.Errorf("when it is fast enough: may %v", p.may)
	}
}

func TestFaultsOverlap(t *testing.T) {
	w := newTestWeather()
	a := w.begin("cache", effects{cacheOut: true}, 10*second)
	w.struck(a, 10*second)
	b := w.begin("source", effects{sourceOut: true}, 11*second)
	w.struck(b, 11*second)
	if cache, source := w.surelyOut(); cache != 10*second || source != 11*second {
		t.Errorf("out since %d and %d", cache, source)
	}
	w.tick(13*second+second/10, 0)
	if p := w.now.Load(); !p.must[strict] || p.fault != "cache + source" {
		t.Errorf("%q: must %v", p.fault, p.must)
	}
	w.ending(a, 14*second)
	if p := w.now.Load(); p.must != [classes]bool{} {
		t.Errorf("one of them may answer: must %v", p.must)
	}
	w.ended(a, 14*second)
	w.ended(b, 15*second)
	if p := w.now.Load(); !p.may[graceful] || p.healthy {
		t.Errorf("before recovery: may %v", p.may)
	}
	c := w.begin("both, perhaps", effects{cacheOut: true, sourceOut: true, partly: true}, 16*second)
	w.struck(c, 16*second)
	w.tick(30*second, 0)
	if p := w.now.Load(); p.must != [classes]bool{} {
		t.Errorf("some may be answered: must %v", p.must)
	}
}

func TestCommitsMustBeKnownInTime(t *testing.T) {
	const allowed = 3 * second
	var (
		well      = effects{}
		cacheOut  = effects{cacheOut: true}
		sourceOut = effects{sourceOut: true}
		bothOut   = effects{cacheOut: true, sourceOut: true}
	)
	type spell struct {
		until int64 // s
		e     effects
		loses bool // at its beginning the cache loses everything
	}
	for _, c := range []struct {
		name   string
		cached bool
		spells []spell
		want   int64 // the first second that is more than 3 after its clock began for the last time
	}{
		{"all is well", true, []spell{{20, well, false}}, 4},
		{"the source is out, the cache knows", true, []spell{{20, sourceOut, false}}, 4},
		{"the cache is out, the source knows", true, []spell{{20, cacheOut, false}}, 4},
		{"nobody answers", true, []spell{{6, bothOut, false}, {20, well, false}}, 9},
		{"only a cache that missed it answers", false, []spell{{6, sourceOut, false}, {20, well, false}}, 9},
		{"the cache comes back without it", false, []spell{{2, cacheOut, false}, {20, well, false}}, 6},
		{"the cache stays away", false, []spell{{20, cacheOut, false}}, 4},
		{"the cache forgets it", true, []spell{{2, well, false}, {20, well, true}}, 6},
		{"the cache forgets it and the source is out", true, []spell{{2, well, false}, {5, sourceOut, true}, {20, well, false}}, 8},
	} {
		d := due{cached: c.cached}
		got := int64(0)
		at := int64(0)
		for _, s := range c.spells {
			for first := true; at < s.until && got == 0; at, first = at+1, false {
				if first && s.loses {
					d.lose(at * second)
				}
				if d.advance(at*second, s.e, allowed) {
					got = at
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: due in second %d, want %d", c.name, got, c.want)
		}
	}
}

func TestDueCommitsRaiseFloorsEverywhere(t *testing.T) {
	k, m := newKey(0, "a", "", graceful), newKey(1, "f/b", "b", member)
	o := newOracle([]*key{k, m}, 2)
	ds := dues{oracle: o}
	w := newTestWeather()
	for _, k := range o.keys {
		wr := k.issue(0, false, 0)
		k.settle(wr.number, acked, tiers.Stamp{Epoch: 1, Revision: 1}, true, 0)
		ds.add(k, wr, true, 0)
	}
	var allowed [classes]int64
	for c := range allowed {
		allowed[c] = 3 * second
	}
	ds.tick(3*second, 0, w, allowed)
	if got := o.board(1).cells[0].floor(); got != unwritten {
		t.Fatalf("floor %d before the time is up", got.number())
	}
	ds.tick(3*second+1, 0, w, allowed)
	for p := range o.boards {
		if got := o.board(p).cells[0].floor(); got != newFloor(1, false, byStale) {
			t.Fatalf("process %d: floor %d", p, got.number())
		}
		if got := o.board(p).cells[1].floor(); got != unwritten {
			t.Fatalf("process %d: Get of a family's member promises no such thing", p)
		}
	}
	if got := m.least.floor(); got != newFloor(1, false, byStale) {
		t.Fatalf("Load of a family's member does: floor %d", got.number())
	}
}
