package fastopt

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fastopt/fastopt-go/internal/point"
)

// Reads by name follow a pointer of their own. They must give what the handle
// gives, in the same order, whatever stands between two steps of a publication.

// keysNamed are keys that nobody publishes for.
func keysNamed(names ...string) []*key {
	var keys []*key
	for _, name := range names {
		keys = append(keys, &key{core: &core{decl: &decl{name: name}}})
	}
	return keys
}

func TestEachNameIsFoundAndNoOther(t *testing.T) {
	var names []string
	for n := 1; n <= maxName; n++ { // of each length, two that differ at one end
		middle := strings.Repeat("x", n-1)
		names = append(names, "a"+middle, "b"+middle)
		if n > 1 {
			names = append(names, middle+"a", middle+"b")
		}
	}
	for i := range 5000 {
		names = append(names, fmt.Sprintf("service.option-%d.enabled", i))
	}
	keys := keysNamed(names...)
	table := newNameTable(keys)
	for _, k := range keys {
		s := table.find(strings.Clone(k.name))
		if s == nil || s != k.slot || s.shown.Load().key != k {
			t.Fatalf("%q is not found", k.name)
		}
	}
	for _, name := range names {
		for _, other := range []string{name + "\x00", name + "y", "y" + name, name[1:] + "Z"} {
			if table.find(other) != nil {
				t.Fatalf("%q is found, and not declared", other)
			}
		}
	}
	for _, none := range []nameTable{table, newNameTable(nil), newNameTable(keysNamed("one"))} {
		for _, other := range []string{"", "\x00", strings.Repeat("x", 1<<16)} {
			if none.find(other) != nil {
				t.Errorf("%.10q is found among %d slots", other, len(none.slots))
			}
		}
	}
}

// Any name ends its search at an empty slot, so the longest row of full ones is
// what the dearest name costs, whoever chose it.
func TestNamesAreSpread(t *testing.T) {
	for _, form := range []string{"%d", "a%d", "service.option.%05d", "opt-%06d.enabled", "%05x-aaaaaaaaaaaaaaaa",
		"a.long.name.of.many.parts.%d.with.a.tail.that.is.the.same.for.all"} {
		var names []string
		for i := range 10_000 {
			names = append(names, fmt.Sprintf(form, i))
		}
		table := newNameTable(keysNamed(names...))
		row, longest := 0, 0
		for i := range table.slots {
			if row++; table.slots[i].name == "" {
				row = 0
			}
			longest = max(longest, row)
		}
		if longest > 50 { // seen: 8 to 14
			t.Errorf("names like %s fill %d slots in a row", form, longest)
		}
	}
}

// A cellOnce calls f after its first load, before who called it goes on.
type cellOnce struct {
	cell
	f func()
}

func (c *cellOnce) load() *meta {
	m, f := c.cell.load(), c.f
	if c.f = nil; f != nil {
		f()
	}
	return m
}

// namedOption is an option in a manager without tiers.
func namedOption(t *testing.T) (*Option[int], *Manager) {
	t.Helper()
	var r Registry
	o := New(&r, "option", 0)
	return o, openNamed(t, &r)
}

func openNamed(t *testing.T, r *Registry) *Manager {
	t.Helper()
	return openNamedWith(t, Config{}, r)
}

