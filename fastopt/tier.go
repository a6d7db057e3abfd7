package fastopt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/fastopt/fastopt-go/tiers"
)

// Breaking: a tier that fails is left alone. Before each tier stands a breaker:
// it opens once calls fail in a row, and then nothing but a probe now and then
// is sent, one per process, jittered so that a fleet does not knock at once.
// When a probe is answered it closes, and what has failed meanwhile is due.

// A tier is what one manager knows of one of its stores.
type tier struct {
	m       *Manager                    // immutable
	name    string                      // immutable
	ask     func(context.Context) error // immutable; a probe; nil: not configured
	gap     time.Duration               // immutable; the most between two probes
	timeout time.Duration               // immutable; of one call
	kick    chan struct{}               // cap 1: it failed
	hurry   chan struct{}               // cap 1: there is a sign of life
	gate    *gobreaker.TwoStepCircuitBreaker[any]

	down                   atomic.Bool // the last call failed; written under mu
	broken                 atomic.Bool // the breaker is not closed
	probing                atomic.Bool
	turned                 atomic.Bool  // it opened or closed, and that was not told yet
	streak                 atomic.Int64 // ns since Open: the first of the failures in a row was noted
	opened, probes, spared atomic.Uint64

	mu    sync.Mutex
	err   error     // guarded by mu: the last failure; nil if it answers
	since time.Time // guarded by mu
}

const (
	tripAfter  = 3                      // failures in a row …
	tripWindow = 10 * time.Second       // … or half of the calls in this time,
	tripLeast  = 10                     // … if there were so many
	firstProbe = 100 * time.Millisecond // doubled from probe to probe, up to
	cacheProbe = 500 * time.Millisecond
	// A source that is idle has few requests. Probes of a fleet are not to be more.
	sourceProbe = time.Second
)

// errSpared: the breaker is open.
var errSpared = fmt.Errorf("%w: it failed so often that it is only probed now", tiers.ErrUnavailable)

func (t *tier) init(m *Manager, name string, gap, timeout time.Duration, ask func(context.Context) error) {
	*t = tier{m: m, name: name, ask: ask, gap: gap, timeout: timeout, since: time.Now(), kick: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
	t.gate = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name: name, MaxRequests: 1,
		Interval: tripWindow, BucketPeriod: tripWindow / 10,
		Timeout: time.Millisecond, // when to probe is decided here, with jitter
		ReadyToTrip: func(n gobreaker.Counts) bool {
			// One pause of this process fails all calls under way: some must
			// have been sent after the first failure.
			long := m.now()-t.streak.Load() >= int64(timeout)
			return long && n.ConsecutiveFailures >= tripAfter || n.Requests >= tripLeast && 2*n.TotalFailures >= n.Requests
		},
		IsExcluded: isCanceled,
		OnStateChange: func(_ string, from, to gobreaker.State) { // under a lock of the gate
			if from == gobreaker.StateHalfOpen && to == gobreaker.StateOpen {
				return // a probe failed: nothing new
			}
			switch to {
			case gobreaker.StateOpen:
				t.opened.Add(1)
				t.broken.Store(true)
				t.turned.Store(true)
				ring(t.kick) // a call that was answered meanwhile may have ended the probing
			case gobreaker.StateClosed:
				t.broken.Store(false)
				t.turned.Store(true)
			}
		},
	})
}

// isCanceled reports whether Close ended a call, which says nothing of the tier.
func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }

// enter returns whom to tell how a call ended, or why it is not to be made.
func (t *tier) enter() (leave func(error), err error) { return t.enterFor(t.timeout) }

// enterFor is enter for a call that may take so long.
func (t *tier) enterFor(timeout time.Duration) (leave func(error), err error) {
	if t.broken.Load() {
		t.spared.Add(1)
		return nil, t.refusal()
	}
	return t.begin(timeout)
}

func (t *tier) begin(timeout time.Duration) (leave func(error), err error) {
	done, err := t.gate.Allow()
	if err != nil {
		return nil, t.refusal()
	}
	start := t.m.now()
	return func(err error) {
		if err != nil && t.m.now()-start > 2*int64(timeout) {
			err = errLate
		}
		t.observe(err)
		done(err)
		t.tell()
	}, nil
}

// errLate: the call was to be over long before. So this process stood still, or
// starves, which says nothing of the tier.
var errLate = fmt.Errorf("%w: this process was late", context.Canceled)

// refuses returns why a call is not to be made, nil if it may be. How the call
// ends need not be told.
func (t *tier) refuses() error {
	if !t.broken.Load() {
		return nil
	}
	t.spared.Add(1)
	return t.refusal()
}

func (t *tier) refusal() error {
	if err := t.failure(); err != nil {
		return fmt.Errorf("%w (%w)", errSpared, err)
	}
	return errSpared
}

// observe notes the outcome of a call, without a word to the breaker.
func (t *tier) observe(err error) {
	if err == nil && !t.down.Load() || isCanceled(err) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if was := t.err != nil; was != (err != nil) {
		t.since = time.Now()
		t.streak.Store(t.m.now())
	}
	t.err = err
	t.down.Store(err != nil)
	if err != nil {
		ring(t.kick)
	}
}

