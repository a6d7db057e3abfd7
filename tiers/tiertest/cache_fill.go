package tiertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a cache keeps: of all it was ever offered the newest, to the byte, and
// the answer that there is none as well as a value.

func nothingKnownIsAMiss(p *cacheProbe) {
	for range 2 {
		for _, r := range p.load("a", "b") {
			if !errors.Is(r.Err, tiers.ErrMiss) {
				p.Fatalf("load %q, never filled: %v, %v, want a miss", r.Name, r.Kind, r.Err)
			}
		}
	}
	if rs := p.load(); len(rs) != 0 {
		p.Fatalf("load of no names gives %d results", len(rs))
	}
	p.fill()
}

func whatIsFilledIsLoaded(p *cacheProbe) {
	p.stores(value("a", `{"x": 1}`, at(3)))
	p.misses("b")
	p.stores(value("b", `2`, tiers.Stamp{Epoch: 1<<32 - 1, Revision: 1<<63 - 1}))
	p.loads(value("a", `{"x": 1}`, at(3)))
}

func onlyNewerWins(p *cacheProbe) {
	five, nine := value("a", `5`, at(5)), value("a", `9`, at(9))
	p.stores(five)
	p.refuses(value("a", `4`, at(4)), five)
	p.refuses(value("a", `"other"`, at(5)), five)
	p.refuses(tombstone("a", at(4)), five)
	p.refuses(noRow("a", at(4)), five)
	p.refuses(noRow("a", at(5)), five)
	p.stores(nine)
	p.refuses(five, nine)
	ten := value("a", `10`, at(10)) // a later number of more digits is newer, too
	p.stores(ten)
	p.refuses(nine, ten)
	big := value("a", `"big"`, at(1<<53+1))
	p.stores(big)
	p.refuses(value("a", `"less"`, at(1<<53)), big)
	p.stores(value("a", `"more"`, at(1<<53+2)))
}

func epochOutranksRevision(p *cacheProbe) {
	p.stores(value("a", `1`, tiers.Stamp{Epoch: 9, Revision: 100}))
	later := value("a", `2`, tiers.Stamp{Epoch: 10, Revision: 1})
	p.stores(later)
	p.refuses(value("a", `3`, tiers.Stamp{Epoch: 9, Revision: 101}), later)
	last := tombstone("a", tiers.Stamp{Epoch: 11, Revision: 1})
	p.stores(last)
	p.refuses(value("a", `3`, tiers.Stamp{Epoch: 10, Revision: 2}), last)
}

func absentIsAnAnswer(p *cacheProbe) {
	one := value("a", `1`, at(1))
	gone := tombstone("a", at(3))
	p.stores(one)
	p.stores(gone)
	p.refuses(one, gone)
	p.refuses(value("a", `2`, at(2)), gone)
	p.refuses(value("a", `3`, at(3)), gone)
	p.stores(value("a", `4`, at(4)))
	p.stores(noRow("a", at(5)))
	p.refuses(value("a", `4`, at(4)), noRow("a", at(5)))
	p.stores(tombstone("a", at(6)))
	p.stores(value("a", `7`, at(7)))
	p.stores(noRow("b", at(1)))
}

func noRowOverAbsent(p *cacheProbe) {
	first := noRow("a", at(3))
	p.stores(first)
	p.refuses(noRow("a", at(3)), first)
	p.refuses(noRow("a", at(9)), first)
	p.refuses(noRow("a", at(2)), first)
	gone := tombstone("b", at(3))
	p.stores(gone)
	p.refuses(noRow("b", at(9)), gone)
	p.refuses(tombstone("b", at(2)), gone)
	later := noRow("b", tiers.Stamp{Epoch: 2, Revision: 1})
	p.stores(later)
	p.refuses(noRow("b", at(99)), later)
}

