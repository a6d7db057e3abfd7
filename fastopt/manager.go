package fastopt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A manager is where declarations meet tiers: Open checks both, starts the few
// goroutines that keep every handle up to date, and Close ends them.

// A Manager keeps the options of its registries up to date. All methods may be
// called by any number of goroutines at once.
type Manager struct {
	cfg        Config          // immutable
	base       time.Time       // immutable: the monotonic origin of all instants
	registries []*Registry     // immutable
	keys       []*key          // immutable: registered options, in the order of declaration
	byName     map[string]*key // immutable: the same
	names      nameTable       // the same, for reads
	families   []*family       // immutable
	reads      *readCounter    // immutable: of declared options by name; nil: they are not counted
	counted    []*readCounter  // immutable: reads, then those of families
	ctx        context.Context // immutable: ends with Close
	stop       func()          // immutable
	done       chan struct{}   // immutable: closed by Close
	work       sync.WaitGroup

	moved  atomic.Uint64 // the process' part of every token
	pushUp atomic.Bool   // pushes arrive
	heard  atomic.Int64  // ns since Open: the last event of the watch

	aliveSince atomic.Int64 // ns since Open: changes before it were announced, if pushes arrive
	attempt    atomic.Int64 // ns since Open: the next attempt after a failure

	loader    loader
	refresher refresher
	expirer   expirer
	repairer  repairer
	relay     relay
	marks     marks
	clocks    clocks
	snapshot  snapshots
	cache     tier
	source    tier
	stats     counters

	gate   sync.Mutex     // held to begin a write, and to close done
	writes sync.WaitGroup // under way: Close waits for them
	ended  chan struct{}  // immutable: closed when Close has ended
	closed error          // what Close returns; written before ended is closed
}

// Open loads every declared option and keeps them up to date until Close. It
// waits for the first complete load, at most StartTimeout and not longer than
// ctx, which means nothing to the manager afterwards. If tiers refuse or are
// silent for so long, the manager starts all the same: options read what the
// snapshot says, or their defaults, and are loaded as soon as a tier answers, with
// nobody's help; Ready tells what is wrong, and one warning is logged. With
// RequireLoaded that is an error instead: ErrUnavailable, with what Ready would
// have told.
//
// A tier that answers that it is not usable (wrong password, missing schema or
// grant) is an error, tiers.ErrSetup, that says what to do. Open fails with
// ErrConfig, before any I/O, if the Config contradicts itself, two registries
// declare the same name, or a registry is open already; with ErrSnapshot, before
// any tier is asked, if the snapshot's path cannot be used. After an error nothing
// is left running, but for tiers that do not return when their context ends, for
// which it waits 5 s; and the registries may be opened again.
func Open(ctx context.Context, cfg Config, registries ...*Registry) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("fastopt: open: %w", err)
	}
	m := &Manager{cfg: cfg, base: time.Now(), byName: map[string]*key{}, done: make(chan struct{}), ended: make(chan struct{})}
	m.ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.reads = m.countReads("")
	if err := m.adopt(registries); err != nil {
		m.stop()
		return nil, fmt.Errorf("fastopt: open: %w", err)
	}
	if err := m.snapshot.open(m); err != nil {
		m.stop()
		m.release()
		return nil, fmt.Errorf("fastopt: open: %w", err)
	}
	m.init()
	if err := m.firstLoad(ctx); err != nil {
		return nil, fmt.Errorf("fastopt: open: %w", errors.Join(err, m.Close()))
	}
	if elector, ok := cfg.Source.(tiers.Elector); ok && cfg.Cache != nil && cfg.Relay == Auto {
		m.work.Go(func() { m.relay.run(elector) })
	}
	return m, nil
}

