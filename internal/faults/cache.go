package faults

import (
	"context"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A Cache is a tiers.Cache that suffers the faults ordered. Load, Fill, Lease
// and Watch are its operations. It is no tiers.Marker or tiers.Prober, whatever is
// below: see Marked and CacheProber.
type Cache struct {
	orders
	link
	below tiers.Cache
}

// NewCache wraps below, healthy.
func NewCache(below tiers.Cache) *Cache {
	c := &Cache{below: below}
	c.link.orders = &c.orders
	return c
}

// Load is tiers.Cache's.
func (c *Cache) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	f, err := c.meet(ctx, Load, len(names))
	if err != nil {
		return failAll(names, err)
	}
	rs := c.below.Load(ctx, namespace, names)
	if lost := f.answer(ctx); lost != nil {
		return failAll(names, lost)
	}
	return rs
}

// Fill is tiers.Cache's.
func (c *Cache) Fill(ctx context.Context, namespace string, fills []tiers.Fill) []tiers.FillResult {
	f, err := c.meet(ctx, Fill, len(fills))
	if err != nil {
		return failFills(len(fills), err)
	}
	rs := c.below.Fill(ctx, namespace, fills)
	if lost := f.answer(ctx); lost != nil {
		return failFills(len(fills), lost)
	}
	return rs
}

// Lease is tiers.Cache's.
func (c *Cache) Lease(ctx context.Context, namespace string, names []string, d time.Duration) ([]bool, error) {
	f, err := c.meet(ctx, Lease, len(names))
	if err != nil {
		return nil, err
	}
	held, err := c.below.Lease(ctx, namespace, names, d)
	if lost := f.answer(ctx); lost != nil {
		return nil, lost
	}
	return held, err
}

// Watch is tiers.Cache's. A fault of Watch befalls the call; Cut, Freeze and
// DropEvents also befall watches that are running.
func (c *Cache) Watch(ctx context.Context, namespace string, sink func(tiers.Event)) error {
	if _, err := c.meet(ctx, Watch, 0); err != nil {
		return err
	}
	return c.watch(ctx, func(ctx context.Context, sink func(tiers.Event)) error {
		return c.below.Watch(ctx, namespace, sink)
	}, sink)
}

// A MarkedCache is what Marked wraps.
type MarkedCache interface {
	tiers.Cache
	tiers.Marker
}

// Marked is a Cache that is a tiers.Marker, too, because what is below it is
// one. Mark and PutMark are operations of its own; for the others it suffers the
// orders given to its Cache, and counts with it. A type assertion tells the two apart.
type Marked struct {
	*Cache
	below tiers.Marker
}

// NewMarked wraps below, healthy.
func NewMarked(below MarkedCache) *Marked { return &Marked{NewCache(below), below} }

// Mark is tiers.Marker's.
func (c *Marked) Mark(ctx context.Context, namespace string) (tiers.Mark, error) {
	f, err := c.meet(ctx, Mark, 0)
	if err != nil {
		return tiers.Mark{}, err
	}
	m, err := c.below.Mark(ctx, namespace)
	if lost := f.answer(ctx); lost != nil {
		return tiers.Mark{}, lost
	}
	return m, err
}

// PutMark is tiers.Marker's.
func (c *Marked) PutMark(ctx context.Context, namespace string, old, next tiers.Mark) (bool, error) {
	f, err := c.meet(ctx, PutMark, 0)
	if err != nil {
		return false, err
	}
	stored, err := c.below.PutMark(ctx, namespace, old, next)
	if lost := f.answer(ctx); lost != nil {
		return false, lost
	}
	return stored, err
}

func failFills(n int, err error) []tiers.FillResult {
	rs := make([]tiers.FillResult, n)
	for i := range rs {
		rs[i].Err = err
	}
	return rs
}
