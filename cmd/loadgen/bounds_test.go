package main

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

func TestWaitsAreBoundedByWhatThereIsToWaitFor(t *testing.T) {
	open, closed := fastopt.TierStats{Breaker: "open", Opened: 1}, fastopt.TierStats{Breaker: "closed", Opened: 1}
	again := fastopt.TierStats{Breaker: "open", Opened: 2}
	stats := func(cache, source fastopt.TierStats) fastopt.Stats {
		return fastopt.Stats{CacheTier: cache, SourceTier: source}
	}
	const lag = 10 * time.Millisecond
	for _, c := range []struct {
		name          string
		state         fastopt.State
		before, after fastopt.Stats
		want          time.Duration
	}{
		{"cold", fastopt.Unloaded, stats(closed, closed), stats(closed, closed), loadBound},
		{"one is open", fastopt.Expired, stats(open, closed), stats(open, closed), loadBound},
		{"both are open", fastopt.Expired, stats(open, open), stats(open, open), atOnce},
		{"one has closed", fastopt.Expired, stats(open, open), stats(closed, open), loadBound},
		{"one has closed and opened", fastopt.Expired, stats(open, open), stats(open, again), loadBound},
		{"stale", fastopt.Stale, stats(closed, closed), stats(closed, closed), fastopt.DefaultWaitStale},
		{"stale, both are open", fastopt.Stale, stats(open, open), stats(open, open), atOnce},
	} {
		if got := loadLimit(c.state, c.before, c.after, lag) - slack - wakings*lag; got != c.want {
			t.Errorf("Load, %s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := writeLimit(closed, open, lag) - slack - wakings*lag; got != writeBound {
		t.Errorf("a write that finds a breaker closed: %v", got)
	}
	if got := writeLimit(open, open, lag) - slack - wakings*lag; got != atOnce {
		t.Errorf("a write that is refused: %v", got)
	}
}
