package main

import (
	"context"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// How late timers of this process run: what no promise about waiting can undercut.

// A canary is a timer that is set again and again, and how late it was.
type canary struct {
	mu    sync.Mutex
	ticks []tick // guarded by mu
}

type tick struct{ due, ran int64 }

const canaryPeriod = 2 * time.Millisecond

// run sets the timer until ctx ends.
func (c *canary) run(ctx context.Context) {
	timer := time.NewTimer(canaryPeriod)
	defer timer.Stop()
	for due := worker.Now() + int64(canaryPeriod); ; {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		ran := worker.Now()
		c.mu.Lock()
		c.ticks = append(c.ticks, tick{due, ran})
		c.mu.Unlock()
		due = ran + int64(canaryPeriod)
		timer.Reset(canaryPeriod)
	}
}

// lag returns the greatest lateness of a tick that was due before to and ran after from.
func (c *canary) lag(from, to int64) (most int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.ticks) - 1; i >= 0 && c.ticks[i].ran >= from; i-- {
		if t := c.ticks[i]; t.due <= to {
			most = max(most, t.ran-t.due)
		}
	}
	return most
}

// after returns when the first tick after an instant ran; 0: none did.
func (c *canary) after(at int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.ticks {
		if t.ran >= at {
			return t.ran
		}
	}
	return 0
}
