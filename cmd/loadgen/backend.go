package main

import (
	"context"
	"fmt"
	"slices"
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
	// tooLate is a lag of timers with which healthy stores seem to be out.
	tooLate() time.Duration
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

// A resource is what a fault works with. Two faults that use the same one are
// never at work together: the one would mend the other.
type resource uint8

const (
	cacheServer  resource = iota
	cachePath             // between processes and cache
	sourceServer          // and what is in it
	sourcePath
	theProcesses
)

// A fault is one way to break the stores, or those who use them.
type fault struct {
	name    string
	effects effects
	uses    []resource
	// alone: it is felt by what only it can have caused, so nothing else may be
	// at work.
	alone bool
	// outlasts: it lasts until options have fallen to their defaults.
	outlasts bool
	// least is how long it lasts at least, to reach what it is to test; 0: any time.
	least time.Duration
	// brief: it is over as soon as it has struck.
	brief  bool
	strike func(ctx context.Context) error
	// during, if not nil, is done while the fault lasts.
	during func(ctx context.Context) error
	mend   func(ctx context.Context) error
	// bitten reports, while the fault lasts, whether it was felt: not whether
	// it was ordered.
	bitten func(ctx context.Context) bool
}

// overlaps reports whether f may be at work together with others.
func (f fault) overlaps(others []fault) bool {
	if f.alone || f.outlasts {
		return false
	}
	for _, o := range others {
		for _, u := range o.uses {
			if slices.Contains(f.uses, u) {
				return false
			}
		}
	}
	return true
}
