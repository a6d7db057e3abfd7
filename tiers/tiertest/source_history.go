package tiertest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a source tells of its past: Changes by revision and Scan by name, both
// with tombstones, both in pages that miss nothing.

// follow reads pages of Changes after since up to the head and returns them,
// having checked their form.
func (p *sourceProbe) follow(since tiers.Stamp) (records []tiers.Record, head tiers.Stamp) {
	p.Helper()
	for {
		page, err := p.source.Changes(p.ctx, p.ns, since)
		if err != nil {
			p.Fatalf("changes since %v: %v", since, err)
		}
		if page.Reset {
			p.Fatalf("changes since %v: Reset", since)
		}
		last := since
		for _, r := range page.Records {
			if !r.Stamp.Newer(since) || last.Newer(r.Stamp) {
				p.Fatalf("changes since %v: %q of %v after %v", since, r.Name, r.Stamp, last)
			}
			if r.NoRow || r.Kind != tiers.Value && r.Kind != tiers.Absent || r.Kind == tiers.Absent && r.Data != nil {
				p.Fatalf("changes: %q is neither a row nor a tombstone", r.Name)
			}
			last = r.Stamp
		}
		records = append(records, page.Records...)
		if !page.More {
			if last.Newer(page.Head) {
				p.Fatalf("changes since %v: head %v, but a record of %v", since, page.Head, last)
			}
			return records, page.Head
		}
		if len(page.Records) == 0 || page.Head != last {
			p.Fatalf("a full page ends with %v, its head is %v", last, page.Head)
		}
		since = page.Head
	}
}

func changesAreThoseAfterSince(p *sourceProbe) {
	first := p.set("a", `1`)
	b := p.set("b", `1`)
	p.set("c", `1`)
	a := p.set("a", `2`)
	c := p.delete("c")
	p.delete("never")
	want := func(since tiers.Stamp, names string, stamps ...tiers.Stamp) {
		p.Helper()
		records, head := p.follow(since)
		var got string
		for i, r := range records {
			got += r.Name
			if i < len(stamps) && r.Stamp != stamps[i] {
				p.Fatalf("changes since %v: %q of %v, want %v", since, r.Name, r.Stamp, stamps[i])
			}
			if absent := r.Name == "c"; absent != (r.Kind == tiers.Absent) {
				p.Fatalf("changes since %v: %q is %v", since, r.Name, r.Kind)
			}
		}
		if got != names || head != c {
			p.Fatalf("changes since %v: names %q up to %v, want %q up to %v", since, got, head, names, c)
		}
	}
	want(tiers.Stamp{Epoch: first.Epoch}, "bac", b, a, c)
	want(first, "bac", b, a, c)
	want(b, "ac", a, c)
	want(a, "c", c)
	want(c, "")
	records, _ := p.follow(b)
	if !sameJSON(records[0].Data, []byte(`2`)) {
		p.Fatalf("changes give another value than was set")
	}
	again := p.set("c", `3`)
	if records, _ = p.follow(c); len(records) != 1 || records[0].Kind != tiers.Value || records[0].Stamp != again {
		p.Fatalf("set again after a delete: %d records, want the value of %v alone", len(records), again)
	}
}

func changesOfAnotherEpoch(p *sourceProbe) {
	stamp := p.set("a", `1`)
	for _, epoch := range []uint32{stamp.Epoch - 1, stamp.Epoch + 1} {
		ch, err := p.source.Changes(p.ctx, p.ns, tiers.Stamp{Epoch: epoch, Revision: stamp.Revision})
		if err != nil || !ch.Reset || len(ch.Records) != 0 || ch.More {
			p.Fatalf("changes since epoch %d in epoch %d: Reset %v, %d records, %v", epoch, stamp.Epoch, ch.Reset, len(ch.Records), err)
		}
	}
}

