package fastopt_test

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// declareMany declares n.0, n.1, …
func declareMany(r *fastopt.Registry, n int) (all []*fastopt.Option[int]) {
	for i := range n {
		all = append(all, fastopt.New(r, fmt.Sprintf("n.%d", i), i))
	}
	return all
}

// R42: the cache dies, and the source is asked within the budget, by which all
// options stay as fresh as ever.
func TestR42TheSourceIsAskedWithinTheBudget(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		all := declareMany(&r, 2000)
		cfg := w.config()
		var n atomic.Int64
		cfg.Jitter = func() float64 { return math.Mod(float64(n.Add(1))*0.618, 1) } // spread evenly
		m := w.open(cfg, &r)
		time.Sleep(time.Second)
		w.cacheGetFails()
		w.cacheSetFails()
		w.cache.Cut()
		calls, names := w.source.Calls(faults.Load), w.source.Names(faults.Load)
		for range 60 {
			time.Sleep(time.Second)
			for _, o := range all {
				if r := o.Inspect(); r.State != fastopt.Fresh {
					t.Fatalf("%+v", r)
				}
			}
		}
		calls, names = w.source.Calls(faults.Load)-calls, w.source.Names(faults.Load)-names
		if calls > 20+5*60 || names < 5*2000 {
			t.Errorf("%d requests of %d names in 60 s", calls, names)
		}
		if m.Stats().BudgetWaits == 0 {
			t.Error("nothing waited")
		}
	})
}

// crowded counts how many loads are under way at once.
type crowded struct {
	tiers.Source
	now, most atomic.Int64
	slow      time.Duration
}

func (s *crowded) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	time.Sleep(s.slow)
	return s.Source.Load(ctx, ns, names)
}

// R47: a flood of keys that nobody knows reaches the source no faster than its
// budget, and delays no option.
func TestR47AFloodOfKeysDelaysNoOption(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &crowded{Source: w.source, slow: 100 * time.Millisecond}
		cfg := w.config()
		cfg.Source, cfg.Cache = s, nil
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", 1)
		limits := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
		m := w.open(cfg, &r)
		w.sql("foo", "7")
		start, calls := time.Now(), w.source.Calls(faults.Load)
		for i := 0; time.Since(start) < 10*time.Second; i++ {
			limits.Get(fmt.Sprint("nobody", i))
			time.Sleep(200 * time.Microsecond)
			if i%1000 == 0 {
				before := time.Now()
				must(t, m.Refresh(ctx))
				if d := time.Since(before); d > 250*time.Millisecond {
					t.Fatalf("an option waited for %v", d)
				}
			}
		}
		n := w.source.Calls(faults.Load) - calls
		t.Logf("%d requests, %d names, %d dropped", n, w.source.Names(faults.Load), m.Stats().Dropped)
		if most := int64(20+5*10) + int64(40+20*10); n > most || s.most.Load() > 4 {
			t.Errorf("%d requests in 10 s, %d at once", n, s.most.Load())
		}
		want(t, foo.Inspect(), 7, fastopt.Fresh, fastopt.Source)
		for i := range 20_000 { // more than may wait, at one instant
			limits.Get(fmt.Sprint("nobody either", i))
		}
		time.Sleep(2 * time.Second)
		if lines := w.log.lines("too much is queued"); m.Stats().Dropped == 0 || len(lines) != 1 {
			t.Errorf("%d dropped, said %d times", m.Stats().Dropped, len(lines))
		}
	})
}

// oneInThree fails a third of all loads.
type oneInThree struct {
	tiers.Source
	n atomic.Int64
}

func (s *oneInThree) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	if s.n.Add(1)%3 > 0 {
		return s.Source.Load(ctx, ns, names)
	}
	return allDown(names)
}

