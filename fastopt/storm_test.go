package fastopt

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// What a storm costs: when a tier comes back, each option is loaded and pushed,
// at about the same time. None of these may cost a look at all the others.

// inStorm gives f a manager of many options, all loaded, that looks at them once
// a second, and did so half a second ago.
func inStorm(t *testing.T, cfg Config, f func(m *Manager)) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		for i := range 1000 {
			New(&r, fmt.Sprintf("n.%d", i), i)
		}
		cfg.TTL, cfg.Relay = time.Minute, Never
		m, err := Open(t.Context(), cfg, &r)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		time.Sleep(5 * time.Second)
		for _, k := range m.keys { // what was loaded before the cache could be filled fills it now
			m.handle(tiers.Event{Kind: tiers.Changed, Name: k.full})
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		time.Sleep(time.Duration(m.refresher.next.Load()-m.now()) + silence/4)
		synctest.Wait()
		f(m)
	})
}

// unmarked returns a cache that keeps no mark: all that it says counts.
func unmarked() tiers.Cache { return struct{ tiers.Cache }{memory.NewCache()} }

func TestAPushIsNoLookAtAllOptions(t *testing.T) {
	inStorm(t, Config{Cache: unmarked(), Source: memory.NewSource()}, func(m *Manager) {
		before, planned := m.Stats(), m.refresher.next.Load()
		for _, k := range m.keys {
			m.handle(tiers.Event{Kind: tiers.Changed, Name: k.full})
			synctest.Wait()
			if next := m.refresher.next.Load(); next != planned {
				t.Fatalf("a push of %s moved the next look at all options from %v to %v", k.full, time.Duration(planned), time.Duration(next))
			}
		}
		if n := m.Stats().CacheHits - before.CacheHits; n != uint64(len(m.keys)) {
			t.Errorf("%d loads", n)
		}
	})
}

// What becomes due while all options are looked through, and was looked at
// before, is not forgotten.
func TestWhatBecomesDueDuringALookIsLookedAtInTime(t *testing.T) {
	const soon = 50 * time.Millisecond
	var armed atomic.Bool
	var during func()
	jitter := func() float64 {
		if armed.Swap(false) {
			during()
		}
		return 0.5
	}
	inStorm(t, Config{Cache: unmarked(), Source: memory.NewSource(), Jitter: jitter}, func(m *Manager) {
		first, last := m.keys[0], m.keys[len(m.keys)-1]
		due := m.now() + int64(soon)
		during = func() { // while last is renewed
			first.due.Store(due)
			m.refresher.pokeBy(due)
		}
		last.due.Store(m.now())
		armed.Store(true)
		m.refresher.poke()
		synctest.Wait()
		if armed.Load() {
			t.Fatal("nothing was renewed")
		}
		if next := m.refresher.next.Load(); next > due {
			t.Errorf("looked at %v late", time.Duration(next-due))
		}
	})
}

// stuck answers no load while it is held.
type stuck struct {
	tiers.Source
	held chan struct{} // nil: it answers
}

func (s *stuck) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	if s.held != nil {
		<-s.held
	}
	return s.Source.Load(ctx, ns, names)
}

// The refresher starts what is due again and again while it is in the air.
func TestToBoardAFlightInTheAirAllocatesNothing(t *testing.T) {
	source := &stuck{Source: memory.NewSource()}
	inStorm(t, Config{Source: source}, func(m *Manager) {
		source.held = make(chan struct{})
		m.loader.start(m.keys...)
		synctest.Wait()
		if n := testing.AllocsPerRun(100, func() { m.loader.start(m.keys...) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
		close(source.held)
		synctest.Wait()
	})
}
