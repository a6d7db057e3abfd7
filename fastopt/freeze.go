package fastopt

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Clocks: what time it is for a manager, and how it notices that time went by
// unseen. Ages are told by the monotonic clock, so that setting the wall clock
// ends and revives nothing (I18). But a process may stand still (a debugger,
// SIGSTOP, a cgroup's freezer, a paused machine), and a machine that sleeps stops
// its monotonic clock. What was pushed meanwhile may be lost, so after that
// nothing counts as verified: all is read again. A sleep counts as time that has
// passed.

const (
	// lookEvery is the most between two looks of a process that runs: the
	// refresher wakes as often.
	lookEvery = silence / 2
	// freezeAfter is how late a look must come for the process to have stood still.
	freezeAfter = 2 * time.Second
	// stepAfter is how far the wall clock must have moved against the monotonic
	// one between two looks. What slews it stays below that.
	stepAfter = 500 * time.Millisecond
	// sleepAtLeast keeps the time between reading two clocks from counting as sleep.
	sleepAtLeast = 100 * time.Millisecond
)

// clocks are those of one manager.
type clocks struct {
	m    *Manager
	woke atomic.Pointer[wake] // the last; nil: the machine did not sleep

	mu     sync.Mutex
	glance func() glance                // guarded by mu; replaced in tests
	slept  func() (time.Duration, bool) // guarded by mu; the machine, since it was started; replaced in tests
	last   glance                       // guarded by mu
	nights time.Duration                // guarded by mu; what slept said when last asked
}

// A glance is what both clocks say at one moment.
type glance struct {
	mono time.Duration // since Open
	wall time.Duration // of whatever origin
}

// A wake is the end of a sleep of the machine, as it was noticed. Immutable.
type wake struct {
	at     int64 // monotonic, ns since Open
	asleep int64 // ns; all sleeps since Open until then
	before *wake // nil: none
}

func (c *clocks) init(m *Manager) {
	c.m, c.slept = m, sleptSinceBoot
	c.glance = func() glance {
		t := time.Now() // both at once
		return glance{mono: t.Sub(m.base), wall: time.Duration(t.UnixNano())}
	}
	c.last = c.glance()
	c.nights, _ = c.slept()
}

// now is the time since Open in ns, sleeps of the machine included. It is
// monotonic: steps of the wall clock change nothing (I18).
func (m *Manager) now() int64 {
	n := int64(time.Since(m.base))
	if w := m.clocks.woke.Load(); w != nil {
		n += w.asleep
	}
	return n
}

// instant is t in ns since Open. Between a wake and its being noticed now lacks
// the sleep, so a t from then does, too: it counts as older than it is.
func (m *Manager) instant(t time.Time) int64 {
	n := int64(t.Sub(m.base))
	for w := m.clocks.woke.Load(); w != nil; w = w.before {
		if n >= w.at {
			return n + w.asleep
		}
	}
	return n
}

// look notices that the process stood still, that the machine slept, or that the
// wall clock was set, since the last look, and sees to what follows. It does no I/O
// and does not block.
func (c *clocks) look() {
	if what, by := c.notice(); what != "" {
		c.m.cfg.Logger.Warn("fastopt: "+what+": revalidating all options", "by", by.Round(time.Millisecond))
		c.m.unverify()
	}
}

func (c *clocks) notice() (what string, by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, last := c.glance(), c.last
	c.last = now
	step := (now.wall - last.wall) - (now.mono - last.mono)
	late := now.mono - last.mono - lookEvery
	switch {
	case step.Abs() >= stepAfter:
		if slept := c.asleepLocked(now); slept > 0 {
			return "the machine slept", slept
		}
		return "the wall clock was set", step
	case late >= freezeAfter:
		return "this process stood still", late
	}
	return "", 0
}

// asleepLocked returns how long the machine has slept since it was last asked, and
// adds that to the time. It asks only if the clocks disagree: a bubble of a test
// has clocks of its own, which do not.
func (c *clocks) asleepLocked(now glance) time.Duration {
	total, ok := c.slept()
	slept := total - c.nights
	if !ok || slept < sleepAtLeast {
		return 0 // or it cannot be told here: as if the clock was set
	}
	c.nights = total
	before := c.woke.Load()
	w := &wake{at: int64(now.mono), asleep: int64(slept), before: before}
	if before != nil {
		w.asleep += before.asleep
	}
	c.woke.Store(w)
	return slept
}

// unverify ends the freshness of everything, as after a loss of pushes, which the
// silence may have been as well. What became due meanwhile is spread with the rest.
func (m *Manager) unverify() {
	m.stats.unverified.Add(1)
	now := m.now()
	for _, k := range m.ahead() {
		if due := k.due.Load(); due <= now {
			k.due.CompareAndSwap(due, never) // the loss makes it due, jittered
		}
	}
	m.pushUp.Store(false) // it was said already
	m.handle(tiers.Event{Kind: tiers.Lost})
	ring(m.marks.kick)
	ring(m.expirer.kick) // a sleep may have ended what its timer waits for
}
