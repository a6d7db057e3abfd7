package fastopt

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Refreshing: registered options are renewed ahead of their TTL whether they
// are read or not, so that Get needs no trigger; a push renews one at once.
// Members of families are many: they are renewed when read.

// A refresher decides what is loaded when. One goroutine.
type refresher struct {
	m     *Manager
	kick  chan struct{}
	reads chan memberRead // of families: missing or old
	next  atomic.Int64    // ns since Open: when all keys are looked through for what is due

	told   uint64 // run's: what was given up when that was logged last
	tellAt int64  // run's: ns since Open: not again before

	mu      sync.Mutex
	pushed  []*key       // guarded by mu: to be reloaded at once; held
	watched map[*key]int // guarded by mu: of families, renewed as options are, and by how many watched
}

// gather is how long dues are collected into one batch.
const gather = 20 * time.Millisecond

// reloadGap is the least time between two reloads of one key by pushes.
const reloadGap = 100 * time.Millisecond

func (r *refresher) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.m.ctx.Done():
			return
		case <-timer.C:
		case <-r.kick:
		case read := <-r.reads:
			r.loadMembers(read)
		}
		unring(r.kick) // one that came with the timer, as in sleep
		r.m.clocks.look()
		r.m.checkPushes()
		r.tellDropped()
		r.mu.Lock()
		now := r.pushed
		r.pushed = nil
		r.mu.Unlock()
		all := append(now, r.due()...)
		if len(all) > 0 {
			r.m.loader.start(all...)
		}
		for _, k := range all {
			k.release()
		}
		timer.Reset(time.Duration(max(r.next.Load()-r.m.now(), 0)))
	}
}

// due returns what is to be refreshed now, held, if it is time to look for that: as
// each push and each landing wakes the refresher, looking through all keys each
// time would cost a storm of n keys n² looks.
func (r *refresher) due() (due []*key) {
	now, next := r.m.now(), int64(silence/2) // to notice silence
	if now < r.next.Load() {
		return nil
	}
	// Stored before the keys are looked at: who makes one due from now on, unseen,
	// finds next later than that.
	r.next.Store(now + next)
	for _, k := range r.m.ahead() {
		early := int64(gather) / 2
		if k.fails.Load() > 0 {
			early = 0 // an attempt is for all at one instant
		}
		switch wait := k.due.Load() - now; {
		case wait <= int64(silence/2) && k.renewUnasked(now):
			next = min(next, k.due.Load()-now)
		case wait <= early && r.holdWatched(k):
			k.reloadAt.Store(now + max(wait, 0) + int64(reloadGap))
			due = append(due, k)
		default:
			next = min(next, wait)
		}
	}
	r.lookBy(now + max(next, int64(gather)))
	return due
}

// holdWatched holds k, which was one of those renewed ahead a moment ago, until it
// is released. It reports false if nobody watches it any more: it may be forgotten
// by now, and to load it would undo what its successor publishes.
func (r *refresher) holdWatched(k *key) bool {
	if k.fam == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watched[k] == 0 {
		return false
	}
	k.hold()
	return true
}

// lookBy lets the refresher look through all keys at that time, ns since Open, at
// the latest: a key has become due then. It reports whether that is earlier than
// it would have.
func (r *refresher) lookBy(at int64) (earlier bool) {
	for {
		next := r.next.Load()
		if at >= next {
			return false
		}
		if r.next.CompareAndSwap(next, at) {
			return true
		}
	}
}

// loadMembers loads what readers of families found missing or old, batched.
func (r *refresher) loadMembers(read memberRead) {
	var keys []*key
	add := func(read memberRead) {
		if k := read.fam.wanted(read.member); k != nil {
			keys = append(keys, k)
		}
	}
	add(read)
	for len(keys) < tiers.MaxBatch {
		select {
		case read = <-r.reads:
			add(read)
			continue
		default:
		}
		break
	}
	r.m.loader.start(keys...)
	for _, k := range keys {
		k.release()
	}
}

// read queues a load, and reports false if too many are queued: the next read
// tries again.
func (r *refresher) read(m memberRead) bool {
	select {
	case r.reads <- m:
		return true
	default:
		r.m.stats.dropped.Add(1)
		return false
	}
}

// poke lets the refresher look through all keys now: due times have changed.
func (r *refresher) poke() { r.pokeBy(0) }

