package fastopt_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Renewing without a request (D2, P7): while the channel of pushes lives, an
// entry that the cache told, and announces changes of, is confirmed by the
// heartbeat. What ends that is listed here.

// lively is a world of one process that hears heartbeats as often as Redis gives them.
func lively(t *testing.T, f func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager)) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &scripted{Cache: w.cache, fail: make(chan error), every: 250 * time.Millisecond}
		cfg := w.config()
		cfg.Cache = s
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		f(t, w, s, foo, w.open(cfg, &r))
	})
}

func TestAnIdleProcessSendsTheCacheNoLoads(t *testing.T) {
	lively(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		set(t, foo, "v")
		s.sink(tiers.Event{Kind: tiers.Changed, Name: "foo"}) // its own fill's
		time.Sleep(5 * time.Second)
		hits := m.Stats().CacheHits
		for range 600 {
			time.Sleep(137 * time.Millisecond)
			if r := foo.Inspect(); r.State != fastopt.Fresh || r.Value != "v" || r.Age > 10*time.Second {
				t.Fatalf("%+v", r)
			}
		}
		if n := m.Stats().CacheHits - hits; n != 0 {
			t.Errorf("%d loads", n)
		}
	})
}

// What ends it: after each of these the tiers are asked within the TTL.
func TestWhatEndsRenewalWithoutARequest(t *testing.T) {
	type run struct {
		w   *world
		s   *scripted
		foo *fastopt.Option[string]
		m   *fastopt.Manager
	}
	for what, end := range map[string]func(t *testing.T, r run){
		"a push": func(t *testing.T, r run) { r.s.sink(tiers.Event{Kind: tiers.Changed, Name: "foo"}) },
		"a loss": func(t *testing.T, r run) { r.s.sink(tiers.Event{Kind: tiers.Lost}) },
		"a write that is not answered": func(t *testing.T, r run) {
			r.w.source.Inject(faults.Write, faults.Fault{Lost: true})
			if _, err := r.foo.Set(ctx, "w"); !errors.Is(err, fastopt.ErrOutcomeUnknown) {
				t.Error(err)
			}
		},
		"heartbeats that were sent long ago": func(t *testing.T, r run) {
			r.s.silent.Store(true)
			hits := r.m.Stats().CacheHits
			for range 60 {
				time.Sleep(200 * time.Millisecond)
				r.s.sink(tiers.Event{Kind: tiers.Alive, Since: time.Now().Add(-1100 * time.Millisecond)})
			}
			if r.m.Stats().CacheHits == hits {
				t.Error("they vouched for it")
			}
		},
		"a silence": func(t *testing.T, r run) { r.s.silent.Store(true) },
	} {
		t.Run(what, func(t *testing.T) {
			lively(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
				time.Sleep(15 * time.Second)
				asked := func() uint64 { return m.Stats().CacheHits + m.Stats().SourceLoads }
				before := asked()
				time.Sleep(15 * time.Second)
				if asked() != before {
					t.Fatal("it was not idle")
				}
				end(t, run{w, s, foo, m})
				time.Sleep(10 * time.Second)
				if asked() == before {
					t.Error("nobody was asked")
				}
			})
		})
	}
}

// A heartbeat that is older than half of a short TTL vouches for nothing.
func TestAShortTTLNeedsYoungHeartbeats(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &scripted{Cache: w.store, fail: make(chan error)} // a heartbeat a second
		cfg := w.config()
		cfg.Cache = s
		var r fastopt.Registry
		foo := fastopt.Declare(&r, fastopt.Spec[string]{Name: "foo", TTL: 750 * time.Millisecond})
		m := w.open(cfg, &r)
		for range 2000 {
			time.Sleep(7 * time.Millisecond)
			if r := foo.Inspect(); r.State != fastopt.Fresh {
				t.Fatalf("%+v", r)
			}
		}
		if m.Stats().CacheHits < 10 {
			t.Error("renewed by heartbeats that are older than the TTL")
		}
	})
}

