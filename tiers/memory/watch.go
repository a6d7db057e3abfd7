package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// aliveEvery is how often a watcher is told that its channel works.
const aliveEvery = 250 * time.Millisecond

// Watchers are told what changed by way of a queue each, so that a slow sink
// never blocks a change. A queue holds each name at most once: it is bounded
// by the number of distinct names. The store's mutex guards it, which makes
// Alive exact: at the instant a queue is emptied, every change made before is
// in it.
type watcher struct {
	wake chan struct{} // immutable; holds one token while there may be news

	queued map[string]bool // guarded by the store's mutex
	names  []string        // guarded by the store's mutex; queued, in order
	lost   bool            // guarded by the store's mutex
}

// hub is the set of watchers of one store, by namespace.
type hub struct {
	mu       *sync.Mutex // immutable; the store's
	watchers map[string]map[*watcher]bool
}

func newHub(mu *sync.Mutex) hub {
	return hub{mu: mu, watchers: map[string]map[*watcher]bool{}}
}

func (h *hub) changedLocked(namespace, name string) {
	for w := range h.watchers[namespace] {
		if !w.queued[name] {
			w.queued[name] = true
			w.names = append(w.names, name)
		}
		w.rouse()
	}
}

func (h *hub) lostLocked() {
	for _, ws := range h.watchers {
		for w := range ws {
			w.lost = true
			w.rouse()
		}
	}
}

func (w *watcher) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// watch is the Watch of both stores. All events are told by its goroutine.
func (h *hub) watch(ctx context.Context, namespace string, sink func(tiers.Event)) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("%w: namespace: %w", tiers.ErrSetup, err)
	}
	w := h.join(namespace)
	defer h.leave(namespace, w)
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()

	due := true // to tell Alive
	for ctx.Err() == nil {
		names, lost, since := h.take(w)
		if lost {
			sink(tiers.Event{Kind: tiers.Lost})
		}
		for _, name := range names {
			sink(tiers.Event{Kind: tiers.Changed, Name: name})
		}
		if lost || due {
			due = false
			sink(tiers.Event{Kind: tiers.Alive, Since: since})
		}
		select {
		case <-w.wake:
		case <-tick.C:
			due = true
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (h *hub) join(namespace string) *watcher {
	w := &watcher{wake: make(chan struct{}, 1), queued: map[string]bool{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers[namespace] == nil {
		h.watchers[namespace] = map[*watcher]bool{}
	}
	h.watchers[namespace][w] = true
	return w
}

func (h *hub) leave(namespace string, w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers[namespace], w)
	if len(h.watchers[namespace]) == 0 {
		delete(h.watchers, namespace)
	}
}

// take empties w's queue. Every change made before since is in what it returns
// or was in what it returned before.
func (h *hub) take(w *watcher) (names []string, lost bool, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	names, lost, since = w.names, w.lost, time.Now()
	w.names, w.lost = nil, false
	clear(w.queued)
	return names, lost, since
}