func aheadIsSaid(p *cacheProbe) {
	newer := tiers.Stamp{Epoch: 2, Revision: 5}
	cases := []struct {
		what        string
		held, offer tiers.Record
		ahead       bool
	}{
		{"an older revision", value("a", `1`, newer), value("a", `1`, tiers.Stamp{Epoch: 2, Revision: 4}), true},
		{"an older epoch", value("b", `1`, newer), value("b", `1`, tiers.Stamp{Epoch: 1, Revision: 9}), true},
		{"the same stamp", value("c", `1`, newer), value("c", `1`, newer), false},
		{"the same stamp and another value", value("h", `1`, newer), value("h", `2`, newer), true},
		{"the same stamp and a longer value", value("i", `1`, newer), value("i", `11`, newer), true},
		{"a delete of the same stamp", value("j", `1`, newer), tombstone("j", newer), true},
		{"no row of the same stamp", value("k", `1`, newer), noRow("k", newer), true},
		{"a value of the same stamp over a delete", tombstone("l", newer), value("l", `1`, newer), true},
		{"no row over a delete of the same stamp", tombstone("m", newer), noRow("m", newer), false},
		{"a delete of the same stamp over no row", noRow("n", newer), tombstone("n", newer), false},
		{"a newer stamp", value("d", `1`, newer), value("d", `1`, tiers.Stamp{Epoch: 2, Revision: 6}), false},
		{"a newer no row over no row", noRow("e", newer), noRow("e", tiers.Stamp{Epoch: 2, Revision: 6}), false},
		{"an older no row over no row", noRow("f", newer), noRow("f", tiers.Stamp{Epoch: 2, Revision: 4}), true},
		{"an older value over a delete", tombstone("g", newer), value("g", `1`, at(9)), true},
	}
	for _, c := range cases {
		p.stores(c.held)
		if got := p.fill(tiers.Fill{Record: c.offer})[0].Ahead; got != c.ahead {
			p.Fatalf("fill with %s: ahead is %v", c.what, got)
		}
	}
	if p.fill(tiers.Fill{Record: value("empty", `1`, at(1))})[0].Ahead {
		p.Fatalf("fill of an empty place: ahead")
	}
}

// replaceOfRaw corrects a record that is too new by naming what was loaded.
func replaceOfRaw(p *cacheProbe) {
	for i, held := range []tiers.Record{value("a", `9`, at(9)), tombstone("b", at(9)), noRow("c", at(9))} {
		p.stores(held)
		raw := p.load(held.Name)[0].Raw
		if len(raw) == 0 {
			p.Fatalf("load of %v gives no Raw", held.Kind)
		}
		correct := tiers.Fill{Record: value(held.Name, `4`, at(4)), Replace: raw}
		if r := p.fill(correct)[0]; !r.Stored || r.Ahead {
			p.Fatalf("case %d: an older fill that names the bytes loaded: %+v", i, r)
		}
		p.loads(correct.Record)
		p.stores(value(held.Name, `9`, at(10)))
		if r := p.fill(correct)[0]; r.Stored || !r.Ahead {
			p.Fatalf("case %d: an older fill that names bytes which are gone: %+v", i, r)
		}
	}
}

func replaceOfOtherBytes(p *cacheProbe) {
	five := value("a", `5`, at(5))
	p.stores(five)
	for _, other := range []string{"", "other bytes", "5"} {
		older := tiers.Fill{Record: value("a", `4`, at(4)), Replace: []byte(other)}
		if p.fill(older)[0].Stored {
			p.Fatalf("an older fill that names bytes which are not there was stored")
		}
		p.settle()
		p.loads(five)
	}
	newer := tiers.Fill{Record: value("a", `6`, at(6)), Replace: []byte("other bytes")}
	if !p.fill(newer)[0].Stored {
		p.Fatalf("a newer fill was refused for the bytes it names")
	}
	p.loads(newer.Record)
	first := tiers.Fill{Record: value("b", `1`, at(1)), Replace: []byte("other bytes")}
	if !p.fill(first)[0].Stored {
		p.Fatalf("a fill of an empty place was refused for the bytes it names")
	}
}

