package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/fastopt/fastopttest"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Bounds: what a call may cost, and how long it may take, when things go wrong.

// I13: one bound for all names together, whether tiers refuse or hang.
func TestABatchLoadIsBoundedAsAWhole(t *testing.T) {
	for _, how := range []faults.Fault{{Err: errDown}, {Hang: true}} {
		inWorld(t, func(t *testing.T, w *world) {
			var r fastopt.Registry
			var names []string
			for i := range 50 {
				names = append(names, fastopt.New(&r, fmt.Sprintf("n.%d", i), i).Name())
			}
			m := w.open(w.config(), &r)
			time.Sleep(time.Second)
			w.cache.Inject(faults.Load, how)
			w.source.Inject(faults.Load, how)
			w.cache.Cut()
			settle()
			for range 5 {
				start := time.Now()
				all, err := m.Load(ctx, names...)
				must(t, err)
				if d := time.Since(start); d > 300*time.Millisecond {
					t.Fatalf("took %v", d)
				}
				for _, r := range all {
					if r.State != fastopt.Stale || !errors.Is(r.Err, fastopt.ErrUnavailable) {
						t.Fatalf("%+v", r)
					}
				}
			}
		})
	}
}

// R38: an invalid row is not fetched more often for being read more often.
func TestR38AnInvalidRowIsNotFetchedOnEveryRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("n", `"one"`)
		w.sql("f/x", `"one"`)
		var r fastopt.Registry
		n := fastopt.New(&r, "n", 1)
		f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", Default: 1, MaxEntries: 1000})
		m := w.open(w.config(), &r)
		f.Load(ctx, "x")
		time.Sleep(time.Second)
		calls := w.source.Calls(faults.Load) + w.cache.Calls(faults.Load)
		for range 1000 {
			if r := n.Load(ctx); !errors.Is(r.Err, fastopt.ErrInvalidValue) {
				t.Fatalf("%+v", r)
			}
			f.Get("x")
			m.Load(ctx, "n", "f/x")
			time.Sleep(time.Millisecond)
		}
		if c := w.source.Calls(faults.Load) + w.cache.Calls(faults.Load) - calls; c > 4 {
			t.Errorf("%d requests in a second", c)
		}
	})
}

// A tier that is behind what is known here is asked at the pace of failures.
func TestATierThatIsBehindIsNotAskedInALoop(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Cache = nil
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		m := w.open(cfg, &r)
		set(t, foo, "v1")
		set(t, foo, "v2")
		m.Refresh(ctx)
		older := &setBack{w.source}
		cfg.Source = older
		must(t, m.Close())
		m = w.open(cfg, &r)
		foo.Load(ctx)
		older.Source = w.source
		w.cache.Cut()
		calls := w.source.Calls(faults.Load)
		m.Refresh(ctx)
		r1 := foo.Load(ctx)
		if c := w.source.Calls(faults.Load) - calls; c > 5 {
			t.Errorf("%d requests (%+v)", c, r1)
		}
	})
}

// setBack is a source whose stamps fell by one, as of a disk set back.
type setBack struct{ tiers.Source }

func (s *setBack) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := s.Source.Load(ctx, ns, names)
	for i := range rs {
		rs[i].Stamp.Revision--
	}
	return rs
}

// A batch holds each name once, as tiers may rely on.
func TestABatchHoldsEachNameOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		once := &onceEach{Cache: w.cache, t: t}
		cfg := w.config()
		cfg.Cache = once
		var r fastopt.Registry
		var opts []*fastopt.Option[int]
		for i := range 10 {
			opts = append(opts, fastopt.New(&r, fmt.Sprintf("n.%d", i), i))
		}
		m := w.open(cfg, &r)
		time.Sleep(time.Second)
		w.cache.Inject(faults.Load, faults.Fault{Delay: 30 * time.Millisecond})
		w.cache.Cut()
		settle()
		var wg sync.WaitGroup
		for _, o := range opts[:6] { // four batches under way, two queued
			wg.Go(func() { o.Load(ctx) })
			synctest.Wait()
		}
		for range 3 { // and queued again after each push
			wg.Go(func() { m.Refresh(ctx) })
			synctest.Wait()
		}
		wg.Wait()
	})
}

type onceEach struct {
	tiers.Cache
	t *testing.T
}