// adopt claims the registries and makes a key of every option, or does nothing.
func (m *Manager) adopt(registries []*Registry) (err error) {
	defer func() {
		if err != nil {
			m.release()
		}
	}()
	for _, r := range registries {
		if err := r.claim(); err != nil {
			return err
		}
		m.registries = append(m.registries, r)
		for _, c := range r.cores {
			if m.declares(c.name) {
				return because(ErrConfig, "option %q is declared in two registries", c.name)
			}
			l, err := m.cfg.livesOf(c.decl)
			if err != nil {
				return fmt.Errorf("option %q: %w", c.name, err)
			}
			k := &key{core: c, full: c.name, m: m, lives: l}
			m.keys, m.byName[c.name] = append(m.keys, k), k
		}
		for _, f := range r.families {
			if m.declares(f.name) {
				return because(ErrConfig, "family %q is declared in two registries", f.name)
			}
			l, err := m.cfg.livesOf(f.decl)
			if err != nil {
				return fmt.Errorf("family %q: %w", f.name, err)
			}
			m.addFamily(f, l)
		}
	}
	m.names = newNameTable(m.keys)
	return nil
}

func (m *Manager) declares(name string) bool {
	for _, f := range m.families {
		if f.name == name {
			return true
		}
	}
	return m.byName[name] != nil
}

// ahead are the keys that are renewed ahead of need: all options, and the members
// of families that somebody watches.
func (m *Manager) ahead() []*key {
	r := &m.refresher
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.watched) == 0 {
		return m.keys
	}
	return slices.Concat(m.keys, slices.SortedFunc(maps.Keys(r.watched), (*key).compare))
}

// init starts every handle anew, and the goroutines.
func (m *Manager) init() {
	m.moved.Store(neverFresh + 1)
	m.loader.init(m)
	m.refresher = refresher{m: m, kick: make(chan struct{}, 1), reads: make(chan memberRead, 1024)}
	m.expirer = expirer{m: m, kick: make(chan struct{}, 1)}
	m.relay = relay{m: m, wanted: make(chan struct{}, 1), refused: map[string]tiers.Stamp{}}
	m.repairer = repairer{m: m, kick: make(chan struct{}, 1), dirty: map[*key]*repair{}}
	m.initTiers()
	m.marks.init(m)
	m.clocks.init(m)
	for _, k := range m.keys {
		k.due.Store(never) // until the first load
		k.start()
	}
	m.snapshot.install()
	for _, f := range m.families {
		f.show()
	}
	m.work.Go(m.refresher.run)
	m.work.Go(m.expirer.run)
	m.work.Go(m.repairer.run)
	if len(m.families) > 0 {
		m.work.Go(m.tick)
	}
	if m.snapshot.file != nil {
		m.work.Go(m.snapshot.run)
	}
	for _, t := range []*tier{&m.cache, &m.source} {
		if t.ask != nil {
			m.work.Go(t.run)
		}
	}
}

// firstLoad waits for the first complete load. If it does not come in time that
// is an error only if it is required; an unusable tier always is.
func (m *Manager) firstLoad(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, m.cfg.StartTimeout)
	defer cancel()
	loaded := make(chan error, 1)
	m.work.Go(func() { loaded <- m.loadFirst(bounded) })
	var err error
	select {
	case err = <-loaded:
	case <-bounded.Done():
		select {
		case err = <-loaded: // what a tier says at the last moment counts
		case <-time.After(m.cfg.CacheTimeout): // it does not heed its context
			err = bounded.Err()
		}
	}
	if err == nil || errors.Is(err, tiers.ErrSetup) {
		return err
	}
	if ready := m.Ready(); ready != nil {
		err = ready
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: the options were not loaded before the context ended (%w): %w", ErrUnavailable, ctx.Err(), err)
	} else {
		err = fmt.Errorf("%w: the options were not loaded within %v (StartTimeout): %w", ErrUnavailable, m.cfg.StartTimeout, err)
	}
	if m.cfg.RequireLoaded {
		return err
	}
	m.cfg.Logger.Warn("fastopt: opened without a complete load; options read the snapshot, or their defaults, until tiers answer", "error", err)
	m.loadTheRest()
	return nil
}

// loadTheRest starts the first load of what Open had no time for: from then on
// the refresher sees to it.
func (m *Manager) loadTheRest() {
	var rest []*key
	for _, k := range m.keys {
		if k.due.Load() == never && !k.confirmedSince(k.token()) {
			rest = append(rest, k)
		}
	}
	m.loader.start(rest...)
}