func openNamedWith(t *testing.T, cfg Config, r *Registry) *Manager {
	t.Helper()
	m, err := Open(t.Context(), cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// put publishes v as a tier would.
func put(k *key, v int) {
	for !k.publish(k.cell.load(), newMeta(facts{key: k, kind: kindValue, boxed: v}, 0)) {
	}
}

func wantNamed(t *testing.T, m *Manager, when string, want int) {
	t.Helper()
	if v, err := m.Get("option"); err != nil || v != want {
		t.Errorf("%s: Manager.Get gives %v, %v; want %d", when, v, err, want)
	}
	if v, err := Lookup[int](m, "option"); err != nil || v != want {
		t.Errorf("%s: Lookup gives %v, %v; want %d", when, v, err, want)
	}
}

func TestReadsByNameGiveWhatTheHandleHolds(t *testing.T) {
	o, m := namedOption(t)
	k := m.keys[0]
	put(k, 1)
	wantNamed(t, m, "published", 1)
	if k.slot.shown.Load() != k.cell.load().shown {
		t.Error("the name does not show what is published")
	}
	k.cell.load().pass()
	wantNamed(t, m, "about to be replaced", 1)

	var seen bool
	restore := point.Set(func(p point.Point, owner any, _ string) {
		if p == point.PublishShow && owner == m {
			seen = true
			wantNamed(t, m, "the handle has it, the name does not show it", o.Get())
		}
	})
	put(k, 2)
	restore()
	if !seen {
		t.Error("the window was not entered")
	}
	wantNamed(t, m, "published again", 2)

	undo := o.core.setOverride(3)
	wantNamed(t, m, "overridden", 3)
	put(k, 4)
	wantNamed(t, m, "overridden, and published beneath", 3)
	undo()
	wantNamed(t, m, "no longer overridden", 4)
	if k.slot.shown.Load() != k.cell.load().shown {
		t.Error("the name does not show what is published")
	}
}

// An override may be older than the manager, or be another manager's.
func TestAnOverrideFromBeforeOpenIsReadByName(t *testing.T) {
	var r Registry
	o := New(&r, "option", 0)
	undo := o.core.setOverride(3)
	first := openNamed(t, &r)
	wantNamed(t, first, "overridden before", 3)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	m := openNamed(t, &r)
	wantNamed(t, m, "overridden before the first", 3)
	put(m.keys[0], 4)
	wantNamed(t, m, "published beneath", 3)
	if k := m.keys[0]; k.slot.shown.Load() != k.cell.load().shown {
		t.Error("the name does not show the override")
	}
	undo()
	wantNamed(t, m, "no longer overridden", 4)
	wantNamed(t, first, "the same, of the closed one", 4)
}

// A publisher that sleeps before its last step must not hide what came after it:
// reads would be right, and slow until the next change.
func TestALatePublisherShowsNothingOld(t *testing.T) {
	d, err := declare(Spec[int]{Name: "option"})
	if err != nil {
		t.Fatal(err)
	}
	o := new(Option[int])
	o.init(d)
	k := &key{core: o.core}
	newNameTable([]*key{k})
	put(k, 1)
	restore := point.Set(func(p point.Point, _ any, _ string) {
		if p != point.PublishShow || k.cell.load().boxed != 2 {
			return
		}
		cell := k.core.cell
		k.core.cell = &cellOnce{cell: cell, f: func() { k.core.cell = cell; put(k, 3) }}
	})
	put(k, 2) // having looked at the handle, it is overtaken
	restore()
	if got := k.slot.shown.Load(); got != k.cell.load().shown || got.value != 3 {
		t.Errorf("the name shows %v, the handle holds %v", got.value, k.cell.load().boxed)
	}
}

// I2 holds over all ways of reading together.
func TestReadsByNameAndByHandleHaveOneOrder(t *testing.T) {
	const last = 50_000
	o, m := namedOption(t)
	k := m.keys[0]
	var work sync.WaitGroup
	var ended atomic.Bool
	for range 2 {
		work.Go(func() {
			for {
				top := k.cell.load()
				v := top.boxed.(int) + 1
				if v > last {
					ended.Store(true)
					return
				}
				k.publish(top, newMeta(facts{key: k, kind: kindValue, boxed: v}, 0))
			}
		})
	}
	for range 2 {
		work.Go(func() {
			for floor := 0; !ended.Load(); {
				a, _ := m.Get("option")
				b := o.Get()
				c, _ := Lookup[int](m, "option")
				if a.(int) < floor || b < a.(int) || c < b {
					t.Errorf("after %d came %v by name, %d by handle and %d by Lookup", floor, a, b, c)
					return
				}
				floor = c
			}
		})
	}
	work.Wait()
	wantNamed(t, m, "in the end", last)
	if k.slot.shown.Load() != k.cell.load().shown {
		t.Error("the name does not show what is published last")
	}
}

// A manager that is closed reads what its handles hold, also when they are
// another's by now.
func TestReadsByNameOutliveTheManager(t *testing.T) {
	var r Registry
	o := New(&r, "option", 0)
	first := openNamed(t, &r)
	put(first.keys[0], 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	wantNamed(t, first, "closed", 1)
	second := openNamed(t, &r)
	put(second.keys[0], 2)
	if o.Get() != 2 {
		t.Errorf("the handle reads %d", o.Get())
	}
	wantNamed(t, first, "closed, and opened by another", 2)
	wantNamed(t, second, "the other", 2)
}
