package fastopt

import (
	"context"
	"iter"
	"time"
)

// Watching: whoever publishes wakes the watchers of the key and goes on; each
// watcher then looks for itself. So nobody is delayed by a slow one, which
// skips to the newest, and the last change is never missed.

// wake wakes who watches.
func (c *core) wake() {
	if c.wakes.Load() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakeLocked()
}

func (c *core) wakeLocked() {
	for w := range c.watchers {
		ring(w)
	}
}

func (c *core) addWatcher() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := make(chan struct{}, 1)
	if c.watchers == nil {
		c.watchers = map[chan struct{}]struct{}{}
	}
	c.watchers[w] = struct{}{}
	c.wakes.Add(1)
	return w
}

func (c *core) removeWatcher(w chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watchers, w)
	c.wakes.Add(-1)
}

// watch yields the current reading and each that tells something new.
func (c *core) watch(ctx context.Context) iter.Seq[Reading[any]] {
	ctx = orEnded(ctx)
	return func(yield func(Reading[any]) bool) {
		w := c.addWatcher()
		defer c.removeWatcher(w)
		c.tellChanges(ctx, w, c.reading(), yield)
	}
}

// tellChanges is watch for a watcher that was added, and then read last.
func (c *core) tellChanges(ctx context.Context, w <-chan struct{}, last Reading[any], yield func(Reading[any]) bool) {
	if !yield(last) {
		return
	}
	for {
		var done <-chan struct{}     // of the manager; nil before Open
		var expired <-chan time.Time // of options the expirer tells
		if k := c.key.Load(); k != nil {
			done = k.m.done
			if k.fam != nil {
				expired = time.After(k.untilExpired())
			}
		}
		ended := false
		select {
		case <-w:
		case <-expired:
		case <-ctx.Done():
			return
		case <-done:
			ended = true
		}
		if r := c.reading(); tells(last, r) {
			if last = r; !yield(r) {
				return
			}
		}
		if ended {
			return
		}
	}
}

// tells reports whether r says more than last to a watcher: another value, or
// that the default now holds for another reason.
func tells(last, r Reading[any]) bool {
	if last.Origin != r.Origin && (isFallback(last.Origin) || isFallback(r.Origin)) {
		return true
	}
	if r.Origin == Default {
		return last.State != r.State && (last.State == Expired || last.State == Unloaded || r.State == Expired || r.State == Unloaded)
	}
	if r.Origin == Override {
		return true // published by a test: it may be another value
	}
	if last.Origin == Snapshot && r.Origin != Snapshot && r.Stamp != last.Stamp {
		return true // what a file said is no floor to a source
	}
	return r.Stamp.Newer(last.Stamp) || (r.Err != nil) != (last.Err != nil) && r.State == Stale
}

func isFallback(o Origin) bool { return o == Default || o == Override }
