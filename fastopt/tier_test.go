package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// A tier that fails is left alone but for probes, and used again soon after it
// answers.
func TestATierThatFailsIsOnlyProbed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", 1)
		set(t, foo, 7)
		time.Sleep(time.Second)
		w.allFail()
		w.cache.Cut()
		time.Sleep(15 * time.Second) // past the TTL: it was asked for
		source, cache := w.source.Calls(faults.Load), w.cache.Calls(faults.Load)
		before := m.Stats()
		if s := before.SourceTier; s.Up || s.Breaker != "open" || s.Opened != 1 || s.Spared == 0 {
			t.Errorf("source: %+v", s)
		}
		if s := before.CacheTier; s.Up || s.Breaker != "open" || s.Opened != 1 {
			t.Errorf("cache: %+v", s)
		}
		for range 40_000 {
			foo.Load(ctx)
			time.Sleep(time.Millisecond)
		}
		after := m.Stats()
		for _, n := range []struct {
			tier          string
			calls, probes int64
			most          int64
		}{
			{"source", w.source.Calls(faults.Load) - source, int64(after.SourceTier.Probes - before.SourceTier.Probes), 80},
			{"cache", w.cache.Calls(faults.Load) - cache, int64(after.CacheTier.Probes - before.CacheTier.Probes), 160},
		} {
			if n.calls != n.probes || n.probes > n.most || n.probes < n.most/2 {
				t.Errorf("%s: %d loads in 40 s, %d of them probes", n.tier, n.calls, n.probes)
			}
		}
		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), 7, fastopt.Fresh, fastopt.Write)
		if s := m.Stats(); s.SourceTier.Breaker != "closed" || s.CacheTier.Breaker != "closed" || m.Ready() != nil {
			t.Errorf("%+v, %+v, %v", s.SourceTier, s.CacheTier, m.Ready())
		}
	})
}

// What was loaded past a cache that was left alone is not announced by it when it
// changes. So it is asked for again, soon.
func TestWhatWasLoadedPastTheCacheIsLookedAtAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", 1)
		w.cache.Inject(faults.Load, faults.Fault{Delay: 200 * time.Millisecond}) // and pushes arrive
		must(t, m.Refresh(ctx))
		time.Sleep(15 * time.Second)
		want(t, foo.Inspect(), 1, fastopt.Fresh, fastopt.Default)
		w.heal()
		calls, hits := w.cache.Calls(faults.Load), m.Stats().CacheHits
		time.Sleep(1100 * time.Millisecond) // a probe, and half a second
		if w.cache.Calls(faults.Load)-calls < 2 || m.Stats().CacheHits == hits {
			t.Errorf("%d loads, %d hits", w.cache.Calls(faults.Load)-calls, m.Stats().CacheHits-hits)
		}
	})
}

// While the cache is left alone a key that it may lack is read from the source as
// any other, not for a fill that would be in vain.
func TestARepairWaitsForTheCache(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", 1)
		w.cacheGetFails()
		w.cacheSetFails()
		w.cache.Cut()
		time.Sleep(15 * time.Second)
		set(t, foo, 2)
		calls := w.source.Calls(faults.Load)
		time.Sleep(20 * time.Second)
		if n := w.source.Calls(faults.Load) - calls; n > 5 || m.Stats().Dirty != 1 {
			t.Errorf("%d loads of the source in two TTLs, %d dirty", n, m.Stats().Dirty)
		}
		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		if w.cached("foo") != "2" || m.Stats().Dirty != 0 {
			t.Errorf("the cache holds %q, %d dirty", w.cached("foo"), m.Stats().Dirty)
		}
	})
}

// A cache that answers heartbeats, and is too slow for anything else, tells of no
// change that nobody could fill into it.
func TestASlowCacheHidesNoChange(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		mine := fastopt.New(&r, "foo", 1)
		limits := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
		m := w.open(w.config(), &r)
		theirs, _ := process(w, "foo", 1)
		time.Sleep(time.Second) // it is the cache that told them of foo
		w.cache.Inject(faults.Load, faults.Fault{Delay: 200 * time.Millisecond})
		w.cache.Inject(faults.Fill, faults.Fault{Delay: 200 * time.Millisecond})
		for i := range 20 {
			limits.Load(ctx, fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		set(t, theirs, 2)
		time.Sleep(9100 * time.Millisecond) // past the refresh
		if r := mine.Inspect(); r.Value != 2 || r.State != fastopt.Fresh || !m.Stats().PushesUp {
			t.Errorf("%+v", r)
		}
	})
}

// With every tier left alone there is nothing to wait for.
func TestALoadInTheDarkFailsAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var f fleet
		f.add(w, w.config())
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		w.cacheGetFails()
		w.cache.Cut()
		for i := range 5 {
			f.limits[0].Load(ctx, fmt.Sprint(i))
		}
		start := time.Now()
		r := f.limits[0].Load(ctx, "x")
		if d := time.Since(start); d > 0 || !errors.Is(r.Err, fastopt.ErrUnavailable) {
			t.Errorf("after %v: %+v", d, r)
		}
	})
}

// probed is a source with a door of its own for probes.
type probed struct {
	tiers.Source
	probes atomic.Int64
	fails  atomic.Bool
}

