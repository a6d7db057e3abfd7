package tiertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A listener runs one Watch and keeps every event in the order it came, so
// that checks can ask what was heard, and before what.
type listener struct {
	p      *probe
	cancel context.CancelFunc
	done   chan struct{} // closed when Watch has returned

	mu     sync.Mutex
	busy   bool          // guarded by mu; sink is running
	fault  string        // guarded by mu; how the tier misused sink
	events []tiers.Event // guarded by mu
	err    error         // guarded by mu; what Watch returned
}

type watchFunc func(ctx context.Context, namespace string, sink func(tiers.Event)) error

// listen watches p's namespace until stop. Each event waits until gate is
// closed; nil: it does not wait.
func (p *probe) listen(watch watchFunc, gate <-chan struct{}) *listener {
	ctx, cancel := context.WithCancel(p.ctx)
	l := &listener{p: p, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		err := watch(ctx, p.ns, func(e tiers.Event) { l.hear(e, gate) })
		l.mu.Lock()
		defer l.mu.Unlock()
		l.err = err
	}()
	return l
}

func (l *listener) hear(e tiers.Event, gate <-chan struct{}) {
	l.mu.Lock()
	if l.busy {
		l.fault = "sink was called by two goroutines at a time"
	}
	l.busy = true
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	switch {
	case len(l.events) == 0 && e.Kind != tiers.Alive:
		l.fault = fmt.Sprintf("the first event is no Alive but kind %d", e.Kind)
	case e.Kind == tiers.Alive && (e.Since == e.Since.Round(0) || e.Since.After(time.Now())):
		l.fault = "Alive.Since has no monotonic reading or is in the future"
	case e.Kind == tiers.Changed && tiers.CheckName(e.Name) != nil:
		l.fault = "Changed without a valid name"
	}
	l.events = append(l.events, e)
}

// stop ends the watch, waits for its end and returns its error. It may be
// called again.
func (l *listener) stop() error {
	l.cancel()
	l.p.promptly("Watch, its context ended,", func() { <-l.done })
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// heard returns what was heard so far.
func (l *listener) heard() []tiers.Event {
	l.p.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != "" {
		l.p.Fatalf("watch: %s", l.fault)
	}
	return l.events[:len(l.events):len(l.events)]
}

// await waits for an event, the from-th or later, that matches, and returns
// the place after it.
func (l *listener) await(from int, match func(tiers.Event) bool, format string, args ...any) (next int) {
	l.p.Helper()
	l.p.eventually(func() bool {
		for i, e := range l.heard()[from:] {
			if match(e) {
				next = from + i + 1
				return true
			}
		}
		return false
	}, format, args...)
	return next
}

// ready waits for the first Alive.
func (l *listener) ready() *listener {
	l.p.Helper()
	l.await(0, isAlive, "the watcher hears Alive")
	return l
}

// changed waits until a change of name was announced after the from-th event.
func (l *listener) changed(from int, name string) (next int) {
	l.p.Helper()
	return l.await(from, func(e tiers.Event) bool {
		return e.Kind == tiers.Changed && e.Name == name
	}, "a change of %q is announced", name)
}

// settled waits until every change made before the call must have been heard,
// and returns the place after the Alive that says so.
func (l *listener) settled() (next int) {
	l.p.Helper()
	now := time.Now()
	return l.await(0, func(e tiers.Event) bool {
		return e.Kind == tiers.Alive && !e.Since.Before(now)
	}, "the watcher hears an Alive that is newer than a change")
}

// counts returns how often a change of name was heard from the from-th event on.
func (l *listener) counts(from int, name string) (n int) {
	l.p.Helper()
	for _, e := range l.heard()[from:] {
		if e.Kind == tiers.Changed && e.Name == name {
			n++
		}
	}
	return n
}

// place returns how many events were heard so far.
func (l *listener) place() int {
	l.p.Helper()
	return len(l.heard())
}

func isAlive(e tiers.Event) bool { return e.Kind == tiers.Alive }