func manyAtOnce(p *cacheProbe) {
	names := make([]string, tiers.MaxBatch)
	var fills []tiers.Fill
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i*7919%len(names))
		switch i % 3 {
		case 0:
			fills = append(fills, tiers.Fill{Record: value(names[i], fmt.Sprint(i), at(uint64(i+1)))})
		case 1:
			fills = append(fills, tiers.Fill{Record: noRow(names[i], at(7))})
		}
	}
	for i, r := range p.fill(fills...) {
		if !r.Stored {
			p.Fatalf("fill %q, one of many: refused", fills[i].Name)
		}
	}
	for i, r := range p.load(names...) {
		miss := errors.Is(r.Err, tiers.ErrMiss)
		switch {
		case (i%3 == 2) != miss, i%3 == 1 && r.Kind != tiers.Absent:
			p.Fatalf("result %d, for %q: %v, %v", i, r.Name, r.Kind, r.Err)
		case i%3 == 0 && !same(r.Record, value(r.Name, fmt.Sprint(i), at(uint64(i+1)))):
			p.Fatalf("result %d, for %q: another record than was filled", i, r.Name)
		}
	}
	fills[0].Stamp = at(1000)
	for i, r := range p.fill(fills...) {
		if r.Stored != (i == 0) {
			p.Fatalf("fill %d, filled again and alone newer if 0: stored is %v", i, r.Stored)
		}
	}
}

func fillFailsPerName(p *cacheProbe) {
	for i, bad := range badNames {
		good := value("a", `1`, at(uint64(i+1)))
		fills := []tiers.Fill{{Record: value(bad, `1`, at(1))}, {Record: good}}
		rs := p.cache.Fill(p.ctx, p.ns, fills)
		if len(rs) != 2 || rs[0].Err == nil || rs[0].Stored {
			p.Fatalf("fill of bad name %q: want an error", bad)
		}
		if rs[1].Err != nil || !rs[1].Stored {
			p.Fatalf("beside bad name %q: %v, want a stored record", bad, rs[1].Err)
		}
		p.loads(good)
		loaded := p.cache.Load(p.ctx, p.ns, []string{bad, "a"})
		if len(loaded) != 2 || loaded[0].Err == nil || loaded[1].Err != nil {
			p.Fatalf("load of bad name %q: want an error for it alone", bad)
		}
		if out := p.cache.Fill(p.ctx, bad, fills[1:]); len(out) != 1 || out[0].Err == nil {
			p.Fatalf("fill in bad namespace %q: want an error", bad)
		}
	}
}

func keysAreTakenLiterally(p *cacheProbe) {
	var fills []tiers.Fill
	for i, name := range oddNames {
		fills = append(fills, tiers.Fill{Record: value(name, fmt.Sprint(i), at(uint64(i+1)))})
	}
	p.load(oddNames...)
	for i, r := range p.fill(fills...) {
		if !r.Stored {
			p.Fatalf("fill %q: refused, as if it were another name", oddNames[i])
		}
	}
	for _, f := range fills {
		p.loads(f.Record)
	}
}

// keysAreApart pairs namespaces and names that a careless join makes equal.
func keysAreApart(p *cacheProbe) {
	other := &cacheProbe{newProbe(p.ctx, p.tester, p.wait), p.cache}
	spaces := []string{p.ns, p.ns + ":a", p.ns + ":a:a", p.ns + ":", p.ns + "/a", "{" + p.ns + "}", p.ns + "%3Aa", p.ns + `\:a`, p.ns + "*"}
	names := []string{"a", "a:a", "a:a:a", ":a", "::a", "%3Aa", "lease:a"}
	for i, ns := range spaces {
		for j, name := range names {
			other.ns = ns
			stamp := at(uint64(1000 - i*len(names) - j)) // each older than those before
			if !other.fill(tiers.Fill{Record: value(name, fmt.Sprint(i, j)[:1], stamp)})[0].Stored {
				p.Fatalf("name %q of namespace %d collides with another", name, i)
			}
		}
	}
}

func dataAreKept(p *cacheProbe) {
	for i, data := range append(slices.Clone(falsyData), ` {"a" :1}`, `"\u0000é"`, `"`+"é\u2028"+`"`, string(longestData())) {
		p.stores(value("a", data, at(uint64(i+1))))
	}
}

