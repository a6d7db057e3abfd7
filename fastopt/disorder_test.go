package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// What goes wrong with the machinery of outages in odd orders of events.

// Of two flights for one key, the one that a push outdated may be the later to
// get from the cache to the lane. The younger one answers for both, or the key
// would never be asked for again.
func TestR7AnOutdatedFlightMayComeLastToTheLane(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &scripted{Cache: w.cache} // announces nothing by itself
		cfg := w.config()
		cfg.Cache, cfg.OptionBudget.AtOnce = s, 1
		var r fastopt.Registry
		foo, _ := fastopt.New(&r, "foo", 1), fastopt.New(&r, "bar", 1)
		w.open(cfg, &r)
		time.Sleep(time.Second)
		w.store.Flush()
		w.cacheSetFails()
		w.source.Inject(faults.Load, faults.Fault{Delay: 200 * ms})
		push := func(name string) { s.sink(tiers.Event{Kind: tiers.Changed, Name: name}); settle() }
		push("bar") // takes the only place at the source
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		push("foo") // the cache lets it wait
		w.cache.Heal()
		w.cacheSetFails()
		push("foo")   // … and it is outdated
		foo.Load(ctx) // by this one
		w.heal()
		w.sql("foo", "5")
		for range 30 {
			time.Sleep(time.Second)
			if r := foo.Inspect(); r.Age > 10*time.Second {
				t.Fatalf("nobody asks any more: %+v", r)
			}
		}
		want(t, foo.Inspect(), 5, fastopt.Fresh, fastopt.Source)
	})
}

// What failed in an outage is asked for again at once when a tier answers: members
// of families, too.
func TestAMemberIsLoadedAsSoonAsATierAnswers(t *testing.T) {
	for phase := range 10 {
		inWorld(t, func(t *testing.T, w *world) {
			cfg := w.config()
			cfg.Cache = nil
			var n atomic.Int64
			cfg.Jitter = func() float64 { return float64(n.Add(7)%10) / 10 }
			var f fleet
			f.add(w, cfg)
			limits, m := f.limits[0], f.managers[0]
			w.sourceFails()
			for range 20 + phase {
				limits.Load(ctx, "x")
				time.Sleep(100 * ms)
			}
			w.heal()
			for i := 0; m.Stats().SourceTier.Breaker != "closed"; i++ {
				limits.Load(ctx, "x")
				if time.Sleep(ms); i > 2000 {
					t.Fatal("the breaker stays open")
				}
			}
			settle()
			if r := limits.Load(ctx, "x"); r.Err != nil || r.State != fastopt.Fresh {
				t.Errorf("phase %d: %+v", phase, r)
			}
		})
	}
}

// I22: what happens between telling the ages and writing them makes nothing
// younger: a source that is slow to say who it is, for one.
func TestI22AgesAreToldBeforeTheFileIsDated(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		cfg.Cache, cfg.SourceTimeout = nil, 2*time.Second
		w.source.Inject(faults.Identity, faults.Fault{Hang: true})
		a := saving(w, cfg, fastopt.Spec[string]{Default: "d"})
		a.foo.Load(ctx)
		asked := time.Now().Add(-a.foo.Inspect().Age)
		time.Sleep(5 * time.Second)
		s := stored(t, cfg)
		if at := s.Written.Add(-s.Entries[0].Age); at.After(asked) {
			t.Errorf("by the file it was asked for %v later than it was", at.Sub(asked))
		}
	})
}

// I22, R22: a machine that slept writes no age without the sleep, however soon
// after that the process ends.
func TestR22ASleepCountsInTheSnapshot(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		a := saving(w, cfg, fastopt.Spec[string]{Default: "d", Grace: time.Hour})
		set(t, a.foo, "v")
		settle()
		fastopt.Skew(a.Manager, 20*time.Minute, 20*time.Minute)
		must(t, a.Close())
		if age := stored(t, cfg).Entries[0].Age; age < 20*time.Minute {
			t.Errorf("its age is %v", age)
		}
	})
}

