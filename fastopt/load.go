package fastopt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
)

// Load: the read that may wait. It answers at once if the entry is fresh, else
// it joins flights until one makes it so. How long it waits for that is its
// patience: WaitStale if there is a value to fall back on, else LoadTimeout,
// however many keys are loaded together. What it waited for goes on without it.

// A waiter wants one key confirmed since it came.
type waiter struct {
	k       *key
	token   uint64 // of the key when the waiter came
	bound   patience
	landing landing
	later   bool  // it joins a flight when its key may be asked for again
	settled bool  // it waits no more …
	err     error // … for this reason; nil: its key is confirmed
}

// A landing is that of a flight. Zero: there is none.
type landing struct {
	first  *flight                    // who waits for it came first, and waits for the flight itself …
	shared <-chan singleflight.Result // … or came later, and shares it
}

// A patience is how long a waiter waits, and why so long.
type patience struct {
	d     time.Duration
	ends  int64 // ns since Open
	stale bool  // there is a value to fall back on
}

// patienceOf returns the patience of a Load of k that begins now.
func (k *key) patienceOf(now int64) patience {
	p := patience{d: k.m.cfg.LoadTimeout}
	if m := k.cell.load().tier(); m.kind != kindUnloaded && m.state(now, k.lives, k.token()) == Stale {
		p.d, p.stale = k.lives.patience, true
	}
	p.ends = now + int64(p.d)
	return p
}

// load is Option.Load.
func (c *core) load(ctx context.Context) Reading[any] {
	if k := c.key.Load(); k != nil {
		if r := k.reading(); r.State == Fresh && !k.m.isClosed() {
			return r
		}
		return k.m.loadKey(ctx, k)
	}
	r := c.reading()
	if r.Origin != Override {
		r.Err = failed("load", c.name, ErrClosed)
	}
	return r
}

// loadKeys returns a reading of each key, not older than its TTL and asked for
// since the call began, if a tier gives one in time.
func (m *Manager) loadKeys(ctx context.Context, keys ...*key) []Reading[any] {
	all := make([]waiter, len(keys))
	for i, k := range keys {
		all[i].come(k)
	}
	m.await(orEnded(ctx), all)
	readings := make([]Reading[any], len(keys))
	for i := range all {
		readings[i] = all[i].reading()
	}
	return readings
}

// loadKey is loadKeys for one key.
func (m *Manager) loadKey(ctx context.Context, k *key) Reading[any] {
	var one [1]waiter
	one[0].come(k)
	m.await(orEnded(ctx), one[:])
	return one[0].reading()
}

// come lets w wait for k from now on.
func (w *waiter) come(k *key) {
	now := k.m.now()
	k.outlive(now)
	w.k, w.token = k, k.token()
	top := k.cell.load()
	switch w.settled = true; {
	case top.kind == kindOverride:
	case k.m.isClosed():
		w.err = ErrClosed
	default:
		said := top.tier()
		if w.settled = said.key == k && said.confirmed(now, k.lives, w.token); !w.settled {
			w.bound = k.patienceOf(now)
		}
	}
}

// reading is what w waited for, or why it did not get that.
func (w *waiter) reading() Reading[any] {
	r := w.k.readingSince(w.token)
	// Of many, one may have become fresh after its own patience ended.
	if w.err != nil && (r.State != Fresh || errors.Is(w.err, ErrClosed)) {
		r.Err = failed("load", w.k.full, w.err)
	}
	return r
}

// await returns when each waiter's key is confirmed, or an attempt for it has
// failed, or its patience or ctx has ended. It joins the next attempt after a
// failure, and makes none earlier.
func (m *Manager) await(ctx context.Context, all []waiter) {
	if m.cfg.Cache == nil && m.cfg.Source == nil || !anyWaits(all) {
		return // nobody could tell
	}
	timer := time.NewTimer(m.cfg.LoadTimeout) // for one wait after the other
	defer timer.Stop()
	// A flight that is joined may have asked longer ago than the TTL (R51), or
	// give way to one that a push started. The next ones do not.
	for range 3 {
		m.board(ctx, all, timer)
		for i := range all {
			if w := &all[i]; !w.settled {
				m.land(ctx, w, timer)
				w.settled = w.err != nil || w.k.confirmedSince(w.token)
			}
		}
		if !anyWaits(all) {
			return
		}
	}
	for i := range all {
		if w := &all[i]; !w.settled {
			w.err = because(ErrUnavailable, "no tier gave an answer of within the TTL")
		}
	}
}

