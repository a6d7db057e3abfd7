package fastopt

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Leasing: of a whole fleet that misses a key, one process asks the source
// (I8). Who does not get the lease waits for the push of the holder's fill, at
// most as long as the lease lasts; a holder that died costs one more request,
// never a hang. A lease is never a lock: whoever fills late is refused by its
// stamp (R9).

// maxWaits is how often a flight waits for others before it asks all the same.
const maxWaits = 2

// lease returns the questions that this process is to ask the source, and parks
// the flights of the others. It reorders qs.
func (l *loader) lease(qs []question) (mine []question) {
	cache := l.m.marks.use()
	share := cache != nil && l.m.cfg.Source != nil && l.m.marks.current() // else no fill will come
	n := 0
	for i, q := range qs {
		missing := errors.Is(q.cause, tiers.ErrMiss) || q.cause == errEpoch || q.cause == errBehind
		if !share || !missing || !q.fill || q.waited >= maxWaits {
			qs[i], qs[n] = qs[n], q
			n++
		}
	}
	mine, want := qs[:n], qs[n:]
	if len(want) == 0 {
		return mine
	}
	for i, held := range l.m.leases(cache, want) {
		q := want[i]
		if held {
			q.k.leased.Store(l.m.now() + int64(l.m.cfg.LeaseTime))
		}
		if held || q.k.leased.Load() > l.m.now() || !l.park(q.flight) {
			mine = append(mine, q) // over what of want was looked at
		}
	}
	return mine
}

// leases asks for the right to each question. A cache that does not answer
// keeps nobody from asking.
func (m *Manager) leases(cache tiers.Cache, qs []question) []bool {
	names := make([]string, len(qs))
	for i, q := range qs {
		names[i] = q.k.full
	}
	if leave, err := m.cache.enter(); err == nil {
		ctx, cancel := context.WithTimeout(m.ctx, m.cfg.CacheTimeout)
		defer cancel()
		held, err := cache.Lease(ctx, m.cfg.Namespace, names, m.cfg.LeaseTime)
		if leave(err); err == nil {
			return held
		}
	}
	held := make([]bool, len(qs))
	for i := range held {
		held[i] = true
	}
	return held
}

// park lets f wait for a push of its key. It reports false if f is not to wait:
// nothing would wake it.
func (l *loader) park(f *flight) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed, !l.m.pushUp.Load():
		return false
	case l.flights[f.k.full] != f: // a push came already: who waits for f joins its successor
		f.wake()
		f.k.release()
		return true
	}
	l.m.stats.leaseWaits.Add(1)
	f.waited++
	if f.token != f.k.token() { // the push came already
		l.queueLocked(f)
		l.dispatchLocked()
		return true
	}
	f.parked = time.AfterFunc(l.m.cfg.LeaseTime, func() { l.unpark(f.k) })
	return true
}

// unpark asks again for a flight of k that waits. It waits for nothing.
func (l *loader) unpark(k *key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.flights[k.full]; f != nil && f.parked != nil && !l.closed {
		l.unparkLocked(f)
		l.dispatchLocked()
	}
}

// unparkAll asks again for all flights that wait: nothing would wake them any more.
func (l *loader) unparkAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range slices.SortedFunc(maps.Values(l.flights), func(f, g *flight) int { return f.k.compare(g.k) }) {
		if f.parked != nil && !l.closed {
			l.unparkLocked(f)
		}
	}
	l.dispatchLocked()
}

func (l *loader) unparkLocked(f *flight) {
	f.parked.Stop()
	f.parked = nil
	l.queueLocked(f)
}

// queueLocked puts f into the next batch.
func (l *loader) queueLocked(f *flight) {
	f.token, f.dirty, f.queued = f.k.token(), f.k.dirtied.Load(), true
	f.blind, f.held = false, false
	f.k.flown.Store(f.token + 1)
	l.queue = append(l.queue, f)
}