func (c *onceEach) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] {
			c.t.Errorf("%q twice in %q", n, names)
		}
		seen[n] = true
	}
	return c.Cache.Load(ctx, ns, names)
}

// Close waits for a write that is under way, fill included.
func TestCloseWaitsForAWrite(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		settle()
		done := make(chan struct{})
		hookOnce(t, point.WriteCommit, m, "foo", func() {
			go func() { defer close(done); must(t, m.Close()) }()
			time.Sleep(time.Millisecond)
		})
		rc, err := foo.Set(ctx, "v2")
		must(t, err)
		<-done
		if !rc.Cached || w.cached("foo") != `"v2"` {
			t.Errorf("%+v, the cache holds %q", rc, w.cached("foo"))
		}
		if _, err := foo.Set(ctx, "v3"); !errors.Is(err, fastopt.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// I4: what is being written or repaired is not evicted. There is one place, for
// which each member of the flood evicts whatever may be evicted.
func TestAWrittenMemberIsNotForgotten(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 1}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		for i := range 20 {
			w.sql(fmt.Sprint("tenant.limit/other ", i), "5") // absent ones would be evicted apart
		}
		flood := func() {
			for i := range 20 {
				limit.Load(ctx, fmt.Sprint("other ", i))
			}
		}
		_, err := limit.Set(ctx, "a", 1)
		must(t, err)
		hookOnce(t, point.WriteCommit, m, "tenant.limit/a", flood)
		_, err = limit.Set(ctx, "a", 2)
		must(t, err)
		if v := limit.Get("a"); v != 2 {
			t.Errorf("read %d after writing 2", v)
		}
		settle()
		w.cacheSetFails()
		rc, err := limit.Set(ctx, "a", 3)
		must(t, err)
		if rc.Cached {
			t.Error("cached")
		}
		flood()
		if r := limit.Load(ctx, "a"); r.Value != 3 {
			t.Errorf("read %+v after writing 3", r)
		}
		w.heal()
		time.Sleep(2 * time.Second)
		if w.cached("tenant.limit/a") != "3" {
			t.Errorf("the cache holds %q", w.cached("tenant.limit/a"))
		}
	})
}

// I16, I21: members of which more were written past the cache than are repaired at
// once are all repaired in the end, and only until then kept beyond the bound (I4).
func TestMembersThatFindNoRoomAreRepairedLater(t *testing.T) {
	const most, written = 4096, 4200
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 10}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.cacheGetFails()
		w.cacheSetFails()
		for i := range written {
			setMember(t, limit, fmt.Sprint(i), i+1)
		}
		if n := m.Stats().RepairDropped; n != written-most {
			t.Errorf("%d found no room", n)
		}
		time.Sleep(time.Second)
		for i := range written {
			if v := limit.Get(fmt.Sprint(i)); v != i+1 {
				t.Fatalf("%d reads %d", i, v)
			}
		}
		w.heal()
		time.Sleep(10 * time.Second)
		setMember(t, limit, "next", 1) // makes room for itself
		settle()
		if s := m.Stats(); s.Dirty != 0 || s.Repaired != written || s.Families[0].Working != 0 || s.Families[0].Entries != 10 {
			t.Errorf("%d dirty, %d repaired, %+v", s.Dirty, s.Repaired, s.Families[0])
		}
		for i := range written {
			if got := w.cached(fmt.Sprint("tenant.limit/", i)); got != fmt.Sprint(i+1) {
				t.Fatalf("the cache holds %q for %d", got, i)
			}
		}
	})
}

// I20: repairs are paced, however many writes add to them.
func TestRepairsArePaced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		var opts []*fastopt.Option[int]
		for i := range 100 {
			opts = append(opts, fastopt.New(&r, fmt.Sprintf("n.%d", i), -1))
		}
		m := w.open(w.config(), &r)
		time.Sleep(time.Second)
		w.cacheSetFails()
		w.cacheGetFails()
		w.cache.Cut()
		calls := w.source.Calls(faults.Load)
		for i := range 1000 {
			set(t, opts[i%100], i)
			time.Sleep(time.Millisecond)
		}
		if c := w.source.Calls(faults.Load) - calls; c > 30 {
			t.Errorf("%d requests in a second of writes", c)
		}
		if n := m.Stats().Dirty; n != 100 {
			t.Errorf("%d dirty", n)
		}
		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		if s := m.Stats(); s.Dirty != 0 || s.Repaired != 100 {
			t.Errorf("%+v", s)
		}
	})
}

