package fastopt

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/singleflight"
)

// Load: the read that may wait. It answers at once if the entry is fresh, else
// it joins flights until one makes it so, within the bound of both tiers'
// timeouts, however many keys are loaded together.

// A waiter wants one key confirmed since it came.
type waiter struct {
	k       *key
	token   uint64 // of the key when the waiter came
	landing <-chan singleflight.Result
	err     error // why it waits no more
}

// load is Option.Load.
func (c *core) load(ctx context.Context) Reading[any] {
	if k := c.key.Load(); k != nil {
		if r := k.reading(); r.State == Fresh && !k.m.isClosed() {
			return r
		}
		return k.m.loadKeys(ctx, k)[0]
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
	var waiting []*waiter
	for i, k := range keys {
		k.outlive(m.now())
		all[i] = waiter{k: k, token: k.token()}
		if k.cell.load().kind == kindOverride {
			continue
		}
		if m.isClosed() {
			all[i].err = ErrClosed
		} else if !k.confirmedSince(all[i].token) {
			waiting = append(waiting, &all[i])
		}
	}
	if len(waiting) > 0 {
		m.await(orEnded(ctx), waiting)
	}
	readings := make([]Reading[any], len(keys))
	for i, w := range all {
		readings[i] = w.k.readingSince(w.token)
		if w.err != nil {
			readings[i].Err = failed("load", w.k.full, w.err)
		}
	}
	return readings
}

// await returns when each waiter's key is confirmed, or an attempt for it has
// failed, or the time is up. It joins the next attempt after a failure, and
// makes none earlier.
func (m *Manager) await(ctx context.Context, waiting []*waiter) {
	if m.cfg.Cache == nil && m.cfg.Source == nil {
		return // nobody could tell
	}
	bounded, cancel := context.WithTimeout(ctx, m.cfg.CacheTimeout+m.cfg.SourceTimeout)
	defer cancel()
	// A flight that is joined may have asked longer ago than the TTL (R51), or
	// give way to one that a push started. The next ones do not.
	for range 3 {
		err := bounded.Err()
		if err == nil {
			err = m.backOff(bounded, waiting)
		}
		if err == nil {
			m.loader.join(waiting)
		}
		var rest []*waiter
		for _, w := range waiting {
			if w.wait(bounded, err); w.err == nil && !w.k.confirmedSince(w.token) {
				rest = append(rest, w)
			} else if w.err != nil && bounded.Err() != nil && ctx.Err() == nil && errors.Is(w.err, bounded.Err()) {
				w.err = unavailable("tiers", w.err) // the bound was ours
			}
		}
		if waiting = rest; len(waiting) == 0 {
			return
		}
	}
	for _, w := range waiting {
		w.err = because(ErrUnavailable, "no tier gave an answer of within the TTL")
	}
}

// wait waits for the landing of w's flight, unless err says that it is no use.
func (w *waiter) wait(ctx context.Context, err error) {
	if err != nil {
		w.err = err
	}
	if w.err != nil || w.landing == nil {
		return
	}
	select {
	case res := <-w.landing:
		w.err = res.Val.(*flight).err
	case <-ctx.Done():
		w.err = ctx.Err()
	}
	w.landing = nil
}

// backOff waits until all keys may be asked for again.
func (m *Manager) backOff(ctx context.Context, waiting []*waiter) error {
	var at int64
	for _, w := range waiting {
		at = max(at, w.k.retryAt.Load())
	}
	wait := at - m.now()
	if wait <= 0 || m.dark() { // then it fails at once
		return nil
	}
	t := time.NewTimer(time.Duration(wait))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ctx.Done():
		return ErrClosed
	}
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
