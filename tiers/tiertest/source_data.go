package tiertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a source does with names and data at the edges: each legal one is
// kept apart from its neighbours, each other is refused before it does harm,
// and a question that could not be asked is not answered.

func namesAreTakenLiterally(p *sourceProbe) {
	stamps := map[string]tiers.Stamp{}
	for i, name := range oddNames {
		stamps[name] = p.set(name, fmt.Sprint(i))
	}
	for i, r := range p.load(oddNames...) {
		if r.Kind != tiers.Value || string(r.Data) != fmt.Sprint(i) || r.Stamp != stamps[r.Name] {
			p.Fatalf("load %q: %v of %v, want its own value of %v", r.Name, r.Kind, r.Stamp, stamps[r.Name])
		}
	}
	for i, name := range oddNames {
		p.delete(name)
		p.absent(name)
		if rest := oddNames[i+1:]; len(rest) > 0 {
			for _, r := range p.load(rest...) {
				if r.Kind != tiers.Value {
					p.Fatalf("delete of %q deleted %q", name, r.Name)
				}
			}
		}
	}
}

func badNamesAreRefused(p *sourceProbe) {
	before := p.set("a", `1`)
	for _, name := range badNames {
		p.refused(fmt.Sprintf("set of %q", name), tiers.Write{Name: name, Data: []byte(`1`)})
		p.refused(fmt.Sprintf("delete of %q", name), tiers.Write{Name: name, Delete: true})
		_, err := p.source.Write(p.ctx, name, []tiers.Write{{Name: "a", Data: []byte(`1`)}})
		if err == nil || tiers.OutcomeOf(err) != tiers.NotApplied {
			p.Fatalf("write to namespace %q: %v, want NotApplied", name, err)
		}
		rs := p.source.Load(p.ctx, name, []string{"a"})
		if len(rs) != 1 || rs[0].Err == nil {
			p.Fatalf("load from namespace %q was answered", name)
		}
	}
	if head := p.head(); head != before {
		p.Fatalf("refused names moved the head from %v to %v", before, head)
	}
}

func falsyDataAreValues(p *sourceProbe) {
	for _, data := range falsyData {
		p.holds("a", data, p.set("a", data))
	}
}

func badDataIsRefused(p *sourceProbe) {
	before := p.set("a", `1`)
	long := append(longestData(), ' ')
	for _, data := range []string{"", " ", "{", "nul", "'x'", "1 2", `"` + "\xff" + `"`, "NaN", `{"a":}`, string(long)} {
		p.refused(fmt.Sprintf("data %.20q", data), tiers.Write{Name: "a", Data: []byte(data)})
	}
	p.holds("a", `1`, before)
	if head := p.head(); head != before {
		p.Fatalf("refused data moved the head from %v to %v", before, head)
	}
}

func longestDataIsKept(p *sourceProbe) {
	data := string(longestData())
	p.holds("a", data, p.set("a", data))
}

func loadKeepsOrder(p *sourceProbe) {
	names := make([]string, tiers.MaxBatch)
	var writes []tiers.Write
	for i := range names {
		names[i] = fmt.Sprintf("n%d", (i*7919)%len(names)) // neither sorted nor in order of creation
		if i%2 == 0 {
			writes = append(writes, tiers.Write{Name: names[i], Data: fmt.Append(nil, i)})
		}
	}
	stamp := p.write(writes...)
	for i, r := range p.load(names...) {
		want := tiers.Absent
		if i%2 == 0 {
			want = tiers.Value
		}
		if r.Kind != want || r.Stamp != stamp || want == tiers.Value && string(r.Data) != fmt.Sprint(i) {
			p.Fatalf("result %d, for %q: %v of %v, want %v of %v and its own data", i, r.Name, r.Kind, r.Stamp, want, stamp)
		}
	}
}

func loadFailsPerName(p *sourceProbe) {
	stamp := p.set("a", `1`)
	for _, bad := range badNames {
		names := []string{"a", bad, "none"}
		start := time.Now()
		rs := p.source.Load(p.ctx, p.ns, names)
		if len(rs) != len(names) {
			p.Fatalf("%d results for %d names", len(rs), len(names))
		}
		for i, r := range rs {
			p.checkResult(r, names[i], start, 0)
		}
		switch {
		case rs[1].Err == nil:
			p.Fatalf("load of bad name %q was answered", bad)
		case rs[0].Err != nil || rs[0].Kind != tiers.Value || rs[0].Stamp != stamp:
			p.Fatalf("beside bad name %q: %v, %v, want a value", bad, rs[0].Kind, rs[0].Err)
		case rs[2].Err != nil || rs[2].Kind != tiers.Absent:
			p.Fatalf("beside bad name %q: %v, %v, want absent", bad, rs[2].Kind, rs[2].Err)
		}
	}
}

func namespacesAreApart(p *sourceProbe) {
	first := p.set("a", `1`)
	p.set("a", `2`)
	other := &sourceProbe{newProbe(p.ctx, p.tester, p.wait), p.source}
	for i, ns := range []string{p.ns + " ", p.ns + ":a", p.ns + "%", "{" + p.ns + "}", p.ns + "_"} {
		other.ns = ns
		other.absent("a")
		other.absent("a:a")
		if stamp := other.set("a", fmt.Sprint(i+10)); stamp.Revision != first.Revision {
			p.Fatalf("first stamp of namespace %d is %v, of another it was %v", i, stamp, first)
		}
		other.holds("a", fmt.Sprint(i+10), first)
	}
	p.holds("a", `2`, step(first))
	if head := p.head(); head != step(first) {
		p.Fatalf("writes to other namespaces moved the head from %v to %v", step(first), head)
	}
}

func sourceContextEnded(p *sourceProbe) {
	before := p.set("a", `1`)
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	var rs []tiers.Result
	p.promptly("Load with an ended context", func() { rs = p.source.Load(ctx, p.ns, []string{"a", "none"}) })
	if len(rs) != 2 || rs[0].Err == nil || rs[1].Err == nil || rs[0].Name != "a" || rs[1].Name != "none" {
		p.Fatalf("load with an ended context: want an error for each of 2 names, got %d results", len(rs))
	}
	var err error
	p.promptly("Write with an ended context", func() {
		_, err = p.source.Write(ctx, p.ns, []tiers.Write{{Name: "a", Data: []byte(`2`)}})
	})
	if err == nil {
		p.Fatalf("write with an ended context succeeded")
	}
	if tiers.OutcomeOf(err) == tiers.NotApplied {
		p.holds("a", `1`, before)
	}
	p.promptly("Identity with an ended context", func() { _, err = p.source.Identity(ctx) })
	if err == nil {
		p.Fatalf("identity with an ended context was answered")
	}
	p.promptly("Changes with an ended context", func() { _, err = p.source.Changes(ctx, p.ns, before) })
	if err == nil {
		p.Fatalf("changes with an ended context were answered")
	}
	err = nil
	p.promptly("Scan with an ended context", func() {
		for _, err = range p.source.Scan(ctx, p.ns) {
		}
	})
	if err == nil {
		p.Fatalf("scan with an ended context ends without an error")
	}
	p.promptly("Watch with an ended context", func() { err = p.source.Watch(ctx, p.ns, func(tiers.Event) {}) })
	if !errors.Is(err, context.Canceled) {
		p.Fatalf("watch with an ended context: %v, want its error", err)
	}
}