func anyWaits(all []waiter) bool {
	for i := range all {
		if !all[i].settled {
			return true
		}
	}
	return false
}

// board has each waiter join a flight: at once, or, if the last attempt for its
// key has failed, when the next is due.
func (m *Manager) board(ctx context.Context, all []waiter, timer *time.Timer) {
	if ctx.Err() != nil {
		return // land says so
	}
	var atOnce, later int
	now := m.now()
	for i := range all {
		switch w := &all[i]; {
		case w.settled:
		case w.k.retryAt.Load() <= now:
			w.later = false
			atOnce++
		default:
			w.later = true
			later++
		}
	}
	if atOnce > 0 {
		m.loader.join(all, false)
	}
	if later > 0 && m.backOff(ctx, all, timer) {
		m.loader.join(all, true)
	}
}

// backOff waits until the keys of all who join later may be asked for again, and
// reports whether they may. It waits no longer than the most patient of them.
func (m *Manager) backOff(ctx context.Context, all []waiter, timer *time.Timer) bool {
	var at, ends int64
	for i := range all {
		w := &all[i]
		if w.settled || !w.later {
			continue
		}
		at, ends = max(at, w.k.retryAt.Load()), max(ends, w.bound.ends)
	}
	now := m.now()
	wait, left := time.Duration(at-now), time.Duration(ends-now)
	if wait <= 0 || m.dark() { // then it fails at once
		return true
	}
	m.pause(ctx, timer, min(wait, left), landing{})
	return wait <= left && ctx.Err() == nil && !m.isClosed()
}

// land waits for the landing of w's flight.
func (m *Manager) land(ctx context.Context, w *waiter, timer *time.Timer) {
	f := m.pause(ctx, timer, time.Duration(w.bound.ends-m.now()), w.landing)
	switch {
	case m.isClosed() && (f == nil || f.err != nil): // what Close ends fails as if by a tier
		w.err = ErrClosed
	case f != nil:
		w.err = f.err
	case ctx.Err() != nil:
		w.err = ctx.Err()
	default:
		w.err = w.impatience()
	}
	w.landing = landing{}
}

// pause waits for a landing, at most for d and until ctx ends or m is closed, and
// returns the flight, nil if it did not land.
func (m *Manager) pause(ctx context.Context, timer *time.Timer, d time.Duration, l landing) *flight {
	f := l.landed() // however impatient the waiter
	if f != nil || d <= 0 {
		return f
	}
	timer.Reset(d)
	select {
	case <-l.over():
		return l.first
	case res := <-l.shared:
		return res.Val.(*flight)
	case <-timer.C:
	case <-ctx.Done():
	case <-m.done:
	}
	return nil
}

// landed returns the flight if it has landed, else nil.
func (l landing) landed() *flight {
	select {
	case <-l.over():
		return l.first
	default:
	}
	select {
	case res := <-l.shared:
		return res.Val.(*flight)
	default:
	}
	return nil
}

// over is closed when the flight of who came first lands.
func (l landing) over() <-chan struct{} {
	if l.first == nil {
		return nil
	}
	return l.first.done
}

// impatience says that w waited for as long as it was to, and what is known of
// the reason.
func (w *waiter) impatience() error {
	why := fmt.Errorf("no tier answered within %v (LoadTimeout)", w.bound.d)
	switch {
	case w.bound.stale && w.bound.d == 0:
		why = errors.New("a fresh value was not waited for (NoWait)")
	case w.bound.stale:
		why = fmt.Errorf("no fresh value within %v (WaitStale)", w.bound.d)
	}
	if p := w.k.lastErr.Load(); p != nil {
		why = fmt.Errorf("%w: %w", why, *p)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, why)
}

// orEnded is ctx, or one that has ended in place of nil.
func orEnded(ctx context.Context) context.Context {
	if ctx != nil {
		return ctx
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return ended
}
