package faults

import (
	"context"
	"fmt"
	"iter"

	"github.com/fastopt/fastopt-go/tiers"
)

// A Source is a tiers.Source that suffers the faults ordered. Identity, Load,
// Write, Scan, Changes, Watch and Elect are its operations. It is no
// tiers.Historian or tiers.Prober, whatever is below: see Historian and Prober.
type Source struct {
	orders
	link
	below tiers.Source
}

// NewSource wraps below, healthy.
func NewSource(below tiers.Source) *Source {
	s := &Source{below: below}
	s.link.orders = &s.orders
	return s
}

// Identity is tiers.Source's.
func (s *Source) Identity(ctx context.Context) (tiers.Identity, error) {
	f, err := s.meet(ctx, Identity, 0)
	if err != nil {
		return tiers.Identity{}, err
	}
	id, err := s.below.Identity(ctx)
	if lost := f.answer(ctx); lost != nil {
		return tiers.Identity{}, lost
	}
	return id, err
}

// Load is tiers.Source's.
func (s *Source) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	f, err := s.meet(ctx, Load, len(names))
	if err != nil {
		return failAll(names, err)
	}
	rs := s.below.Load(ctx, namespace, names)
	if lost := f.answer(ctx); lost != nil {
		return failAll(names, lost)
	}
	return rs
}

// Write is tiers.Source's.
func (s *Source) Write(ctx context.Context, namespace string, writes []tiers.Write) (tiers.Stamp, error) {
	f, err := s.meet(ctx, Write, len(writes))
	if err != nil {
		return tiers.Stamp{}, writeError(err)
	}
	stamp, err := s.below.Write(ctx, namespace, writes)
	if lost := f.answer(ctx); lost != nil {
		return tiers.Stamp{}, writeError(lost)
	}
	return stamp, err
}

// Scan is tiers.Source's. A lost answer is the loss of all its records.
func (s *Source) Scan(ctx context.Context, namespace string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		f, err := s.meet(ctx, Scan, 0)
		if err == nil {
			err = f.answer(ctx)
		}
		if err != nil {
			yield(tiers.Record{}, err)
			return
		}
		s.below.Scan(ctx, namespace)(yield)
	}
}

// Changes is tiers.Source's.
func (s *Source) Changes(ctx context.Context, namespace string, since tiers.Stamp) (tiers.Changes, error) {
	f, err := s.meet(ctx, Changes, 0)
	if err != nil {
		return tiers.Changes{}, err
	}
	ch, err := s.below.Changes(ctx, namespace, since)
	if lost := f.answer(ctx); lost != nil {
		return tiers.Changes{}, lost
	}
	return ch, err
}

// Watch is tiers.Source's. A fault of Watch befalls the call; Cut, Freeze and
// DropEvents also befall watches that are running.
func (s *Source) Watch(ctx context.Context, namespace string, sink func(tiers.Event)) error {
	if _, err := s.meet(ctx, Watch, 0); err != nil {
		return err
	}
	return s.watch(ctx, func(ctx context.Context, sink func(tiers.Event)) error {
		return s.below.Watch(ctx, namespace, sink)
	}, sink)
}

// Elect is tiers.Elector's, if the source below is one; else the answer is
// tiers.ErrSetup. A fault befalls the call, not a right that is held.
func (s *Source) Elect(ctx context.Context, namespace string, lead func(ctx context.Context)) error {
	if _, err := s.meet(ctx, Elect, 0); err != nil {
		return err
	}
	e, ok := s.below.(tiers.Elector)
	if !ok {
		return fmt.Errorf("%w: this source does not elect", tiers.ErrSetup)
	}
	return e.Elect(ctx, namespace, lead)
}

// A HistoricSource is what Historian wraps.
type HistoricSource interface {
	tiers.Source
	tiers.Historian
}

// A Historian is a Source that is a tiers.Historian, too, because what is below
// it is one. Learn is passed on whatever is ordered: it does no I/O.
type Historian struct {
	*Source
	below tiers.Historian
}

// NewHistorian wraps below, healthy.
func NewHistorian(below HistoricSource) *Historian { return &Historian{NewSource(below), below} }

// Learn is tiers.Historian's.
func (s *Historian) Learn(id tiers.Identity) { s.below.Learn(id) }
