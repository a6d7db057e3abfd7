package tiertest

import (
	"errors"
	"fmt"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a source does with one writer: each write has its place in the order,
// is applied whole or not at all, and is read back as it was meant.

func identityIsStable(p *sourceProbe) {
	first, err := p.source.Identity(p.ctx)
	if err != nil {
		p.Fatalf("identity: %v", err)
	}
	if first.Lineage == "" || first.Epoch == 0 {
		p.Fatalf("identity lacks lineage or epoch: %+v", first)
	}
	stamp := p.set("a", `1`)
	second, err := p.source.Identity(p.ctx)
	if err != nil || second != first {
		p.Fatalf("identity was %+v, now %+v, %v", first, second, err)
	}
	if stamp.Epoch != first.Epoch || p.head().Epoch != first.Epoch {
		p.Fatalf("epoch %d, but stamps of write and load are %v and %v", first.Epoch, stamp, p.head())
	}
}

func whatIsSetIsLoaded(p *sourceProbe) {
	data := []byte(`{"b":[1,"x"],"a":0.5}`)
	stamp := p.write(tiers.Write{Name: "a", Data: data})
	data[2] = 'c' // the source keeps what it was given, not the caller's memory
	p.holds("a", `{"b":[1,"x"],"a":0.5}`, stamp)
	p.holds("a", `{"b":[1,"x"],"a":0.5}`, stamp)
	stamp = p.set("a", `"other"`)
	p.holds("a", `"other"`, stamp)
}

func nothingAsked(p *sourceProbe) {
	before := p.set("a", `1`)
	if got := p.write(); got != before {
		p.Fatalf("an empty batch returns %v, the head is %v", got, before)
	}
	if rs := p.source.Load(p.ctx, p.ns, nil); len(rs) != 0 {
		p.Fatalf("load of no names gives %d results", len(rs))
	}
	if head := p.head(); head != before {
		p.Fatalf("nothing was written, and the head went from %v to %v", before, head)
	}
}

func batchIsOneRevision(p *sourceProbe) {
	p.set("gone", `1`)
	before := p.set("b", `0`)
	stamp := p.write(
		tiers.Write{Name: "a", Data: []byte(`1`)},
		tiers.Write{Name: "b", Data: []byte(`2`)},
		tiers.Write{Name: "gone", Delete: true},
		tiers.Write{Name: "never", Delete: true},
	)
	if stamp != step(before) {
		p.Fatalf("a batch went from %v to %v, want one step", before, stamp)
	}
	p.holds("a", `1`, stamp)
	p.holds("b", `2`, stamp)
	p.absent("gone")
	p.absent("never")
	if head := p.head(); head != stamp {
		p.Fatalf("batch returned %v, the head is %v", stamp, head)
	}
}

func batchIsAllOrNothing(p *sourceProbe) {
	before := p.set("a", `1`)
	set := func(name, data string) tiers.Write { return tiers.Write{Name: name, Data: []byte(data)} }
	wrong := set("a", `2`)
	wrong.If = &tiers.Stamp{Epoch: before.Epoch, Revision: before.Revision + 7}
	del := tiers.Write{Name: "a", Delete: true}
	p.refused("a batch with bad data", set("b", `1`), set("c", `{`), set("d", `1`))
	p.refused("a batch with a bad name", del, set("b", `1`), set("\xff", `1`))
	if err := p.refused("a batch with a conflict", set("b", `1`), wrong, set("c", `1`)); !errors.Is(err, tiers.ErrConflict) {
		p.Fatalf("a batch with a conflict: %v, want ErrConflict", err)
	}
	p.holds("a", `1`, before)
	for _, name := range []string{"b", "c", "d"} {
		p.absent(name)
	}
	if head := p.head(); head != before {
		p.Fatalf("refused batches moved the head from %v to %v", before, head)
	}
	if stamp := p.set("b", `1`); stamp != step(before) {
		p.Fatalf("after refused batches a write went from %v to %v, want one step", before, stamp)
	}
}

func noRowIsStampedWithHead(p *sourceProbe) {
	want := p.set("other", `1`)
	for range 3 {
		r := p.absent("a")
		if !r.NoRow || r.Stamp != want {
			p.Fatalf("no row: NoRow %v, stamp %v, the head is %v", r.NoRow, r.Stamp, want)
		}
		want = p.set("other", `2`)
	}
	rs := p.load("other", "a")
	if rs[0].Stamp != rs[1].Stamp {
		p.Fatalf("one load: newest row %v, no row %v, want the same", rs[0].Stamp, rs[1].Stamp)
	}
}

func deleteIsFinal(p *sourceProbe) {
	set := p.set("a", `1`)
	deleted := p.delete("a")
	if deleted != step(set) {
		p.Fatalf("a delete went from %v to %v, want one step", set, deleted)
	}
	if r := p.absent("a"); deleted.Newer(r.Stamp) {
		p.Fatalf("deleted at %v, absent as of %v: a cache would keep the old value", deleted, r.Stamp)
	}
}

func deleteOfAbsentStepsNothing(p *sourceProbe) {
	p.set("a", `1`)
	head := p.delete("a")
	for _, name := range []string{"a", "never"} {
		if got := p.delete(name); got != head {
			p.Fatalf("delete of absent %q returns %v, the head is %v", name, got, head)
		}
	}
	if got := p.head(); got != head {
		p.Fatalf("deletes of absent names moved the head from %v to %v", head, got)
	}
}

func stampsGrowAcrossDeletes(p *sourceProbe) {
	var last tiers.Stamp
	for i := range 4 {
		set := p.set("a", fmt.Sprint(i))
		if !set.Newer(last) {
			p.Fatalf("set again at %v, but deleted at %v", set, last)
		}
		p.holds("a", fmt.Sprint(i), set)
		if last = p.delete("a"); !last.Newer(set) {
			p.Fatalf("deleted at %v, but set at %v", last, set)
		}
	}
}

// conditionally writes a name, or deletes it if data is empty, on condition.
func conditionally(at tiers.Stamp, data string) tiers.Write {
	return tiers.Write{Name: "a", Data: []byte(data), If: &at, Delete: data == ""}
}

// conflicts makes a write whose condition must not hold.
func (p *sourceProbe) conflicts(what string, w tiers.Write) {
	p.Helper()
	head := p.head()
	if err := p.refused(what, w); !errors.Is(err, tiers.ErrConflict) {
		p.Fatalf("%s: %v, want ErrConflict", what, err)
	}
	if got := p.head(); got != head {
		p.Fatalf("%s moved the head from %v to %v", what, head, got)
	}
}

func ifHolds(p *sourceProbe) {
	write := conditionally
	first := p.write(write(tiers.Stamp{}, `1`))
	p.conflicts("the zero stamp for a row", write(tiers.Stamp{}, `2`))
	p.conflicts("a newer stamp than the row's", write(step(first), `2`))
	later := first
	later.Epoch++
	p.conflicts("the stamp of another epoch", write(later, `2`))
	p.holds("a", `1`, first)
	p.set("other", `2`)
	second := p.write(write(first, `2`))
	p.conflicts("an old stamp of the row", write(first, `3`))
	p.conflicts("a delete by an old stamp", write(first, ""))
	p.holds("a", `2`, second)
	p.write(write(second, ""))
	p.conflicts("the stamp of a row that was deleted", write(second, `3`))
	p.holds("a", `3`, p.write(write(tiers.Stamp{}, `3`)))
}

// What is read of a name without a value can be named in a condition, until
// something was there in between.
func ifHoldsForAbsence(p *sourceProbe) {
	write := conditionally
	p.set("other", `1`)
	never := p.absent("a").Stamp
	p.conflicts("a stamp newer than the head, for no row", write(step(never), `1`))
	later := never
	later.Epoch++
	p.conflicts("the stamp of another epoch, for no row", write(later, `1`))
	p.set("other", `2`)
	first := p.write(write(never, `1`))
	p.holds("a", `1`, first)
	p.conflicts("the stamp of an absence that has ended", write(never, `2`))
	deleted := p.write(write(first, ""))
	p.conflicts("the stamp of an absence before the last value", write(never, `2`))
	p.conflicts("the stamp of the value that was deleted", write(first, `2`))
	p.set("other", `3`)
	second := p.write(write(deleted, `2`))
	p.holds("a", `2`, second)
	p.delete("a")
	p.set("other", `4`)
	third := p.write(write(p.absent("a").Stamp, `3`))
	p.holds("a", `3`, third)
	p.delete("a")
	head := p.head()
	if got := p.write(write(head, "")); got != head {
		p.Fatalf("a delete of an absent name, on condition, returns %v, the head is %v", got, head)
	}
}
