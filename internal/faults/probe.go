package faults

import (
	"context"

	"github.com/fastopt/fastopt-go/tiers"
)

// Probers. Probe is an operation of its own, with faults and counters of its own:
// a tier that is down fails both Load and Probe, so both are to be ordered.

// A ProbedSource is what Prober wraps.
type ProbedSource interface {
	HistoricSource
	tiers.Prober
}

// A Prober is a Historian that is a tiers.Prober, too, because what is below it
// is one.
type Prober struct {
	*Historian
	below tiers.Prober
}

// NewProber wraps below, healthy.
func NewProber(below ProbedSource) *Prober { return &Prober{NewHistorian(below), below} }

// Probe is tiers.Prober's.
func (s *Prober) Probe(ctx context.Context, namespace string) error {
	return s.probe(ctx, s.below, namespace)
}

// A ProbedCache is what CacheProber wraps.
type ProbedCache interface {
	MarkedCache
	tiers.Prober
}

// A CacheProber is a Marked that is a tiers.Prober, too, because what is below it
// is one.
type CacheProber struct {
	*Marked
	below tiers.Prober
}

// NewCacheProber wraps below, healthy.
func NewCacheProber(below ProbedCache) *CacheProber { return &CacheProber{NewMarked(below), below} }

// Probe is tiers.Prober's.
func (c *CacheProber) Probe(ctx context.Context, namespace string) error {
	return c.probe(ctx, c.below, namespace)
}

// probe makes a call of below under the orders for Probe.
func (o *orders) probe(ctx context.Context, below tiers.Prober, namespace string) error {
	f, err := o.meet(ctx, Probe, 0)
	if err != nil {
		return err
	}
	err = below.Probe(ctx, namespace)
	if lost := f.answer(ctx); lost != nil {
		return lost
	}
	return err
}