// observeWrite notes the outcome of a write: a refusal for its content is an
// answer. What keeps writers out need not keep readers out: the breaker hears
// nothing of it.
func (t *tier) observeWrite(err error) {
	if err == nil || errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup) || tiers.OutcomeOf(err) == tiers.Unknown {
		t.observe(err)
	}
}

// tell says once that the breaker has turned, and sees to what follows.
func (t *tier) tell() {
	if !t.turned.Swap(false) {
		return
	}
	if t.broken.Load() {
		t.m.cfg.Logger.Warn("fastopt: tier does not answer: it is left alone but for probes, and options keep their last good values", "tier", t.name, "error", t.failure())
		return
	}
	t.m.cfg.Logger.Info("fastopt: tier answers again", "tier", t.name)
	t.m.reconsider(t)
}

// run probes the tier while it fails, until Close.
func (t *tier) run() {
	for {
		select {
		case <-t.m.ctx.Done():
			return
		case <-t.kick:
		}
		unring(t.hurry)
		for n := 0; t.fails(); n++ {
			wait := min(firstProbe<<min(n, 10), t.gap)
			timer := time.NewTimer(wait/2 + time.Duration(t.m.jitter()*float64(wait/2)))
			if !sleep(t.m.ctx, timer, t.hurry) {
				return
			}
			if t.fails() { // no other call was answered meanwhile
				t.probe()
			}
		}
	}
}

func (t *tier) fails() bool { return t.down.Load() || t.broken.Load() }

// probe asks the tier whether it answers. Only probes pass an open breaker.
func (t *tier) probe() {
	leave, err := t.begin(probeTime(t.timeout))
	if err != nil {
		return
	}
	t.probes.Add(1)
	t.probing.Store(true)
	defer t.probing.Store(false)
	leave(t.ask(t.m.ctx))
}

func (t *tier) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *tier) when() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since
}

func (t *tier) stats() TierStats {
	state := gobreaker.StateClosed
	if t.broken.Load() {
		state = gobreaker.StateOpen
		if t.probing.Load() {
			state = gobreaker.StateHalfOpen
		}
	}
	return TierStats{
		Up: !t.down.Load(), Since: t.when(), Breaker: state.String(),
		Opened: t.opened.Load(), Probes: t.probes.Load(), Spared: t.spared.Load(),
	}
}

// probeTime is how long a probe on a connection of its own may take: it has to
// dial, which takes more round trips than a call, and a server that wakes up
// meanwhile answers it.
func probeTime(timeout time.Duration) time.Duration { return max(time.Second, 4*timeout) }

// initTiers makes the manager know its tiers.
func (m *Manager) initTiers() {
	var ask [2]func(context.Context) error
	if m.cfg.Cache != nil {
		ask[0] = m.prober(m.cfg.Cache, m.cfg.Cache.Load, m.cfg.CacheTimeout)
	}
	if m.cfg.Source != nil {
		ask[1] = m.prober(m.cfg.Source, m.cfg.Source.Load, m.cfg.SourceTimeout)
	}
	m.cache.init(m, "cache", cacheProbe, m.cfg.CacheTimeout, ask[0])
	m.source.init(m, "source", sourceProbe, m.cfg.SourceTimeout, ask[1])
}

// prober returns how to ask whether a tier answers: past all that its other calls
// are stuck in, if it can, else by a load, for it is loads that matter: a locked
// table does not keep a source from telling its identity.
func (m *Manager) prober(tier any, load func(context.Context, string, []string) []tiers.Result, timeout time.Duration) func(context.Context) error {
	names := []string{m.cfg.Namespace} // whatever name
	return func(ctx context.Context) error {
		if p, ok := tier.(tiers.Prober); ok {
			ctx, cancel := context.WithTimeout(ctx, probeTime(timeout))
			defer cancel()
			return p.Probe(ctx, m.cfg.Namespace)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return worst(load(ctx, m.cfg.Namespace, names))
	}
}

// dark reports whether no tier would be asked.
func (m *Manager) dark() bool {
	return (m.marks.use() == nil || m.cache.broken.Load()) && (m.cfg.Source == nil || m.source.broken.Load())
}

// reconsider makes due, jittered, what failed or was loaded past the cache while
// t was left alone.
func (m *Manager) reconsider(t *tier) {
	now := m.now()
	for _, k := range m.ahead() {
		if k.reconsider() {
			k.due.Store(min(k.due.Load(), now+int64(m.jitter()*float64(k.spread()))))
		}
	}
	for _, f := range m.families {
		f.reconsider(now, t == &m.cache || m.marks.use() == nil)
	}
	m.refresher.poke()
}

// reconsider ends k's back-off, and reports whether k is to be asked for again.
func (k *key) reconsider() bool {
	if k.fails.Load() == 0 && k.held.Load() > 0 {
		return false
	}
	k.fails.Store(0)
	k.retryAt.Store(0)
	return true
}

// spread is the time over which a fleet's reloads of k are spread when all are due.
func (k *key) spread() int64 { return min(k.lives.ttl/4, int64(300*time.Millisecond)) }