// pokeBy lets the refresher know that a key is due at that time.
func (r *refresher) pokeBy(at int64) {
	if r.lookBy(at) {
		ring(r.kick)
	}
}

// push starts a reload of k, at once if it is the first in a while (a flood of
// pushes must not become a flood of loads).
func (r *refresher) push(k *key) {
	now := r.m.now()
	if at := k.reloadAt.Load(); at > now {
		if k.ahead() {
			k.due.Store(min(k.due.Load(), at))
			r.pokeBy(at)
		}
		return
	}
	k.reloadAt.Store(now + int64(reloadGap))
	k.hold() // until run has seen it
	r.mu.Lock()
	r.pushed = append(r.pushed, k)
	r.mu.Unlock()
	ring(r.kick)
}

// follow starts to listen to pushes: of the cache, or, without one, of the
// source. It returns when they arrive, so that nothing loaded from then on can
// go unannounced, or soon, if the channel cannot be had yet, or with the error
// that ended it.
func (m *Manager) follow(ctx context.Context) error {
	var watch func(context.Context, string, func(tiers.Event)) error
	tier := &m.cache
	switch {
	case m.cfg.Cache != nil:
		watch = m.cfg.Cache.Watch
	case m.cfg.Source != nil:
		watch, tier = m.cfg.Source.Watch, &m.source
	default:
		return nil
	}
	alive, ended := make(chan struct{}), make(chan error, 1)
	once := sync.OnceFunc(func() { close(alive) })
	m.work.Go(func() {
		for first := true; m.ctx.Err() == nil; {
			err := watch(m.ctx, m.cfg.Namespace, func(e tiers.Event) {
				m.handle(e)
				if e.Kind == tiers.Alive {
					once()
				}
			})
			if m.ctx.Err() != nil {
				return
			}
			err = fmt.Errorf("%s: %w", tier.name, err)
			if up := m.pushUp.Load(); up || first {
				m.cfg.Logger.Error("fastopt: no pushes: changes are seen at the next refresh", "error", err)
				m.handle(tiers.Event{Kind: tiers.Lost})
			}
			if first {
				first = false
				ended <- err
			}
			rest(m.ctx, time.Second)
		}
	})
	ctx, cancel := context.WithTimeout(ctx, m.cfg.CacheTimeout+m.cfg.SourceTimeout)
	defer cancel()
	select {
	case <-alive:
		return nil
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// silence is how long the channel of pushes may say nothing, not even that it
// is alive, before it counts as lost. Tiers say so once a second. This also
// notices that the process itself stood still.
const silence = 2 * time.Second

func (m *Manager) checkPushes() {
	if m.pushUp.Load() && m.now()-m.heard.Load() > int64(silence) {
		m.handle(tiers.Event{Kind: tiers.Lost})
	}
}

// handle is told every event. It does no I/O and does not block.
func (m *Manager) handle(e tiers.Event) {
	m.heard.Store(m.now())
	switch e.Kind {
	case tiers.Changed:
		m.changed(e.Name)
	case tiers.Lost:
		m.stats.pushesLost.Add(1)
		if m.pushUp.Swap(false) {
			m.cfg.Logger.Warn("fastopt: pushes may be lost: revalidating all options")
		}
		m.revalidate()
		m.loader.unparkAll()
	case tiers.Alive:
		if m.cfg.Cache != nil {
			ring(m.cache.hurry) // it answers, by all signs
		}
		m.aliveSince.Store(max(m.instant(e.Since), m.aliveSince.Load()))
		if !m.pushUp.Swap(true) {
			m.cfg.Logger.Info("fastopt: pushes arrive")
			m.revalidate()
			m.relay.resync() // it may have come back empty, or behind
		}
	}
}

// changed handles the push of a name.
func (m *Manager) changed(name string) {
	k := m.byName[name]
	if k == nil {
		m.changedMember(name)
		return
	}
	point.At(point.PushHandle, m, name)
	m.stats.pushes.Add(1)
	k.stir() // no answer asked for before now is fresh
	m.loader.unpark(k)
	m.refresher.push(k)
}

// revalidate ends the freshness of everything, and spreads the reloads, so that
// a fleet does not fall upon a tier that has just come back.
func (m *Manager) revalidate() {
	m.moveAll()
	now := m.now()
	for _, k := range m.ahead() {
		k.aligned.Store(true)
		at := now + int64(m.jitter()*float64(k.spread()))
		k.due.Store(min(k.due.Load(), at))
	}
	m.refresher.poke()
}
