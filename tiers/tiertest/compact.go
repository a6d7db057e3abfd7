package tiertest

import (
	"errors"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What may be forgotten, and who has to be told so. A source that compacts is
// checked for it by TestSource.

type compactCheck struct {
	name string
	run  func(p *sourceProbe, c tiers.Compacter)
}

var compactChecks = []compactCheck{
	{"CompactForgetsOldDeletesAlone", compactForgets},
	{"CompactIsToldToWhoAsksFromBefore", compactResets},
	{"WhatWasForgottenIsNoCondition", compactEndsConditions},
	{"CompactIsApart", compactIsApart},
}

func testCompacter(t *testing.T, source tiers.Source, compacter tiers.Compacter) {
	for _, c := range compactChecks {
		t.Run(c.name, func(t *testing.T) {
			c.run(&sourceProbe{newProbe(t.Context(), t, patience), source}, compacter)
		})
	}
}

// compact forgets deletes older than age, of which there must be want.
func (p *sourceProbe) compact(c tiers.Compacter, age time.Duration, want int) {
	p.Helper()
	before := p.head()
	n, err := c.Compact(p.ctx, p.ns, age)
	if err != nil || n != want {
		p.Fatalf("compacted %d deletes, %v; want %d", n, err, want)
	}
	if head := p.head(); head != before {
		p.Fatalf("compacting moved the head from %v to %v", before, head)
	}
}

// scanned returns the names that Scan yields.
func (p *sourceProbe) scanned() (names []string) {
	p.Helper()
	for r, err := range p.source.Scan(p.ctx, p.ns) {
		if err != nil {
			p.Fatalf("scan: %v", err)
		}
		names = append(names, r.Name)
	}
	return names
}

func compactForgets(p *sourceProbe, c tiers.Compacter) {
	kept := p.set("kept", `1`)
	p.set("again", `1`)
	p.set("gone", `1`)
	p.delete("again")
	p.delete("gone")
	again := p.set("again", `2`)
	p.compact(c, time.Hour, 0)
	if names := p.scanned(); len(names) != 3 {
		p.Fatalf("after compacting what is an hour old, scan yields %q", names)
	}
	p.compact(c, 0, 1)
	p.compact(c, 0, 0)
	if names := p.scanned(); len(names) != 2 {
		p.Fatalf("after compacting, scan yields %q", names)
	}
	p.holds("kept", `1`, kept)
	p.holds("again", `2`, again)
	p.absent("gone")
}

func compactResets(p *sourceProbe, c tiers.Compacter) {
	before := p.set("a", `1`)
	deleted := p.delete("a")
	p.set("b", `1`)
	p.compact(c, 0, 1)
	if ch, err := p.source.Changes(p.ctx, p.ns, before); err != nil || !ch.Reset || len(ch.Records) > 0 {
		p.Fatalf("changes since before a forgotten delete: reset %v, %d records, %v; want a reset", ch.Reset, len(ch.Records), err)
	}
	if records, _ := p.follow(deleted); len(records) != 1 || records[0].Name != "b" {
		p.Fatalf("changes since the forgotten delete are %d, want the one after it", len(records))
	}
}

func compactEndsConditions(p *sourceProbe, c tiers.Compacter) {
	before := p.head()
	p.set("a", `1`)
	p.delete("a")
	p.compact(c, 0, 1)
	p.conflicts("an absence from before what was forgotten", conditionally(before, `2`))
	p.write(conditionally(p.absent("a").Stamp, `2`))
	p.delete("a")
	p.compact(c, 0, 1)
	p.write(conditionally(tiers.Stamp{}, `3`))
}

func compactIsApart(p *sourceProbe, c tiers.Compacter) {
	p.set("a", `1`)
	deleted := p.delete("a")
	other := &probe{tester: p.tester, ctx: p.ctx, ns: p.ns + " x", wait: p.wait}
	(&sourceProbe{other, p.source}).compact(c, 0, 0)
	if names := p.scanned(); len(names) != 1 {
		p.Fatalf("compacting another namespace left %q", names)
	}
	if _, err := c.Compact(p.ctx, p.ns, -time.Second); err == nil {
		p.Fatalf("compacted what is yet to be deleted")
	}
	if err := p.refused("a stamp of the value that was deleted", conditionally(tiers.Stamp{Epoch: deleted.Epoch, Revision: deleted.Revision - 1}, `1`)); !errors.Is(err, tiers.ErrConflict) {
		p.Fatalf("%v, want ErrConflict", err)
	}
}