func (s *probed) Probe(context.Context, string) error {
	s.probes.Add(1)
	if s.fails.Load() {
		return errDown
	}
	return nil
}

func TestAProbeGoesPastWhatOtherCallsAreStuckIn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := &probed{Source: w.source}
		p.fails.Store(true)
		w.asSource = p
		foo, m := process(w, "foo", 1)
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		w.cacheGetFails()
		w.cache.Cut()
		time.Sleep(20 * time.Second)
		if s := m.Stats().SourceTier; s.Breaker != "open" || p.probes.Load() == 0 {
			t.Fatalf("%+v, %d probes", s, p.probes.Load())
		}
		calls := w.source.Calls(faults.Load)
		time.Sleep(20 * time.Second)
		if n := w.source.Calls(faults.Load) - calls; n > 0 {
			t.Errorf("%d loads beside the probes", n)
		}
		w.source.Heal()
		p.fails.Store(false)
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), 1, fastopt.Fresh, fastopt.Default)
	})
}

// A write is not sent to a source that is left alone, and leaves no trace; but
// what keeps writers out does not keep readers out.
func TestABreakerAndWrites(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", 1)
		w.source.Inject(faults.Write, faults.Fault{Err: errDown})
		for range 20 {
			if _, err := foo.Set(ctx, 5); !errors.Is(err, fastopt.ErrUnavailable) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if s := m.Stats().SourceTier; s.Breaker != "closed" || w.source.Calls(faults.Write) != 20 {
			t.Errorf("%+v after %d writes", s, w.source.Calls(faults.Write))
		}
		w.allFail()
		w.cache.Cut()
		time.Sleep(15 * time.Second)
		start := time.Now()
		_, err := foo.Set(ctx, 5)
		if d := time.Since(start); d > 0 || !errors.Is(err, fastopt.ErrUnavailable) || w.source.Calls(faults.Write) != 20 {
			t.Errorf("after %v and %d writes: %v", d, w.source.Calls(faults.Write), err)
		}
		if foo.Get() != 1 || w.row("foo") != "" {
			t.Errorf("a trace: %d, %q", foo.Get(), w.row("foo"))
		}
		w.heal()
		w.cache.Reconnect()
		time.Sleep(1100 * time.Millisecond)
		set(t, foo, 6)
	})
}

// That this process stood still for a moment fails all its calls under way, and
// says nothing of the tier.
func TestCallsThatFailTogetherOpenNoBreaker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var f fleet
		f.add(w, w.config())
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Delay: 100 * time.Millisecond}) // no fill comes between
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { f.limits[0].Load(ctx, fmt.Sprint(i)) })
			settle()
		}
		time.Sleep(50 * time.Millisecond)
		w.cache.Heal()
		wg.Wait()
		if s := f.managers[0].Stats().CacheTier; s.Opened > 0 {
			t.Errorf("%+v", s)
		}
	})
}

// late is a cache whose calls end long after they should, as all do in a process
// that starves.
type late struct {
	tiers.Cache
	on atomic.Bool
}

func (c *late) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	if !c.on.Load() {
		return c.Cache.Load(ctx, ns, names)
	}
	time.Sleep(150 * time.Millisecond)
	return allDown(names)
}

func TestAProcessThatStarvesBlamesNoTier(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := &late{Cache: w.cache}
		w.asCache = c
		var f fleet
		f.add(w, w.config())
		c.on.Store(true)
		for i := range 20 {
			f.limits[0].Load(ctx, fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		if s := f.managers[0].Stats().CacheTier; s.Opened > 0 || !s.Up {
			t.Errorf("%+v", s)
		}
	})
}

// R44: processes that lost a tier at one instant do not probe it at one instant,
// nor do they fall into step.
func TestR44ProbesOfAFleetDoNotAlign(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const fleet = 50
		var all []*probed
		for range fleet {
			p := &probed{Source: w.source}
			p.fails.Store(true)
			all = append(all, p)
			var r fastopt.Registry
			fastopt.New(&r, "foo", 1)
			cfg := w.config()
			cfg.Jitter, cfg.Source, cfg.Cache = rand.Float64, p, nil
			w.open(cfg, &r)
		}
		w.allFail()
		time.Sleep(20 * time.Second)
		sum := func() (n int64) {
			for _, p := range all {
				n += p.probes.Load()
			}
			return n
		}
		most, last, one := int64(0), sum(), all[0].probes.Load()
		least, greatest, since := time.Minute, time.Duration(0), time.Duration(0)
		for range 2000 {
			time.Sleep(10 * time.Millisecond)
			n := sum()
			most, last = max(most, n-last), n
			since += 10 * time.Millisecond
			if n := all[0].probes.Load(); n > one {
				if one = n; since < 5*time.Second && greatest > 0 {
					least = min(least, since)
				}
				greatest, since = max(greatest, since), 0
			}
		}
		if most > 8 { // 0.67 on average
			t.Errorf("%d probes of %d processes within 10 ms", most, fleet)
		}
		if greatest-least < 200*time.Millisecond {
			t.Errorf("one process probes every %v to %v", least, greatest)
		}
	})
}