// Retries are at most a tenth of the first attempts, and one a second.
func TestRetriesHaveABudget(t *testing.T) {
	requests := func(asked func(tiers.Source) tiers.Source) (n int64, waited uint64) {
		inWorld(t, func(t *testing.T, w *world) {
			cfg := w.config()
			cfg.Source, cfg.Cache = asked(w.source), nil
			cfg.OptionBudget.Rate, cfg.OptionBudget.Burst = 1000, 1000
			var r fastopt.Registry
			limits := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
			cfg.FamilyBudget.Rate, cfg.FamilyBudget.Burst = 1000, 1000
			m := w.open(cfg, &r)
			before := w.source.Calls(faults.Load)
			for i := range 2000 { // 100 members, of which each is asked for again every 10 s
				limits.Get(fmt.Sprint(i % 100))
				time.Sleep(10 * time.Millisecond)
			}
			n, waited = w.source.Calls(faults.Load)-before, m.Stats().RetriesWaited
			if s, ok := cfg.Source.(*oneInThree); ok {
				n = s.n.Load()
			}
			if s := m.Stats().SourceTier; s.Opened > 0 {
				t.Errorf("it opened: %+v", s)
			}
		})
		return n, waited
	}
	healthy, _ := requests(func(s tiers.Source) tiers.Source { return s })
	failing, waited := requests(func(s tiers.Source) tiers.Source { return &oneInThree{Source: s} })
	t.Logf("%d requests, and %d while a third fails; %d retries waited", healthy, failing, waited)
	if most := healthy*11/10 + 20 + 5 + 1; failing > most || waited == 0 {
		t.Errorf("%d requests while a third fails, %d when all is well; %d retries waited", failing, healthy, waited)
	}
}

// R43: the source is so slow that whoever asks has left by the time it answers.
// What it says is kept all the same, or the next would ask in vain, too.
func TestR43AnAnswerThatNobodyWaitsForIsKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var f fleet
		f.add(w, w.config())
		w.sql("f/x", "5")
		w.source.Inject(faults.Load, faults.Fault{Delay: 200 * time.Millisecond})
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if r := f.limits[0].Load(short, "x"); r.State != fastopt.Unloaded {
			t.Fatalf("%+v", r)
		}
		time.Sleep(300 * time.Millisecond)
		calls := w.source.Calls(faults.Load)
		want(t, f.limits[0].Load(ctx, "x"), 5, fastopt.Fresh, fastopt.Source)
		if n := w.source.Calls(faults.Load) - calls; n > 0 {
			t.Errorf("%d requests for what had been answered", n)
		}
	})
}

// tardy is a cache that fails, and that late for who asks for foo first.
type tardy struct {
	tiers.Cache
	fails, met atomic.Bool
}

func (c *tardy) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	if !c.fails.Load() {
		return c.Cache.Load(ctx, ns, names)
	}
	if names[0] == "foo" && c.met.CompareAndSwap(false, true) {
		time.Sleep(20 * time.Millisecond)
	}
	return allDown(names)
}

// R7: a flight that a push has made old comes out of the cache after the one that
// took its place, and both wait for the source. The younger asks for both: the
// loader would take the other for none of the key's, and start no more.
func TestR7AFlightThatWasOvertakenInTheCacheAsksForNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg, c := w.config(), &tardy{Cache: w.asCache}
		cfg.Cache, cfg.OptionBudget = c, fastopt.Budget{Rate: 1000, Burst: 1000, AtOnce: 1}
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", 1)
		fastopt.New(&r, "bar", 1)
		w.open(cfg, &r)
		time.Sleep(time.Second)
		push := func(name string, revision uint64) {
			w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: name, Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 1, Revision: revision}}}})
			time.Sleep(time.Millisecond)
		}
		w.source.Inject(faults.Load, faults.Fault{Delay: 100 * time.Millisecond})
		c.fails.Store(true)
		push("bar", 100) // has the one place before the source
		push("foo", 101)
		push("foo", 102)
		foo.Load(ctx) // starts the second flight, and does not wait until it lands
		time.Sleep(time.Second)
		w.source.Heal()
		c.fails.Store(false)
		for range 60 {
			time.Sleep(time.Second)
			if r := foo.Inspect(); r.State != fastopt.Fresh {
				t.Fatalf("%+v", r)
			}
		}
	})
}
