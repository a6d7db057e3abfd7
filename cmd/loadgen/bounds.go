package main

import (
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// How long a Load or a write may take (I13, I15): less where nothing is asked
// that could be waited for, because breakers are open, or where there is a stale
// value to give. Each is woken a few times on its way, and may lose the processor
// before it has begun; the lag that is measured is of one waking.

const (
	loadBound  = 300 * time.Millisecond // both tiers' timeouts
	writeBound = time.Second            // the timeouts of a write and of a fill
	atOnce     = 20 * time.Millisecond  // what asks nobody
	slack      = 50 * time.Millisecond
	wakings    = 4
)

// loadLimit is for a Load that found a value in state s, and the tiers as they
// were before and after it.
func loadLimit(s fastopt.State, before, after fastopt.Stats, lag time.Duration) time.Duration {
	limit := loadBound
	switch {
	case stayedOpen(before.CacheTier, after.CacheTier) && stayedOpen(before.SourceTier, after.SourceTier):
		limit = atOnce
	case s == fastopt.Stale:
		limit = fastopt.DefaultWaitStale
	}
	return limit + slack + wakings*lag
}

// writeLimit is for a Set or Delete.
func writeLimit(before, after fastopt.TierStats, lag time.Duration) time.Duration {
	limit := writeBound
	if stayedOpen(before, after) {
		limit = atOnce
	}
	return limit + slack + wakings*lag
}

// stayedOpen reports whether the breaker of a tier was open all the time.
func stayedOpen(before, after fastopt.TierStats) bool {
	return before.Breaker == "open" && after.Breaker == "open" && before.Opened == after.Opened
}
