package fastopt

import (
	"context"
	"time"
)

// How goroutines of a manager wait, and wake each other.

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
