package faults

import (
	"context"
	"sync"

	"github.com/fastopt/fastopt-go/tiers"
)

// A link is the watch channel between a wrapper and the tier below: it can be
// cut, so that the watcher is told, or frozen, so that it is not, and it can
// swallow events. While it is down no watch of the tier below runs; changes
// made meanwhile are announced to nobody.
type link struct {
	orders *orders // immutable

	mu    sync.Mutex
	state linkState     // guarded by mu
	moved chan struct{} // guarded by mu; closed and replaced when state changes
	drop  bool          // guarded by mu
}

type linkState uint8

const (
	linkUp linkState = iota
	linkCut
	linkFrozen
)

// Cut breaks the watch channels: each watcher hears Lost, and then nothing
// until Reconnect.
func (l *link) Cut() { l.set(linkCut) }

// Freeze silences the watch channels: watchers hear nothing, not even Lost,
// until Reconnect.
func (l *link) Freeze() { l.set(linkFrozen) }

// Reconnect ends Cut and Freeze: each watcher hears Lost, for what it missed
// meanwhile, and then Alive.
func (l *link) Reconnect() { l.set(linkUp) }

// DropEvents orders that Changed events are silently swallowed, or not any
// more. Lost and Alive still pass: the channel lies.
func (l *link) DropEvents(drop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop = drop
}

func (l *link) set(s linkState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == s {
		return
	}
	l.state = s
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

// look returns the state and a channel that is closed when it changes.
func (l *link) look() (linkState, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved == nil {
		l.moved = make(chan struct{})
	}
	return l.state, l.moved
}

// swallows reports whether e must not pass, and counts it.
func (l *link) swallows(e tiers.Event) bool {
	if e.Kind != tiers.Changed {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drop {
		l.orders.ops[Watch].bites.Add(1)
	}
	return l.drop
}

// watchFunc is the Watch of the tier below, its namespace filled in.
type watchFunc func(ctx context.Context, sink func(tiers.Event)) error

// watch runs below over the link until ctx ends or below fails. All events
// reach sink from the caller's goroutine or from below's, never both at once:
// below is running or it is not.
func (l *link) watch(ctx context.Context, below watchFunc, sink func(tiers.Event)) error {
	bites := &l.orders.ops[Watch].bites
	for missed := false; ; missed = true {
		state, moved := l.look()
		if state == linkUp {
			err := l.carry(ctx, moved, below, sink, missed)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case !closed(moved):
				return err // below gave up for a reason of its own
			}
			bites.Add(1)
			continue
		}
		if !missed {
			bites.Add(1) // down from the start
		}
		if state == linkCut {
			sink(tiers.Event{Kind: tiers.Lost})
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// carry runs below until ctx ends or the state of the link has moved. If
// events were missed before, the watcher hears Lost ahead of below's Alive.
func (l *link) carry(ctx context.Context, moved <-chan struct{}, below watchFunc, sink func(tiers.Event), missed bool) error {
	up, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	defer func() { <-watched }()
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(watched)
		select {
		case <-moved:
			cancel()
		case <-done:
		}
	}()
	return below(up, func(e tiers.Event) {
		if closed(moved) || l.swallows(e) {
			return
		}
		if missed {
			missed = false
			sink(tiers.Event{Kind: tiers.Lost})
		}
		sink(e)
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