func ttlEnds(p *cacheProbe) {
	const ttl = 300 * time.Millisecond
	a, b := value("a", `1`, at(5)), noRow("b", at(5))
	start := time.Now()
	p.fill(tiers.Fill{Record: a, TTL: ttl}, tiers.Fill{Record: b, TTL: ttl}, tiers.Fill{Record: value("c", `1`, at(5)), TTL: time.Hour})
	rs := p.load("a", "b")
	if time.Since(start) < ttl && (rs[0].Err != nil || rs[1].Err != nil) {
		p.Fatalf("lost before its TTL: %v, %v", rs[0].Err, rs[1].Err)
	}
	p.misses("a")
	if gone := time.Since(start); gone < ttl-20*time.Millisecond {
		p.Fatalf("a miss after %v, its TTL is %v", gone, ttl)
	}
	p.misses("b")
	p.loads(value("c", `1`, at(5)))
	p.stores(a) // a miss is an empty place
}

func ttlOfTheWinner(p *cacheProbe) {
	const ttl = 100 * time.Millisecond
	p.fill(tiers.Fill{Record: value("a", `1`, at(1)), TTL: ttl})
	p.fill(tiers.Fill{Record: value("a", `2`, at(2))})
	p.fill(tiers.Fill{Record: value("a", `2`, at(2)), TTL: ttl})
	p.fill(tiers.Fill{Record: value("a", `1`, at(1)), TTL: ttl})
	p.fill(tiers.Fill{Record: value("b", `1`, at(1)), TTL: ttl})
	p.misses("b")
	p.settle()
	if r := p.load("a")[0]; r.Err != nil {
		p.Fatalf("kept without end by the newest fill, gone with the TTL of another: %v", r.Err)
	}
}

func concurrentFills(p *cacheProbe) {
	const revisions = 64
	p.load("a")
	stored := make([][]uint64, writers)
	failed := make([]error, writers)
	crowd(func(w int) {
		for _, i := range rand.Perm(revisions) {
			revision := uint64(i + 1)
			f := tiers.Fill{Record: value("a", fmt.Sprint(revision), at(revision))}
			r := p.cache.Fill(p.ctx, p.ns, []tiers.Fill{f})[0]
			failed[w] = errors.Join(failed[w], r.Err)
			if r.Stored {
				stored[w] = append(stored[w], revision)
			}
		}
	})
	if err := errors.Join(failed...); err != nil {
		p.Fatalf("concurrent fills: %v", err)
	}
	newest := value("a", fmt.Sprint(revisions), at(revisions))
	p.loads(newest)
	p.settle()
	p.loads(newest)
	all := slices.Sorted(slices.Values(slices.Concat(stored...)))
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		p.Fatalf("one revision was stored twice: %v", all)
	}
	for w := range stored {
		if !slices.IsSorted(stored[w]) {
			p.Fatalf("one writer's fills were stored in the order %v", stored[w])
		}
	}
}

func corruptIsAMiss(p *cacheProbe, c Corrupter) {
	p.stores(value("a", `1`, at(5)))
	p.stores(value("b", `1`, at(5)))
	raw := []byte("\x00 no entry")
	c.Corrupt(p.ns, "a", raw)
	p.eventually(func() bool {
		r := p.load("a")[0]
		corrupt, ok := errors.AsType[*tiers.CorruptError](r.Err)
		return ok && string(corrupt.Raw) == string(raw)
	}, "load of damaged bytes gives a CorruptError with them")
	p.loads(value("b", `1`, at(5)))
}

func replaceRepairs(p *cacheProbe, c Corrupter) {
	p.stores(value("a", `1`, at(5)))
	raw := []byte("\x00 no entry")
	c.Corrupt(p.ns, "a", raw)
	repair := tiers.Fill{Record: value("a", `1`, at(5)), Replace: raw}
	if !p.fill(repair)[0].Stored {
		p.Fatalf("a fill that names the damaged bytes was refused")
	}
	p.loads(repair.Record)
	repair.Record = value("a", `0`, at(4))
	if p.fill(repair)[0].Stored {
		p.Fatalf("an older fill named bytes that are no longer there, and was stored")
	}
}
