package redis

// A watcher is the queue between the reader of the connection, which must not
// wait, and the sink of one Watch, which may be slow. It keeps what is still
// to be said, not what happened: a name once, Lost once, and the last Alive.

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Watch implements [tiers.Cache]. A change is announced once per Load of its
// name. Events that a slow sink has not taken yet are merged: Lost first, as it
// voids what came before it, then the names, then the newest Alive. After
// Close it returns an error that is [tiers.ErrUnavailable].
func (c *Cache) Watch(ctx context.Context, namespace string, sink func(tiers.Event)) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("redis: watch: namespace: %w", err)
	}
	w := &watcher{wake: make(chan struct{}, 1), since: time.Now()}
	sp := spaceOf(namespace)
	c.hub.add(sp, w)
	defer c.hub.remove(sp, w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		events, err := w.take()
		for _, e := range events {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			sink(e)
		}
		if err != nil {
			return fmt.Errorf("redis: watch: %w", err)
		}
	}
}

type watcher struct {
	wake  chan struct{} // cap 1
	since time.Time     // immutable; when it was registered
	taken []tiers.Event // what take returned last; of the one goroutine that calls it

	mu      sync.Mutex
	begun   bool                // guarded by mu; an Alive was handed out
	gap     bool                // guarded by mu; Lost is to be told
	names   map[string]struct{} // guarded by mu; changed, after the gap
	beat    time.Time           // guarded by mu; Alive to be told, after all changes; zero: none
	failure error               // guarded by mu; ends the Watch
}

func (w *watcher) lost() {
	w.mu.Lock()
	w.gap, w.names, w.beat = true, nil, time.Time{}
	w.mu.Unlock()
	w.ring()
}

func (w *watcher) changed(name string) {
	w.mu.Lock()
	if w.names == nil {
		w.names = map[string]struct{}{}
	}
	w.names[name] = struct{}{}
	w.mu.Unlock()
	w.ring()
}

func (w *watcher) alive(sent time.Time) {
	w.mu.Lock()
	w.beat = sent
	w.mu.Unlock()
	w.ring()
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	w.failure = err
	w.mu.Unlock()
	w.ring()
}

func (w *watcher) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. The first event ever is Alive: before a heartbeat
// was answered nothing is handed out, and what has to be told by then is told
// behind an Alive that reaches no further than the registration. The events are
// good until the next call.
func (w *watcher) take() ([]tiers.Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.taken[:0]
	defer func() { w.taken = events }()
	if !w.begun && !w.beat.IsZero() {
		w.begun = true
		if w.gap || len(w.names) > 0 {
			events = append(events, tiers.Event{Kind: tiers.Alive, Since: w.since})
		}
	}
	if !w.begun {
		return nil, w.failure
	}
	if w.gap {
		events = append(events, tiers.Event{Kind: tiers.Lost})
	}
	for name := range w.names {
		events = append(events, tiers.Event{Kind: tiers.Changed, Name: name})
	}
	if !w.beat.IsZero() {
		events = append(events, tiers.Event{Kind: tiers.Alive, Since: w.beat})
	}
	w.gap, w.names, w.beat = false, nil, time.Time{}
	return events, w.failure
}