// slowToTell is a source that tells who it is too late.
type slowToTell struct{ tiers.Source }

func (s slowToTell) Identity(ctx context.Context) (tiers.Identity, error) {
	<-ctx.Done()
	time.Sleep(ms)
	return tiers.Identity{}, fmt.Errorf("%w: %w", tiers.ErrUnavailable, ctx.Err())
}

// A call that is given twice the time of others, and uses it, has failed.
func TestASourceThatDoesNotTellWhoItIsHasFailed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		process(w, "foo", 1) // the cache is warm
		w.asSource = slowToTell{w.source}
		_, m := process(w, "foo", 1)
		time.Sleep(time.Second)
		if s := m.Stats().SourceTier; s.Probes == 0 {
			t.Errorf("nobody noticed: %+v", s)
		}
	})
}

// What Close finds between the cache and the lane is closed, not too much.
func TestCloseIsNoFloodOfKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var f fleet
		f.add(w, w.config())
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		var r fastopt.Reading[int]
		var wg sync.WaitGroup
		wg.Go(func() { r = f.limits[0].Load(ctx, "x") })
		synctest.Wait()
		must(t, f.managers[0].Close())
		wg.Wait()
		if n := f.managers[0].Stats().Dropped; n > 0 || !errors.Is(r.Err, fastopt.ErrClosed) {
			t.Errorf("%d dropped, %v", n, r.Err)
		}
	})
}

// A caller of IsSet that has little time says nothing about the source; and with
// the source left alone it need not wait for a budget to learn that.
func TestIsSetAndTheBreaker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "foo", 1)
		w.source.Inject(faults.Load, faults.Fault{Delay: 100 * ms})
		for range 20 {
			hasty, cancel := context.WithTimeout(ctx, 60*ms)
			if _, err := m.IsSet(hasty, "foo"); !errors.Is(err, fastopt.ErrUnavailable) {
				t.Error(err)
			}
			cancel()
			time.Sleep(250 * ms)
		}
		if s := m.Stats().SourceTier; s.Opened > 0 || s.Probes > 0 || !s.Up {
			t.Errorf("blamed: %+v", s)
		}
		w.allFail()
		w.cache.Cut()
		time.Sleep(15 * time.Second)
		start := time.Now()
		for range 50 {
			if _, err := m.IsSet(ctx, "foo"); !errors.Is(err, fastopt.ErrUnavailable) {
				t.Error(err)
			}
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("it took %v", d)
		}
	})
}

// A cache that fails is left alone by the relay, too, and fed again soon after it
// answers.
func TestTheRelayLeavesADeadCacheAlone(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		m := w.openRelay()
		foo, _ := process(w, "foo", 1)
		leads(t, 5*time.Second, m)
		set(t, foo, 7)
		time.Sleep(2 * time.Second)
		ops := []faults.Op{faults.Load, faults.Fill, faults.Lease, faults.Mark, faults.PutMark}
		for _, op := range ops {
			w.cache.Inject(op, faults.Fault{Err: errDown})
		}
		w.cache.Cut()
		time.Sleep(10 * time.Second)
		if s := m.Stats().CacheTier; s.Breaker != "open" {
			t.Fatalf("%+v", s)
		}
		before, changes := w.cache.Calls(faults.PutMark)+w.cache.Calls(faults.Fill), w.source.Calls(faults.Changes)
		time.Sleep(20 * time.Second)
		if n := w.cache.Calls(faults.PutMark) + w.cache.Calls(faults.Fill) - before; n > 0 {
			t.Errorf("%d calls of a cache that is left alone, %d of the source", n, w.source.Calls(faults.Changes)-changes)
		}
		w.sql("foo", "8")
		w.light()
		time.Sleep(2 * time.Second)
		if r := foo.Inspect(); r.Value != 8 || r.State != fastopt.Fresh {
			t.Errorf("%+v", r)
		}
		if time.Sleep(time.Second); !m.Stats().CacheFed || w.cached("foo") != "8" {
			t.Errorf("it is not fed, and holds %q", w.cached("foo"))
		}
	})
}
