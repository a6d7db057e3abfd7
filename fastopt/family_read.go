package fastopt

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Reads of families beside Get and Load: what is known of a member, many members
// at once, and a member as it changes.

// Inspect returns what Get returns, and how it came to be, judged by the exact
// clock. It is lock-free, does no I/O and has nothing loaded: of a member that is
// not in memory it says Unloaded. An invalid key: the default, Unloaded, and
// ErrInvalidName in Reading.Err.
func (f *Family[T]) Inspect(key string) Reading[T] {
	r := Reading[T]{Value: f.value}
	s := f.current.Load()
	if s == nil {
		return r
	}
	if k, ok := s.work.Load(key); ok {
		return reading[T](k.reading())
	}
	if m, ok := s.members.Load(key); ok {
		r, _ = s.judge(m)
		return r
	}
	if err := checkFamilyKey(key); err != nil {
		r.Err = failed("inspect", f.core.name+"/"+key, err)
	}
	return r
}

// judge is the reading of m, and whether it is fresh.
func (s *residents[T]) judge(m *member[T]) (_ Reading[T], fresh bool) {
	r, fresh := s.reading(&m.resident)
	out := Reading[T]{Value: m.value, State: r.State, Origin: r.Origin, Stamp: r.Stamp, Age: r.Age}
	if r.State == Expired {
		out.Value = s.none
	}
	return out, fresh
}

// LoadMany returns readings of all keys, by key, as Load does, together: what is
// not fresh in memory costs one request per tier for each 500 keys, and one
// bound of time for all. ErrInvalidName for any key, or ErrTooLarge for more than
// 100,000: nothing is loaded. No keys: an empty map.
func (f *Family[T]) LoadMany(ctx context.Context, keys ...string) (map[string]Reading[T], error) {
	if len(keys) > maxNames {
		return nil, fmt.Errorf("fastopt: load family %q: %w: %d keys, the limit is %d", f.core.name, ErrTooLarge, len(keys), maxNames)
	}
	for _, key := range keys {
		if err := checkFamilyKey(key); err != nil {
			return nil, failed("load", f.core.name+"/"+key, err)
		}
	}
	readings := make(map[string]Reading[T], len(keys))
	s := f.current.Load()
	if s == nil {
		for _, key := range keys {
			readings[key] = f.unread(key, ErrClosed)
		}
		return readings, nil
	}
	var waiting []*key
	for _, key := range keys {
		if _, twice := readings[key]; twice {
			continue
		}
		r, ok := s.fresh(key)
		if readings[key] = r; ok {
			continue
		}
		k, err := s.acquire(key)
		if err != nil {
			return nil, failed("load", f.core.name+"/"+key, err)
		}
		defer k.release()
		waiting = append(waiting, k)
	}
	for i, r := range s.m.loadKeys(ctx, waiting...) {
		readings[waiting[i].member()] = reading[T](r)
	}
	return readings, nil
}

// fresh is a Load of a member that need not wait, if it need not.
func (s *residents[T]) fresh(key string) (r Reading[T], ok bool) {
	m, ok := s.members.Load(key)
	if !ok {
		return r, false
	}
	if r, ok = s.judge(m); !ok || s.m.isClosed() {
		return r, false
	}
	m.node.Used()
	return r, true
}

// Watch yields the member's current reading, then each newer one, as Option.Watch
// does, until ctx ends or the manager is closed. While it is watched, a member is
// loaded and kept up to date as an option is, and is not evicted. Before Open, and
// for an invalid key, one reading is yielded: the default, with ErrClosed or
// ErrInvalidName.
func (f *Family[T]) Watch(ctx context.Context, key string) iter.Seq[Reading[T]] {
	return func(yield func(Reading[T]) bool) {
		s := f.current.Load()
		if s == nil {
			yield(f.unread(key, ErrClosed))
			return
		}
		k, err := s.acquire(key)
		if err != nil {
			yield(f.unread(key, err))
			return
		}
		defer k.release()
		for r := range k.watchMember(ctx) {
			if !yield(reading[T](r)) {
				return
			}
		}
	}
}

// watchMember is watch for a member, which only a watcher makes one of the keys
// that are renewed ahead of need. The caller holds k.
func (k *key) watchMember(ctx context.Context) iter.Seq[Reading[any]] {
	return func(yield func(Reading[any]) bool) {
		w := k.addWatcher()
		first := k.core.reading() // before it is loaded
		k.m.refresher.follow(k)
		defer func() {
			k.removeWatcher(w)
			k.m.refresher.unfollow(k)
		}()
		k.tellChanges(orEnded(ctx), w, first, yield)
	}
}

// follow begins to renew a member that somebody watches by now, as options are.
func (r *refresher) follow(k *key) {
	r.mu.Lock()
	if r.watched == nil {
		r.watched = map[*key]int{}
	}
	r.watched[k]++
	r.mu.Unlock()
	m, now, token := k.cell.load(), r.m.now(), k.token()
	if m.confirmed(now, k.lives, token) {
		k.planRefresh(m.asked.Load(), token)
	} else {
		k.due.Store(max(now, k.retryAt.Load()))
	}
	r.pokeBy(k.due.Load())
}

// unfollow ends what follow began. What the cache has told it would announce, so
// that nothing need be done for a member that nobody watches any more; of other
// ones what is due stays due.
func (r *refresher) unfollow(k *key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watched[k]--; r.watched[k] > 0 {
		return
	}
	delete(r.watched, k)
	if k.held.Load() != 0 {
		k.due.Store(never)
	}
}

// untilExpired returns how long until a member falls to the default if nothing
// confirms it. Options have the expirer for that; of members only watchers need
// to know the moment.
func (k *key) untilExpired() time.Duration {
	m := k.cell.load().tier()
	asked, now := m.asked.Load(), k.m.now()
	if asked == dead || m.err != nil || k.lives.usable == int64(Forever) {
		return time.Duration(never)
	}
	left := later(asked, k.lives.usable) - now
	if left <= 0 { // it has fallen; whatever changes that wakes
		return time.Duration(never)
	}
	return time.Duration(left)
}