// A watch that is refused for good costs no reloads.
func TestARefusedWatchReloadsNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "foo", "")
		w.cache.Inject(faults.Watch, faults.Fault{Err: tiers.ErrUnavailable})
		w.cache.Cut()
		time.Sleep(time.Second)
		w.cache.Reconnect()
		names := w.cache.Names(faults.Load)
		time.Sleep(time.Minute)
		if n := w.cache.Names(faults.Load) - names; n > 10 {
			t.Errorf("%d names loaded in a minute", n)
		}
		if n := len(w.log.lines("no pushes")); n > 1 {
			t.Errorf("%d log lines", n)
		}
		_ = m
	})
}

// I5, P3: a write's token is from before it, so that the push of a later write
// that was handled meanwhile is not forgotten.
func TestAWriteDoesNotHideALaterPush(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		other, _ := process(w, "foo", "")
		set(t, other, "v1")
		time.Sleep(200 * time.Millisecond)
		w.cache.Inject(faults.Load, faults.Fault{Delay: 40 * time.Millisecond}) // the reload takes its time
		hookOnce(t, point.WriteCommit, m, "foo", func() {
			set(t, other, "v3")
			time.Sleep(time.Millisecond) // its push is handled
		})
		set(t, foo, "v2")
		if r := foo.Inspect(); r.Value == "v2" && r.State == fastopt.Fresh {
			t.Errorf("v2 is fresh after the push for v3: %+v", r)
		}
		if r := foo.Load(ctx); r.Value != "v3" {
			t.Errorf("a Load after the push gave %+v", r)
		}
	})
}

// The expirer of a manager that closes touches nothing of the next one's.
func TestTheExpirerOfAClosedManagerLeavesTheNextAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "d")
		m, err := fastopt.Open(ctx, w.config(), &r)
		must(t, err)
		set(t, foo, "v")
		w.allFail()
		opened := make(chan *fastopt.Manager, 1)
		hookOnce(t, point.ExpireClaim, m, "foo", func() {
			w.heal()
			go m.Close()
			time.Sleep(6 * time.Second) // Close gives up waiting for us
			opened <- w.open(w.config(), &r)
		})
		time.Sleep(80 * time.Second)
		<-opened
		want(t, foo.Load(ctx), "v", fastopt.Fresh, fastopt.Cache)
		set(t, foo, "v2")
		if foo.Get() != "v2" {
			t.Errorf("read %q", foo.Get())
		}
	})
}

// A closed manager writes nothing, not through the next one either.
func TestAClosedManagerIsClosedByNameToo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
		m1 := w.open(w.config(), &r)
		must(t, m1.Close())
		w.open(w.config(), &r)
		if _, err := m1.Set(ctx, "f/x", 1); !errors.Is(err, fastopt.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// An invalid row over an expired entry is told once.
func TestAnInvalidRowOverAnExpiredEntryIsToldOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, m := process(w, "n", 1)
		set(t, n, 5)
		w.allFail()
		time.Sleep(2 * time.Minute)
		w.sql("n", `"five"`)
		w.heal()
		w.store.Flush()
		time.Sleep(time.Minute)
		r := n.Inspect()
		want(t, r, 1, fastopt.Stale, fastopt.Default)
		if r.Age > 11*time.Second || m.Stats().Rejected != 1 || len(w.log.lines("cannot be used")) != 1 {
			t.Errorf("%+v, %d rejected", r, m.Stats().Rejected)
		}
	})
}

// An older "absent" does not confirm an invalid row.
func TestAnOlderAbsentDoesNotConfirmAnInvalidRow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, m := process(w, "n", 1) // the cache says absent
		w.sql("n", `"five"`)
		w.cacheGetFails()
		must(t, m.Refresh(ctx))
		if r := n.Inspect(); !errors.Is(r.Err, fastopt.ErrInvalidValue) {
			t.Fatalf("%+v", r)
		}
		w.sql("n", `5`)
		w.heal()
		time.Sleep(10 * time.Second)
		want(t, n.Inspect(), 5, fastopt.Fresh, fastopt.Source)
	})
}