// longHistory writes more names than a page is likely to hold, many to a
// revision and many to a revision of their own, and returns what is then true.
func (p *sourceProbe) longHistory() (truth map[string]tiers.Record, start tiers.Stamp) {
	p.Helper()
	start = p.set("first", `0`)
	truth = map[string]tiers.Record{"first": {Kind: tiers.Value, Stamp: start}}
	note := func(stamp tiers.Stamp, writes ...tiers.Write) {
		for _, w := range writes {
			kind := tiers.Value
			if w.Delete {
				kind = tiers.Absent
			}
			truth[w.Name] = tiers.Record{Kind: kind, Stamp: stamp}
		}
	}
	single := func(i int) {
		w := tiers.Write{Name: fmt.Sprintf("single%d", i), Data: []byte(`1`)}
		note(p.write(w), w)
	}
	for batch := range 5 {
		single(batch)
		var writes []tiers.Write
		for i := range tiers.MaxBatch {
			writes = append(writes, tiers.Write{Name: fmt.Sprintf("n%d.%d", batch, i*7919%tiers.MaxBatch), Data: fmt.Append(nil, i)})
		}
		note(p.write(writes...), writes...)
	}
	var writes []tiers.Write
	for i := range 100 {
		writes = append(writes, tiers.Write{Name: fmt.Sprintf("n%d.%d", i%5, i), Delete: true})
	}
	note(p.write(writes...), writes...)
	return truth, start
}

// agrees compares what a source told of its past with the truth.
func (p *sourceProbe) agrees(what string, records []tiers.Record, truth map[string]tiers.Record) {
	p.Helper()
	seen := map[string]bool{}
	for _, r := range records {
		want, ok := truth[r.Name]
		switch {
		case !ok:
			p.Fatalf("%s: %q was never written", what, r.Name)
		case seen[r.Name]:
			p.Fatalf("%s: %q comes twice", what, r.Name)
		case r.Kind != want.Kind || r.Stamp != want.Stamp || r.NoRow:
			p.Fatalf("%s: %q is %v of %v, want %v of %v", what, r.Name, r.Kind, r.Stamp, want.Kind, want.Stamp)
		}
		seen[r.Name] = true
	}
	if len(records) != len(truth) {
		p.Fatalf("%s: %d names, want %d", what, len(records), len(truth))
	}
}

func changesMissNothingOverPages(p *sourceProbe) {
	truth, start := p.longHistory()
	records, _ := p.follow(tiers.Stamp{Epoch: start.Epoch})
	p.agrees("changes", records, truth)
	delete(truth, "first")
	records, _ = p.follow(start)
	p.agrees("changes since the first", records, truth)
}

// changesFollowConcurrentWriters follows a history while it grows: what was
// read up to a head is never added to later.
func changesFollowConcurrentWriters(p *sourceProbe) {
	since := p.set("start", `0`)
	failed := make([]error, writers)
	done := make(chan struct{})
	go func() {
		defer close(done)
		crowd(func(w int) {
			for i := range perWriter {
				writes := []tiers.Write{{Name: fmt.Sprintf("w%d.%d", w, i), Data: []byte(`1`)}}
				_, err := p.source.Write(p.ctx, p.ns, writes)
				failed[w] = cmp.Or(failed[w], err)
			}
		})
	}()
	defer func() { <-done }()
	var all []tiers.Record
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		records, head := p.follow(since)
		all, since = append(all, records...), head
	}
	if err := errors.Join(failed...); err != nil {
		p.Fatalf("concurrent writes: %v", err)
	}
	if len(all) != writers*perWriter {
		p.Fatalf("followed %d of %d changes", len(all), writers*perWriter)
	}
}

func (p *sourceProbe) scan() (records []tiers.Record) {
	p.Helper()
	for r, err := range p.source.Scan(p.ctx, p.ns) {
		if err != nil {
			p.Fatalf("scan: %v", err)
		}
		records = append(records, r)
	}
	return records
}

func scanYieldsEachNameOnce(p *sourceProbe) {
	if rs := p.scan(); len(rs) != 0 {
		p.Fatalf("scan of an empty namespace yields %d records", len(rs))
	}
	truth, _ := p.longHistory()
	records := p.scan()
	p.agrees("scan", records, truth)
	if !slices.IsSortedFunc(records, func(a, b tiers.Record) int { return cmp.Compare(a.Name, b.Name) }) {
		p.Fatalf("scan is not in the bytewise order of names")
	}
}

func scanMayBeLeft(p *sourceProbe) {
	for i := range 3 {
		p.set(fmt.Sprint(i), `1`)
	}
	for range 2 * writers { // more than a source has connections
		for r, err := range p.source.Scan(p.ctx, p.ns) {
			if err != nil || r.Name != "0" {
				p.Fatalf("scan begins with %q, %v", r.Name, err)
			}
			break
		}
	}
	if rs := p.scan(); len(rs) != 3 {
		p.Fatalf("scan yields %d records, want 3", len(rs))
	}
}
