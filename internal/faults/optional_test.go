package faults_test

import (
	"context"
	"errors"
	"testing"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// What a tier may have and need not: a wrapper has it by its type, or has not.

// A historian has Learn beside what a source has.
type historian struct {
	*memory.Source
	learned tiers.Identity
}

func (h *historian) Learn(id tiers.Identity) { h.learned = id }

// A prober has Probe beside what a source has, and a cacheProber beside what a cache has.
type prober struct {
	*memory.Source
	probes int
}

func (p *prober) Probe(context.Context, string) error { p.probes++; return nil }

type cacheProber struct {
	*memory.Cache
	probes int
}

func (p *cacheProber) Probe(context.Context, string) error { p.probes++; return nil }

func TestAssertionsOnAWrapperAreTruthful(t *testing.T) {
	below := &historian{Source: memory.NewSource()}
	for _, c := range []struct {
		what    string
		wrapper any
		marks   bool
		learns  bool
		probes  bool
	}{
		{"cache", faults.NewCache(&cacheProber{Cache: memory.NewCache()}), false, false, false},
		{"cache with marks", faults.NewMarked(&cacheProber{Cache: memory.NewCache()}), true, false, false},
		{"cache that probes", faults.NewCacheProber(&cacheProber{Cache: memory.NewCache()}), true, false, true},
		{"source", faults.NewSource(&prober{Source: memory.NewSource()}), false, false, false},
		{"source that learns", faults.NewHistorian(&prober{Source: memory.NewSource()}), false, true, false},
		{"source that probes", faults.NewProber(&prober{Source: memory.NewSource()}), false, true, true},
	} {
		_, marks := c.wrapper.(tiers.Marker)
		_, learns := c.wrapper.(tiers.Historian)
		_, probes := c.wrapper.(tiers.Prober)
		if marks != c.marks || learns != c.learns || probes != c.probes {
			t.Errorf("%s: a marker %v, a historian %v, a prober %v", c.what, marks, learns, probes)
		}
	}
	wrapper := faults.NewHistorian(below)
	wrapper.Inject(faults.Identity, faults.Fault{Err: tiers.ErrUnavailable})
	wrapper.Learn(tiers.Identity{Epoch: 9})
	if _, err := wrapper.Identity(t.Context()); below.learned.Epoch != 9 || err == nil {
		t.Errorf("learned %+v, identity %v", below.learned, err)
	}
}

func TestFaultsOfProbes(t *testing.T) {
	source, cache := &prober{Source: memory.NewSource()}, &cacheProber{Cache: memory.NewCache()}
	s, c := faults.NewProber(source), faults.NewCacheProber(cache)
	for what, w := range map[string]struct {
		wrapper interface {
			tiers.Prober
			Inject(faults.Op, faults.Fault)
			Heal(...faults.Op)
			Calls(faults.Op) int64
			Bites(faults.Op) int64
		}
		probes *int
	}{"source": {s, &source.probes}, "cache": {c, &cache.probes}} {
		probe := func(ctx context.Context, reaches int, f faults.Fault) {
			t.Helper()
			before := *w.probes
			w.wrapper.Inject(faults.Probe, f)
			err := w.wrapper.Probe(ctx, ns)
			if (err == nil) != (f == faults.Fault{}) || err != nil && !errors.Is(err, tiers.ErrUnavailable) || *w.probes-before != reaches {
				t.Errorf("%s: probe with %+v: %v, made %d times", what, f, err, *w.probes-before)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		w.wrapper.Inject(faults.Load, faults.Fault{Err: tiers.ErrUnavailable})
		probe(t.Context(), 1, faults.Fault{})
		probe(t.Context(), 0, faults.Fault{Err: tiers.ErrUnavailable})
		probe(t.Context(), 1, faults.Fault{Lost: true})
		probe(ended, 0, faults.Fault{Hang: true})
		w.wrapper.Heal()
		if calls, bites := w.wrapper.Calls(faults.Probe), w.wrapper.Bites(faults.Probe); calls != 4 || bites != 3 {
			t.Errorf("%s: %d calls and %d bites", what, calls, bites)
		}
	}
}

func TestFaultsOfMarks(t *testing.T) {
	below := memory.NewCache()
	c := faults.NewMarked(below)
	ctx := t.Context()
	one, two := tiers.Mark{Fed: 1}, tiers.Mark{Fed: 2}
	c.Inject(faults.PutMark, faults.Fault{Err: tiers.ErrUnavailable})
	if stored, err := c.PutMark(ctx, ns, tiers.Mark{}, one); stored || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("put with a fault: %v, %v", stored, err)
	}
	if _, err := below.Mark(ctx, ns); !errors.Is(err, tiers.ErrMiss) {
		t.Error("the put that failed was carried out")
	}
	c.Inject(faults.PutMark, faults.Fault{Lost: true})
	if stored, err := c.PutMark(ctx, ns, tiers.Mark{}, two); stored || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("put whose answer is lost: %v, %v", stored, err)
	}
	if m, err := c.Mark(ctx, ns); m != two || err != nil {
		t.Errorf("the put whose answer was lost left %+v, %v", m, err)
	}
	for _, f := range []faults.Fault{{Err: tiers.ErrUnavailable}, {Lost: true}} {
		c.Inject(faults.Mark, f)
		if m, err := c.Mark(ctx, ns); m != (tiers.Mark{}) || !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("mark with %+v: %+v, %v", f, m, err)
		}
	}
	if c.Calls(faults.Mark) != 3 || c.Bites(faults.Mark) != 2 || c.Calls(faults.PutMark) != 2 || c.Bites(faults.PutMark) != 2 {
		t.Errorf("%d calls and %d bites of mark, %d and %d of put", c.Calls(faults.Mark), c.Bites(faults.Mark), c.Calls(faults.PutMark), c.Bites(faults.PutMark))
	}
}