// loadFirst loads everything, again and again until it is complete or ctx ends.
func (m *Manager) loadFirst(ctx context.Context) error {
	if err := m.follow(ctx); errors.Is(err, tiers.ErrSetup) {
		return err
	}
	m.marks.look(ctx)
	if m.marks.marker != nil {
		m.work.Go(m.marks.run)
	}
	if err := m.marks.refused(); errors.Is(err, tiers.ErrSetup) {
		return err
	}
	for {
		checked := make(chan error, 1)
		m.work.Go(func() { checked <- m.checkSource(ctx) })
		err := m.loadAll(ctx)
		for _, e := range []error{<-checked, m.cache.failure()} {
			if errors.Is(e, tiers.ErrSetup) {
				return e
			}
		}
		if err == nil {
			return nil
		}
		if rest(ctx, lastRetry); ctx.Err() != nil || m.isClosed() {
			return err
		}
	}
}

// checkSource notices a source that is not usable, which a warm cache would hide.
func (m *Manager) checkSource(ctx context.Context) error {
	if m.cfg.Source == nil {
		return nil
	}
	patience := min(m.cfg.StartTimeout/5, 2*m.cfg.SourceTimeout)
	leave, err := m.source.enterFor(patience)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, err := m.cfg.Source.Identity(ctx)
	if err != nil {
		err = fmt.Errorf("source: %w", err)
	} else {
		m.snapshot.meet(id)
	}
	leave(err)
	return err
}

// loadAll loads every registered option that was not confirmed lately, and
// returns the first failure. It wants fresh values, whatever there is to fall
// back on.
func (m *Manager) loadAll(ctx context.Context) error {
	ends := m.now() + int64(m.cfg.LoadTimeout)
	var cold []waiter
	for _, k := range m.keys {
		if token := k.token(); !k.confirmedSince(token) {
			cold = append(cold, waiter{k: k, token: token, bound: patience{d: m.cfg.LoadTimeout, ends: ends}})
		}
	}
	m.await(ctx, cold)
	for _, w := range cold {
		if w.err != nil {
			return failed("load", w.k.name, w.err)
		}
	}
	return nil
}

// Close ends all goroutines of the manager. It waits at most 5 s in all, of which
// 4 for writes under way, for tiers and decoders that do not return, not even when
// their context ends; that they did not is its error, and their goroutines end when
// they do. A Load that waits ends at once, with ErrClosed. Handles keep the last
// value, which Get goes on to give, and their registries may be opened again. Tiers
// are not closed: who opened them does. Close may be called more than once, also at
// the same time: each call waits, and returns the same.
func (m *Manager) Close() error {
	if !m.beginClose() {
		<-m.ended
		return m.closed
	}
	defer close(m.ended)
	begun := time.Now()
	inTime := endsWithin(&m.writes, closeWrites)
	m.stop()
	m.loader.close()
	if !endsWithin(&m.work, closeAll-time.Since(begun)) || !inTime {
		m.closed = fmt.Errorf("fastopt: close: a tier or a decoder did not return within %v", closeAll)
	}
	if n := m.repairer.size(); n > 0 {
		m.cfg.Logger.Warn("fastopt: closed with keys that the cache may lack until another process sees it", "keys", n)
	}
	m.release()
	return m.closed
}

// release lets the registries be opened again.
func (m *Manager) release() {
	for _, r := range m.registries {
		r.release()
	}
}

// How long Close waits: in all, and, before it ends the goroutines, for writes.
const (
	closeAll    = 5 * time.Second
	closeWrites = 4 * time.Second
)

// beginClose reports false if somebody else closes m, or did.
func (m *Manager) beginClose() bool {
	m.gate.Lock()
	defer m.gate.Unlock()
	if m.isClosed() {
		return false
	}
	close(m.done)
	return true
}

// endsWithin reports whether all of w ended within d.
func endsWithin(w *sync.WaitGroup, d time.Duration) bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Wait()
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ended:
		return true
	case <-t.C:
		return false
	}
}

// beginWrite reports false if m is closed. After true the write ends by
// writes.Done.
func (m *Manager) beginWrite() bool {
	m.gate.Lock()
	defer m.gate.Unlock()
	if m.isClosed() {
		return false
	}
	m.writes.Add(1)
	return true
}

func (m *Manager) isClosed() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

func (m *Manager) jitter() float64 { return m.cfg.Jitter() }
