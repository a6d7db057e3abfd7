package fastopt

import (
	"context"
	"time"
)

// How goroutines of a manager wait, and wake each other.

// soonest is what the expirer's timer is set to at least. A timer that has run out
// before it is waited for is run by the waiter, and when two goroutines of a
// synctest bubble do so together, as the refresher and the expirer would when a
// manager opens, both use the one race context of the bubble's timers
// (unlockAndRun in runtime/time.go, Go 1.26): the race detector crashes.
const soonest = time.Nanosecond

// ring leaves a token in c, which has room for one, unless there is one: who
// waits looks for itself at what has changed.
func ring(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// rest waits for d, or the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// sleep waits for t or for kick, whichever comes first, and leaves neither
// behind: that both come at one instant must not mean two rounds. It reports
// false once ctx has ended.
func sleep(ctx context.Context, t *time.Timer, kick <-chan struct{}) bool {
	select {
	case <-ctx.Done():
	case <-kick:
	case <-t.C:
	}
	t.Stop()
	unring(kick)
	return ctx.Err() == nil
}

// unring takes the token out of c, if there is one.
func unring(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}
