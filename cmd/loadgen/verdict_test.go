package main

import (
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// history is a key with writes as spelled: s a set, d a delete; upper case:
// refused, p: a set under way.
func history(spelled string) *key {
	k := newKey(0, "a", "", graceful)
	for i, c := range spelled {
		w := k.issue(0, strings.ContainsRune("dD", c), int64(i)*1000)
		switch c {
		case 's', 'd':
			k.settle(w.number, acked, tiers.Stamp{Epoch: 1, Revision: uint64(i + 1)}, true, 0)
		case 'S', 'D':
			k.settle(w.number, refused, tiers.Stamp{}, false, 0)
		}
	}
	return k
}

var (
	calm     = &phase{healthy: true}
	excusing = &phase{may: [classes]bool{graceful: true}}
	due2     = &phase{may: [classes]bool{graceful: true}, must: [classes]bool{graceful: true}, strict: true}
)

func TestReadsAreJudged(t *testing.T) {
	const right = kinds
	seen := func(n uint32) floor { return newFloor(n, false, bySeen) }
	for _, c := range []struct {
		name    string
		history string
		floor   floor
		number  uint32 // read; 0: the default
		weather *phase // before; after it is calm, unless due2
		want    kind
		rises   floor // afterwards
	}{
		{"the first value", "s", unwritten, 1, calm, right, seen(1)},
		{"the same again", "s", seen(1), 1, calm, right, seen(1)},
		{"a newer one", "ss", seen(1), 2, calm, right, seen(2)},
		{"one under way", "sp", seen(1), 2, calm, right, seen(2)},
		{"an older one", "ss", seen(2), 1, calm, older, seen(2)},
		{"older than the own", "ss", newFloor(2, false, byOwn), 1, calm, ownLost, 0},
		{"too old", "ss", newFloor(2, false, byStale), 1, calm, tooStale, 0},
		{"never issued", "s", seen(1), 2, calm, invented, seen(1)},
		{"refused", "sS", seen(1), 2, calm, failedWrite, seen(1)},
		{"the value of a delete", "sd", seen(1), 2, calm, invented, seen(1)},
		{"the default before anything", "s", unwritten, 0, calm, right, unwritten},
		{"the default after a delete", "sd", seen(1), 0, calm, right, newFloor(2, true, bySeen)},
		{"the default after the older of two deletes", "sdsd", seen(1), 0, calm, right, newFloor(2, true, bySeen)},
		{"the default though nothing was deleted", "ss", seen(1), 0, calm, noReason, seen(1)},
		{"the default though the delete failed", "sD", seen(1), 0, calm, noReason, seen(1)},
		{"the default in an outage", "s", seen(1), 0, excusing, right, seen(1)},
		{"the value after its delete", "sd", newFloor(2, true, bySeen), 1, calm, resurrected, 0},
		{"the value after its own delete", "sd", newFloor(2, true, byOwn), 1, calm, resurrected, 0},
		{"a value set after the delete", "sds", newFloor(2, true, bySeen), 3, calm, right, seen(3)},
		{"a value past its grace", "s", seen(1), 1, due2, pastGrace, seen(1)},
		{"the default when it is due", "s", seen(1), 0, due2, right, seen(1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := history(c.history)
			var at cell
			at.word.Store(uint64(c.floor))
			r := read{value: newValue(k.hash, c.number, 0, int64(c.number)-1), floor: c.floor, before: c.weather, after: calm}
			if c.number == 0 {
				r.value = k.fallback
			}
			if c.weather == due2 {
				r.after = due2
			}
			got := right
			if bad := k.judge(&at, r); bad != nil {
				got = bad.kind
			}
			if got != c.want {
				t.Fatalf("judged %d, want %d", got, c.want)
			}
			if c.rises != 0 && at.floor() != c.rises {
				t.Fatalf("the floor is %d, deleted %v, want %d, %v", at.floor().number(), at.floor().deleted(), c.rises.number(), c.rises.deleted())
			}
		})
	}
}

func TestBrokenValuesAreJudged(t *testing.T) {
	k := history("s")
	for _, c := range []struct {
		value string
		want  kind
	}{
		{"", tornValue},
		{k.fallback[:10] + "x" + k.fallback[11:], tornValue},
		{newKey(1, "b", "", graceful).fallback, invented},
		{newValue(k.hash, 1, 3, 0), invented}, // whole, but not what was written
	} {
		bad := k.judge(new(cell), read{value: c.value, floor: unwritten, before: calm, after: calm})
		if bad == nil || bad.kind != c.want {
			t.Errorf("%q: %v, want %v", c.value, bad, c.want)
		}
	}
}

func TestReadOfAWriteThatFailsLaterIsNoticed(t *testing.T) {
	k := history("sp")
	at := new(cell)
	if bad := k.judge(at, read{value: newValue(k.hash, 2, 0, 1), floor: unwritten, before: calm, after: calm}); bad != nil {
		t.Fatal(bad.text)
	}
	if !k.settle(2, refused, tiers.Stamp{}, false, 0) {
		t.Fatal("a write was read, then it failed, and nobody noticed")
	}
}

func TestTheFloorNeverFalls(t *testing.T) {
	var c cell
	c.raise(newFloor(5, false, bySeen))
	c.raise(newFloor(4, true, byOwn))
	c.raise(newFloor(5, false, byStale))
	if got := c.floor(); got != newFloor(5, false, bySeen) {
		t.Fatalf("floor %d, cause %d", got.number(), got.cause())
	}
}

func TestReadsOfTheSameAllocateNothing(t *testing.T) {
	k := history("s")
	var at cell
	r := read{value: newValue(k.hash, 1, 0, 0), floor: newFloor(1, false, bySeen), before: calm, after: calm}
	if n := testing.AllocsPerRun(100, func() { k.judge(&at, r) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
