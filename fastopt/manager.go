package fastopt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/fastopt/fastopt-go/tiers"
)

// A manager is where declarations meet tiers: Open checks both, starts the few
// goroutines that keep every handle up to date, and Close ends them.

// A Manager keeps the options of its registries up to date. All methods may be
// called by any number of goroutines at once.
type Manager struct {
	cfg        Config                     // immutable
	base       time.Time                  // immutable: the monotonic origin of all instants
	registries []*Registry                // immutable
	keys       []*key                     // immutable: registered options, in the order of declaration
	byName     map[string]*key            // immutable: the same
	families   []*family                  // immutable
	ctx        context.Context            // immutable: ends with Close
	stop       func()                     // immutable
	done       chan struct{}              // immutable: closed by Close
	dynamic    *xsync.MapOf[string, *key] // keys of families
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
	snapshot  snapshots
	cache     tier
	source    tier
	stats     counters

	closing sync.Once
	closed  error // guarded by closing

	gate   sync.Mutex     // held to begin a write, and to close done
	writes sync.WaitGroup // under way: Close waits for them
}

// Open loads every declared option and keeps them up to date until Close. It
// waits for the first complete load, at most StartTimeout and not longer than
// ctx. A tier that answers that it is not usable (wrong password, missing
// schema or grant) is an error that says what to do. A tier that refuses or is
// silent is not: options then read their defaults until it answers, Ready says
// why, and a warning is logged.
//
// Open fails with ErrConfig, before any I/O, if the Config contradicts itself,
// two registries declare the same name, or a registry is open already; with
// ErrSnapshot, before any tier is asked, if the snapshot's path cannot be used.
func Open(ctx context.Context, cfg Config, registries ...*Registry) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("fastopt: open: %w", err)
	}
	m := &Manager{cfg: cfg, base: time.Now(), byName: map[string]*key{}, done: make(chan struct{}),
		dynamic: xsync.NewMapOf[string, *key]()}
	m.ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
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
		m.Close()
		return nil, fmt.Errorf("fastopt: open: %w", err)
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
			l, err := m.cfg.livesOf(c.ttl, c.grace)
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
			l, err := m.cfg.livesOf(f.ttl, f.grace)
			if err != nil {
				return fmt.Errorf("family %q: %w", f.name, err)
			}
			m.families = append(m.families, &family{familyCore: f, m: m, lives: l, members: xsync.NewMapOf[string, *key]()})
		}
	}
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

// init starts every handle anew, and the goroutines.
func (m *Manager) init() {
	m.loader.init(m)
	m.refresher = refresher{m: m, kick: make(chan struct{}, 1), reads: make(chan memberRead, 1024)}
	m.expirer = expirer{m: m, kick: make(chan struct{}, 1)}
	m.relay = relay{m: m, wanted: make(chan struct{}, 1), refused: map[string]tiers.Stamp{}}
	m.repairer = repairer{m: m, kick: make(chan struct{}, 1), dirty: map[*key]*repair{}}
	m.initTiers()
	m.marks.init(m)
	for _, k := range m.keys {
		k.due.Store(never) // until the first load
		k.start()
	}
	m.snapshot.install()
	for _, f := range m.families {
		f.state.Store(f)
	}
	m.work.Go(m.refresher.run)
	m.work.Go(m.expirer.run)
	m.work.Go(m.repairer.run)
	if m.snapshot.file != nil {
		m.work.Go(m.snapshot.run)
	}
	for _, t := range []*tier{&m.cache, &m.source} {
		if t.ask != nil {
			m.work.Go(t.run)
		}
	}
}

// firstLoad loads everything, again and again until it is complete or the time
// is up. Only an unusable tier is an error.
func (m *Manager) firstLoad(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StartTimeout)
	defer cancel()
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
		select {
		case <-time.After(lastRetry):
		case <-ctx.Done():
			m.cfg.Logger.Warn("fastopt: opened without a complete load; options read their defaults until tiers answer", "error", m.Ready())
			return nil
		}
	}
}

// checkSource notices a source that is not usable, which a warm cache would hide.
func (m *Manager) checkSource(ctx context.Context) error {
	if m.cfg.Source == nil {
		return nil
	}
	leave, err := m.source.enter()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, min(m.cfg.StartTimeout/5, 2*m.cfg.SourceTimeout))
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
// returns the first failure.
func (m *Manager) loadAll(ctx context.Context) error {
	var cold []*waiter
	for _, k := range m.keys {
		if token := k.token(); !k.confirmedSince(token) {
			cold = append(cold, &waiter{k: k, token: token})
		}
	}
	if len(cold) > 0 {
		m.await(ctx, cold)
	}
	for _, w := range cold {
		if w.err != nil {
			return failed("load", w.k.name, w.err)
		}
	}
	return nil
}

// Close ends all goroutines of the manager. It waits at most 5 s in all, for
// writes under way, and for tiers and decoders that do not return; that they did
// not is its error. Handles keep the last value, and their registries may be
// opened again. Tiers are not closed: who opened them does. Close may be called
// more than once.
func (m *Manager) Close() error {
	m.closing.Do(func() {
		m.gate.Lock()
		close(m.done)
		m.gate.Unlock()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.writes.Wait()
			m.stop()
			m.loader.close()
			m.work.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			m.closed = errors.New("fastopt: close: a tier or a decoder did not return within 5s")
			m.stop()
		}
		if n := m.repairer.size(); n > 0 {
			m.cfg.Logger.Warn("fastopt: closed with keys that the cache may lack until another process sees it", "keys", n)
		}
		m.release()
	})
	return m.closed
}

// release lets the registries be opened again.
func (m *Manager) release() {
	for _, r := range m.registries {
		r.release()
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

// now is the time since Open in ns. It is monotonic: steps of the wall clock
// change nothing (I18).
func (m *Manager) now() int64 { return int64(time.Since(m.base)) }

// instant is t in ns since Open.
func (m *Manager) instant(t time.Time) int64 { return int64(t.Sub(m.base)) }

func (m *Manager) jitter() float64 { return m.cfg.Jitter() }