// I3c: an answer may be old when it comes; the expirer counts that.
func TestTheExpirerKnowsHowOldAnAnswerWas(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Cache = &aged{w.cache, 900 * time.Millisecond}
		cfg.Source = nil
		w.sql("n", "5")
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "n", Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}, Data: []byte("5")}}})
		var r fastopt.Registry
		n := fastopt.Declare(&r, fastopt.Spec[int]{Name: "n", Default: 1, Grace: fastopt.NoGrace})
		m := w.open(cfg, &r)
		w.cacheGetFails()
		w.cache.Cut()
		at := time.Now().Add(10*time.Second - 900*time.Millisecond)
		time.Sleep(time.Until(at) - 100*time.Millisecond)
		if n.Get() != 5 {
			t.Error("expired early")
		}
		time.Sleep(101 * time.Millisecond)
		synctest.Wait()
		if n.Get() != 1 {
			t.Errorf("read %d past its time", n.Get())
		}
		if lag := m.Stats().ExpirerWorst; lag > 50*time.Millisecond {
			t.Errorf("the expirer was %v late", lag)
		}
		if len(w.log.lines("half of their grace")) != 1 { // also without a grace: a warning first
			t.Error("no warning")
		}
	})
}

// aged is a cache whose answers are old when they come.
type aged struct {
	tiers.Cache
	by time.Duration
}

func (c *aged) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := c.Cache.Load(ctx, ns, names)
	for i := range rs {
		rs[i].AsOf = rs[i].AsOf.Add(-c.by)
	}
	return rs
}

// A nil context has ended; and an error tells whose bound it was.
func TestContextsThatEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		time.Sleep(time.Second)
		w.cache.Cut()
		settle()
		for _, c := range []context.Context{nil, canceled()} {
			if r := foo.Load(c); r.Value != "d" || !errors.Is(r.Err, context.Canceled) || errors.Is(r.Err, fastopt.ErrUnavailable) {
				t.Errorf("Load: %+v", r)
			}
			if _, err := foo.Set(c, "x"); !errors.Is(err, fastopt.ErrUnavailable) || w.source.Calls(faults.Write) != 0 {
				t.Errorf("Set: %v", err)
			}
			if err := m.Refresh(c); !errors.Is(err, context.Canceled) {
				t.Errorf("Refresh: %v", err)
			}
			for r := range foo.Watch(c) {
				if r.Value != "d" {
					t.Errorf("Watch: %+v", r)
				}
			}
		}
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		for range 10 {
			if r := foo.Load(ctx); !errors.Is(r.Err, fastopt.ErrUnavailable) {
				t.Errorf("our own bound: %+v", r)
			}
		}
	})
}

func TestTooManyNames(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "foo", "")
		if _, err := m.Load(ctx, make([]string, 100_001)...); !errors.Is(err, fastopt.ErrTooLarge) || !contains(err, "100000") {
			t.Errorf("%v", err)
		}
		if all, err := m.Load(ctx); len(all) != 0 || err != nil {
			t.Errorf("%v %v", all, err)
		}
		if all, err := m.Load(ctx, strings.Split(strings.Repeat("foo ", 1000)+"foo", " ")...); len(all) != 1 || err != nil {
			t.Errorf("%d %v", len(all), err)
		}
	})
}

// An override that does not change is told once, whatever happens beneath.
func TestWatchTellsAnOverrideOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, _ := process(w, "n", 0)
		o := &scope{TB: t}
		fastopttest.Override(o, n, 7)
		c, cancel := context.WithCancel(ctx)
		seen, done := watched(c, n)
		for i := range 10 {
			set(t, n, i)
			time.Sleep(200 * time.Millisecond)
		}
		o.end()
		synctest.Wait()
		cancel()
		<-done
		if got := seen(); len(got) != 2 || got[0].Value != 7 || got[1].Value != 9 {
			t.Errorf("told %+v", got)
		}
	})
}

// A waiter that finds that the attempt has just failed is told so.
func TestAWaiterHearsOfAnAttemptThatJustFailed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "foo", "")
		time.Sleep(time.Second)
		w.allFail()
		w.cache.Cut()
		time.Sleep(time.Second) // attempts go on by themselves
		t.Cleanup(point.Set(func(p point.Point, _ any, _ string) {
			if p == point.FlightJoin { // always a moment after the attempt
				time.Sleep(time.Millisecond)
			}
		}))
		if err := m.Refresh(ctx); !errors.Is(err, errDown) {
			t.Errorf("Refresh: %v", err)
		}
	})
}
