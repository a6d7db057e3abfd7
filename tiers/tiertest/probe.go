package tiertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a probe of a tier that is well says, and what it leaves. A source or a
// cache that is a tiers.Prober is checked for it by TestSource or TestCache; how it
// fares while the tier fails is for the tests of the tier, which can break it.

type probeCheck struct {
	name string
	run  func(p *proberProbe)
}

var probeChecks = []probeCheck{
	{"ProbeIsAnswered", probeIsAnswered},
	{"ProbeOfNoNamespaceIsRefused", probeOfNoNamespace},
	{"ProbesMayMeet", probesMayMeet},
	{"ProbeEndsWithItsContext", probeEnds},
}

// A proberProbe is a probe, as this package calls what a check works with, of a
// tier that is a prober.
type proberProbe struct {
	*probe
	prober tiers.Prober
	// head tells of the newest change of the namespace; nil: the tier cannot.
	head func() tiers.Stamp
}

// testProber checks tier, if it is a prober.
func testProber(t *testing.T, tier any) {
	prober, ok := tier.(tiers.Prober)
	if !ok {
		return
	}
	for _, c := range probeChecks {
		t.Run(c.name, func(t *testing.T) {
			p := &proberProbe{probe: newProbe(t.Context(), t, patience), prober: prober}
			if source, ok := tier.(tiers.Source); ok {
				p.head = (&sourceProbe{p.probe, source}).head
			}
			c.run(p)
		})
	}
}

func probeIsAnswered(p *proberProbe) {
	var before tiers.Stamp
	if p.head != nil {
		before = p.head()
	}
	for range 3 {
		var err error
		p.promptly("Probe", func() { err = p.prober.Probe(p.ctx, p.ns) })
		if err != nil {
			p.Fatalf("a probe of a tier that answers: %v", err)
		}
	}
	if p.head == nil {
		return
	}
	if after := p.head(); after != before {
		p.Fatalf("probes moved the head from %v to %v", before, after)
	}
}

func probeOfNoNamespace(p *proberProbe) {
	for _, ns := range badNames {
		if err := p.prober.Probe(p.ctx, ns); err == nil {
			p.Fatalf("a probe of namespace %q is answered", ns)
		}
	}
}

// However many probes there are, none is forgotten.
func probesMayMeet(p *proberProbe) {
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() { errs <- p.prober.Probe(p.ctx, p.ns) }()
	}
	for range cap(errs) {
		var err error
		p.promptly("one of several probes", func() { err = <-errs })
		if err != nil {
			p.Fatalf("one of several probes: %v", err)
		}
	}
}

func probeEnds(p *proberProbe) {
	ended, cancel := context.WithCancel(p.ctx)
	cancel()
	var err error
	p.promptly("Probe with an ended context", func() { err = p.prober.Probe(ended, p.ns) })
	if !errors.Is(err, tiers.ErrUnavailable) {
		p.Fatalf("a probe with an ended context: %v, want ErrUnavailable", err)
	}
	for d := 100 * time.Microsecond; d < 50*time.Millisecond; d *= 2 { // at every point of it
		ctx, cancel := context.WithTimeout(p.ctx, d)
		p.promptly("Probe with a context that ends", func() { err = p.prober.Probe(ctx, p.ns) })
		cancel()
		if err != nil && !errors.Is(err, tiers.ErrUnavailable) {
			p.Fatalf("a probe with a context of %v: %v, want ErrUnavailable", d, err)
		}
	}
	if err := p.prober.Probe(p.ctx, p.ns); err != nil {
		p.Fatalf("after probes whose contexts ended: %v", err)
	}
}