// What only the source told, or what the cache could not tell when it was asked
// last, is asked for again.
func TestWhatTheCacheDidNotTellIsAskedFor(t *testing.T) {
	lively(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		w.sql("foo", `"text"`)
		s.sink(tiers.Event{Kind: tiers.Lost})
		w.store.Flush()
		s.sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "text", fastopt.Fresh, fastopt.Source) // filled, and not announced to be told again
		hits := m.Stats().CacheHits
		time.Sleep(10 * time.Second)
		if m.Stats().CacheHits == hits {
			t.Error("renewed unasked, though the cache was never seen to hold it")
		}
	})
}

// An invalid row is asked for again and again: no silence confirms it.
func TestAnInvalidRowIsNotRenewedUnasked(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		n, m := process(w, "n", 1)
		set(t, n, 5)
		time.Sleep(5 * time.Second)
		w.sql("n", `"five"`) // the relay brings it
		time.Sleep(20 * time.Second)
		hits := m.Stats().CacheHits
		time.Sleep(20 * time.Second)
		if r := n.Inspect(); r.Value != 5 || r.State != fastopt.Stale || !errors.Is(r.Err, fastopt.ErrInvalidValue) {
			t.Errorf("%+v", r)
		}
		if k := m.Stats().CacheHits - hits; k < 1 || k > 4 {
			t.Errorf("%d loads of the cache in 20 s", k)
		}
	})
}

// An attempt that failed is made again: no heartbeat stands in for it.
func TestAFailedAttemptIsMadeAgain(t *testing.T) {
	lively(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		time.Sleep(12 * time.Second)
		s.silent.Store(true)
		beat := func() { s.sink(tiers.Event{Kind: tiers.Alive, Since: time.Now().Add(-1500 * time.Millisecond)}) }
		w.allFail()
		calls := w.cache.Calls(faults.Load)
		for w.cache.Calls(faults.Load) == calls { // until it is due, and fails
			time.Sleep(100 * time.Millisecond)
			beat()
		}
		for range 10 { // the channel lives, the tiers do not
			time.Sleep(100 * time.Millisecond)
			s.sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
		}
		if n := w.cache.Calls(faults.Load) - calls; n < 4 {
			t.Errorf("%d attempts in a second", n)
		}
		if m.Ready() == nil {
			t.Error("ready, with tiers that do not answer")
		}
		w.heal()
		s.silent.Store(false)
		time.Sleep(3 * time.Second) // a source that failed is asked again once a second
		want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default)
		must(t, m.Ready())
	})
}

// I5b: a push that comes while its key is renewed without a request is followed
// as soon as reloads of the key may be, not when the renewal is over.
func TestAPushDuringARenewalIsNotForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &scripted{Cache: w.store, every: 20 * time.Millisecond}
		cfg := w.config()
		cfg.Cache, cfg.TTL = s, 1200*time.Millisecond
		var armed atomic.Bool
		cfg.Jitter = func() float64 {
			if armed.CompareAndSwap(true, false) { // between the look at the token and the plan
				w.poison("foo", `"v2"`, tiers.Stamp{Epoch: 1, Revision: 90})
				s.sink(tiers.Event{Kind: tiers.Changed, Name: "foo"})
			}
			return 0.5
		}
		var r fastopt.Registry
		foo, _ := fastopt.New(&r, "foo", ""), fastopt.New(&r, "bar", "")
		w.sql("foo", `"v1"`)
		w.open(cfg, &r)
		time.Sleep(2 * time.Second)
		s.sink(tiers.Event{Kind: tiers.Changed, Name: "foo"}) // it is reloaded, and not again for 100 ms
		settle()
		armed.Store(true)
		s.sink(tiers.Event{Kind: tiers.Changed, Name: "bar"})
		settle()
		if armed.Load() {
			t.Fatal("nothing was renewed")
		}
		time.Sleep(200 * time.Millisecond)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
	})
}
