package faults_test

import (
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

func TestAssertionsOnAWrapperAreTruthful(t *testing.T) {
	below := &historian{Source: memory.NewSource()}
	for _, c := range []struct {
		what    string
		wrapper any
		marks   bool
		learns  bool
	}{
		{"cache", faults.NewCache(memory.NewCache()), false, false},
		{"cache with marks", faults.NewMarked(memory.NewCache()), true, false},
		{"source", faults.NewSource(below), false, false},
		{"source that learns", faults.NewHistorian(below), false, true},
	} {
		_, marks := c.wrapper.(tiers.Marker)
		_, learns := c.wrapper.(tiers.Historian)
		if marks != c.marks || learns != c.learns {
			t.Errorf("%s: a marker %v, a historian %v", c.what, marks, learns)
		}
	}
	wrapper := faults.NewHistorian(below)
	wrapper.Inject(faults.Identity, faults.Fault{Err: tiers.ErrUnavailable})
	wrapper.Learn(tiers.Identity{Epoch: 9})
	if _, err := wrapper.Identity(t.Context()); below.learned.Epoch != 9 || err == nil {
		t.Errorf("learned %+v, identity %v", below.learned, err)
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
