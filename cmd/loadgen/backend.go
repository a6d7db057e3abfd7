package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A backend is the stores that all processes share, and the ways to break them.

// namespace of all options.
const namespace = "soak"

// stores are one backend, opened.
type stores interface {
	// process returns the tiers as process p sees them, and what closes them.
	process(p int) (tiers.Cache, tiers.Source, func(), error)
	// truth and shared are ways of the generator's own, past every fault that
	// is not one of the servers themselves.
	truth() tiers.Source
	shared() tiers.Cache
	// settle is how long after the source answers again a write that it had
	// received before is surely applied or lost.
	settle() time.Duration
	// times are TTL and grace of most options.
	times() (ttl, grace time.Duration)
	// faults are what can be done to the stores, each at most once at a time.
	faults(r *run) []fault
	close() error
}

func openStores(ctx context.Context, c config) (stores, error) {
	switch c.backend {
	case "local":
		return openLocal(ctx, c.processes)
	case "memory":
		return openMemory(), nil
	}
	return nil, fmt.Errorf("no backend %q", c.backend)
}

// A fault is one way to break the stores.
type fault struct {
	name    string
	effects effects
	// outlasts: it lasts until options have fallen to their defaults.
	outlasts bool
	// least is how long it lasts at least, to reach what it is to test; 0: any time.
	least time.Duration
	// brief: it is over as soon as it has struck.
	brief  bool
	strike func(ctx context.Context) error
	mend   func(ctx context.Context) error
	// bitten reports, while the fault lasts, whether it was felt: not whether
	// it was ordered.
	bitten func(ctx context.Context) bool
}
