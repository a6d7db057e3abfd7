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
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// The races that the contract names, entered on purpose through the points of
// the library: the race detector does not see a wrong order of atomics.

// hookOnce sets a hook that runs f the first time the point is passed for name
// by owner (nil: by anyone).
func hookOnce(t *testing.T, p point.Point, owner any, name string, f func()) {
	t.Helper()
	var done atomic.Bool
	t.Cleanup(point.Set(func(at point.Point, by any, of string) {
		if at == p && of == name && (owner == nil || owner == by) && done.CompareAndSwap(false, true) {
			f()
		}
	}))
}

// R1: a slow fill must not undo an own write.
func TestR1ASlowFillDoesNotUndoAWrite(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		settle()
		m.Refresh(ctx)
		hookOnce(t, point.FlightSettle, m, "foo", func() { set(t, foo, "v2") }) // v1 was read, and is not yet installed
		must(t, m.Refresh(ctx))
		if v := foo.Get(); v != "v2" {
			t.Errorf("read %q after Set(v2) was acknowledged", v)
		}
	})
}

// The same window, later: between the decision and the swap.
func TestR1AnInstallThatLosesTheSwapDecidesAnew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		other, _ := process(w, "foo", "")
		w.cache.DropEvents(true)
		set(t, other, "v1")
		hookOnce(t, point.InstallSwap, m, "foo", func() { set(t, foo, "v2") })
		must(t, m.Refresh(ctx))
		if v := foo.Get(); v != "v2" {
			t.Errorf("read %q after Set(v2) was acknowledged", v)
		}
	})
}

// What a write commits may reach the writer by push, another process having filled
// the cache, before the write has returned; its own fill is then no news, and pushes
// nothing. The key must be read again all the same: the write ended its freshness.
func TestAWriteOvertakenByItsOwnPushIsFreshSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		time.Sleep(200 * time.Millisecond)
		hookOnce(t, point.WriteCommit, m, "foo", func() {
			rec := w.rows.Load(ctx, "default", []string{"foo"})[0].Record
			must(t, w.store.Fill(ctx, "default", []tiers.Fill{{Record: rec}})[0].Err)
			settle() // pushed, and read
			want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
		})
		set(t, foo, "v2")
		time.Sleep(200 * time.Millisecond)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
	})
}

// R5: an answer on its way when the push arrives is not fresh. It may be shown,
// being newer than what is there, until the reload that the push started lands.
func TestR5AnAnswerFromBeforeAPushIsNeverFresh(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		other, _ := process(w, "foo", "")
		set(t, other, "v0")
		time.Sleep(200 * time.Millisecond)
		silently(w, func() { set(t, other, "v1") })
		hookOnce(t, point.FlightSettle, m, "foo", func() { // v1 is on its way
			w.cache.Inject(faults.Load, faults.Fault{Delay: 30 * time.Millisecond})
			set(t, other, "v2")
			time.Sleep(time.Millisecond) // and the push overtakes it
		})
		must(t, m.Refresh(ctx))
		if r := foo.Inspect(); r.Value != "v1" || r.State != fastopt.Stale {
			t.Errorf("after the push for v2: %+v", r)
		}
		w.heal()
		time.Sleep(200 * time.Millisecond)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
	})
}

// R7, I5: who comes after a push does not join a flight from before it.
func TestR7ALoadAfterThePushDoesNotJoinAnOlderFlight(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		other, _ := process(w, "foo", "")
		set(t, other, "v1")
		time.Sleep(200 * time.Millisecond)
		hookOnce(t, point.FlightSettle, m, "foo", func() {
			set(t, other, "v2")
			time.Sleep(time.Millisecond) // the push is handled
			if r := foo.Load(ctx); r.Value != "v2" || r.State != fastopt.Fresh {
				t.Errorf("a Load that started after the push gave %+v", r)
			}
		})
		must(t, m.Refresh(ctx))
		if v := foo.Get(); v != "v2" {
			t.Errorf("the older flight put back %q", v)
		}
	})
}

// A push during a flight must not get lost between two settings of the due time.
func TestARevalidationDuringAFlightIsNotForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		time.Sleep(200 * time.Millisecond)
		hookOnce(t, point.FlightSettle, m, "foo", func() {
			w.cache.Cut()
			w.cache.Reconnect()
			time.Sleep(time.Millisecond)
		})
		must(t, m.Refresh(ctx))
		time.Sleep(1500 * time.Millisecond)
		if r := foo.Inspect(); r.State != fastopt.Fresh || r.Age > 1500*time.Millisecond {
			t.Errorf("not revalidated within a second: %+v", r)
		}
	})
}

// R16, I5b: what was missed while the channel was cut is read once it is back.
func TestR16AMissedPushIsFoundAfterReconnect(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine, m := process(w, "foo", "")
		theirs, _ := process(w, "foo", "")
		set(t, theirs, "v1")
		time.Sleep(200 * time.Millisecond)
		w.cache.Cut()
		settle()
		if mine.Inspect().State == fastopt.Fresh {
			t.Error("fresh, though pushes may be lost")
		}
		if m.Stats().PushesUp {
			t.Error("PushesUp with a cut channel")
		}
		set(t, theirs, "v2")
		w.cache.Reconnect()
		time.Sleep(1200 * time.Millisecond)
		want(t, mine.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
		if n := len(w.log.lines("pushes may be lost")); n != 2 { // one per process
			t.Errorf("%d log lines", n)
		}
	})
}

// R52: an equal answer brings back what expired, and is not only said to be fresh.
func TestR52AnEqualAnswerReinstallsOverAnExpiredEntry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		set(t, foo, "v")
		w.allFail()
		time.Sleep(71 * time.Second)
		want(t, foo.Inspect(), "d", fastopt.Expired, fastopt.Default)
		w.heal()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		if foo.Get() != "v" {
			t.Error("Get stays on the default")
		}
		if s := m.Stats(); s.Expiries != 1 || s.ExpirerWorst > 50*time.Millisecond {
			t.Errorf("stats %+v", s)
		}
		for _, line := range []string{"half of their grace", "fell to their defaults", "no option is expired"} {
			if n := len(w.log.lines(line)); n != 1 {
				t.Errorf("%d lines %q", n, line)
			}
		}
	})
}

// R53: a renewal that comes between the expirer's look and its claim wins; one
// that comes after the claim publishes the value anew.
func TestR53ARenewalIsNotLostToTheExpirer(t *testing.T) {
	for _, p := range []point.Point{point.ExpireClaim, point.ExpireSwap} {
		t.Run(string(p), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				foo, m := process(w, "foo", "d")
				set(t, foo, "v")
				w.cache.Cut()           // else heartbeats renew it
				time.Sleep(time.Second) // renewals in place, from here on
				want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Write)
				last := time.Now().Add(-foo.Inspect().Age)
				w.allFail()
				entered := false
				hookOnce(t, p, m, "foo", func() {
					entered = true
					w.heal()
					time.Sleep(300 * time.Millisecond) // the next attempt renews it
				})
				time.Sleep(70*time.Second + 400*time.Millisecond - time.Since(last))
				synctest.Wait()
				if r := foo.Inspect(); !entered || r.Value != "v" || r.State != fastopt.Fresh || foo.Get() != "v" {
					t.Errorf("after the renewal: %+v, Get %q (entered: %v)", r, foo.Get(), entered)
				}
			})
		})
	}
}

// I9: a value written and deleted between two answers "absent" cannot come back.
func TestADeletedValueDoesNotComeBackOverALaterAbsent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		other, _ := process(w, "foo", "d")
		must(t, m.Refresh(ctx))
		w.cache.DropEvents(true)
		set(t, other, "v")
		w.store.Flush()
		hookOnce(t, point.FlightSettle, m, "foo", func() { // v is on its way
			_, err := other.Delete(ctx)
			must(t, err)
			must(t, m.Refresh(ctx)) // absent, as of now
		})
		must(t, m.Refresh(ctx))
		if v := foo.Get(); v != "d" {
			t.Errorf("read %q after its delete was seen", v)
		}
	})
}

// R31: a caller that leaves takes nothing with it.
func TestR31ACallerThatLeavesHarmsNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		other, _ := process(w, "foo", "d")
		set(t, other, "v")
		settle()
		w.cache.Inject(faults.Load, faults.Fault{Delay: 30 * time.Millisecond})
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "d")
		opened := make(chan *fastopt.Manager)
		go func() { opened <- w.open(w.config(), &r) }()
		m := <-opened
		m.Refresh(canceled())
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		impatient := make(chan fastopt.Reading[string])
		go func() { impatient <- foo.Load(short) }()
		patient := foo.Load(ctx)
		if r := <-impatient; !errors.Is(r.Err, context.DeadlineExceeded) {
			t.Errorf("the impatient one got %+v", r)
		}
		want(t, patient, "v", fastopt.Fresh, fastopt.Cache)
	})
}

func canceled() context.Context {
	c, cancel := context.WithCancel(ctx)
	cancel()
	return c
}

// I7, I8: any number of callers make one request.
func TestConcurrentLoadsShareOneRequest(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		set(t, foo, "v")
		settle()
		must(t, m.Refresh(ctx))
		settle()
		w.cache.Inject(faults.Load, faults.Fault{Delay: 20 * time.Millisecond, Err: errDown})
		w.source.Inject(faults.Load, faults.Fault{Delay: 20 * time.Millisecond})
		c0, s0 := w.cache.Calls(faults.Load), w.source.Calls(faults.Load)
		w.cache.Cut() // no longer fresh
		settle()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if r := foo.Load(ctx); r.Value != "v" || r.State != fastopt.Fresh {
					t.Errorf("%+v", r)
				}
			})
		}
		wg.Wait()
		if c, s := w.cache.Calls(faults.Load)-c0, w.source.Calls(faults.Load)-s0; c != 1 || s != 1 {
			t.Errorf("%d requests to the cache, %d to the source", c, s)
		}
	})
}

// D8: any number of options cost one request per tier.
func TestABatchCostsOneRequestPerTier(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		var names []string
		for i := range 200 {
			names = append(names, fastopt.New(&r, fmt.Sprintf("option.%d", i), i).Name())
		}
		m := w.open(w.config(), &r)
		if c, s, f := w.cache.Calls(faults.Load), w.source.Calls(faults.Load), w.cache.Calls(faults.Fill); s != 1 || f != 1 {
			t.Errorf("opening cost %d loads of the cache (those that our own fill pushed included), %d of the source, %d fills", c, s, f)
		}
		time.Sleep(5 * time.Second)
		w.store.Flush()
		w.cache.Cut()
		settle()
		c0, s0 := w.cache.Calls(faults.Load), w.source.Calls(faults.Load)
		got, err := m.Load(ctx, append(names, names...)...)
		must(t, err)
		if len(got) != len(names) {
			t.Errorf("%d readings", len(got))
		}
		if c, s := w.cache.Calls(faults.Load)-c0, w.source.Calls(faults.Load)-s0; c != 1 || s != 1 {
			t.Errorf("%d requests to the cache, %d to the source", c, s)
		}
	})
}

// R50, I23: no lock is held while user code runs.
func TestR50AWatcherMaySetWhatItWatches(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, _ := process(w, "n", 0)
		for r := range n.Watch(ctx) {
			if r.Value == 5 {
				break
			}
			set(t, n, r.Value+1)
		}
		if n.Get() != 5 {
			t.Errorf("got %d", n.Get())
		}
	})
}

// D6: a write of unknown outcome must not cost the last good value while Redis
// answers, however long the source is silent.
func TestADoubtfulKeyLivesOnFromTheCache(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		set(t, foo, "v1")
		time.Sleep(200 * time.Millisecond)
		w.source.Inject(faults.Write, faults.Fault{Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		if _, err := foo.Set(ctx, "v2"); !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		for range 300 {
			time.Sleep(time.Second)
			if r := foo.Inspect(); r.Value != "v1" || r.State != fastopt.Stale || r.Age > 10*time.Second {
				t.Fatalf("%+v", r)
			}
		}
		if foo.Get() != "v1" {
			t.Error("Get fell to the default")
		}
		w.heal()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v1", fastopt.Fresh, fastopt.Write)
		time.Sleep(time.Second) // it is read once more
		if n := m.Stats().Dirty; n != 0 {
			t.Errorf("%d dirty", n)
		}
	})
}

// D6: nor must a write that the cache did not get cost what it wrote, though the
// cache answers with something older.
func TestAWriteTheCacheDidNotGetLivesOnWhileTheSourceIsSilent(t *testing.T) {
	for _, before := range []string{`"v1"`, "absent"} {
		t.Run(before, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				foo, _ := process(w, "foo", "d")
				if before != "absent" {
					set(t, foo, "v1")
				}
				time.Sleep(200 * time.Millisecond)
				if w.cached("foo") != before {
					t.Fatalf("the cache holds %s", w.cached("foo"))
				}
				w.cacheSetFails()
				w.source.Inject(faults.Load, faults.Fault{Hang: true})
				if set(t, foo, "v2").Cached {
					t.Fatal("cached")
				}
				w.cache.Heal()
				for i := range 300 {
					time.Sleep(time.Second)
					r := foo.Inspect()
					if late := i > 10; r.Value != "v2" || r.Age > 11*time.Second || late && (r.State != fastopt.Stale || r.Err == nil) {
						t.Fatalf("after %d s: %+v", i, r)
					}
				}
				if foo.Get() != "v2" {
					t.Errorf("Get fell to %q", foo.Get())
				}
				w.heal()
				time.Sleep(2 * time.Second)
				want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Write)
				if w.cached("foo") != `"v2"` {
					t.Errorf("the cache holds %s", w.cached("foo"))
				}
			})
		})
	}
}

// But what is over is over, though the expirer be late: readers may have been told so.
func TestWhatHasExpiredDoesNotOutliveAnOlderAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		set(t, foo, "v1")
		time.Sleep(200 * time.Millisecond)
		w.cacheSetFails()
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		set(t, foo, "v2")
		w.cacheGetFails()
		hookOnce(t, point.ExpireClaim, m, "foo", func() {
			w.cache.Heal()
			time.Sleep(5 * time.Second)
			want(t, foo.Inspect(), "d", fastopt.Expired, fastopt.Default)
		})
		time.Sleep(5 * time.Minute)
		if foo.Get() != "d" {
			t.Errorf("reads %q again", foo.Get())
		}
	})
}

// The same if the cache was set back, and it is no write of this process.
func TestWhatTheCacheHasLostLivesOnWhileTheSourceIsSilent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "d")
		other, _ := process(w, "foo", "d")
		set(t, other, "v1")
		old := w.store.Load(ctx, "default", []string{"foo"})[0].Record
		set(t, other, "v2")
		time.Sleep(200 * time.Millisecond)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		w.cache.Cut()
		w.store.Flush()
		must(t, w.store.Fill(ctx, "default", []tiers.Fill{{Record: old}})[0].Err)
		w.cache.Reconnect()
		for i := range 300 {
			time.Sleep(time.Second)
			if r := foo.Inspect(); r.Value != "v2" || r.State != fastopt.Stale || r.Age > 11*time.Second {
				t.Fatalf("after %d s: %+v", i, r)
			}
		}
	})
}

// R25: whoever sees the cache behind what it knows has it filled from the
// source, though whoever should have done so is gone.
func TestR25WhoSeesTheCacheBehindRepairsIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine, _ := process(w, "foo", "")
		theirs, m := process(w, "foo", "")
		set(t, theirs, "v1")
		time.Sleep(200 * time.Millisecond)
		w.cacheSetFails()
		w.cacheGetFails()
		w.cache.Cut()
		set(t, theirs, "v2")
		must(t, m.Close()) // the writer is gone
		time.Sleep(10 * time.Second)
		want(t, mine.Inspect(), "v2", fastopt.Fresh, fastopt.Source)
		w.heal()
		w.cache.Reconnect()
		time.Sleep(10 * time.Second)
		want(t, mine.Inspect(), "v2", fastopt.Fresh, fastopt.Source)
		if w.cached("foo") != `"v2"` {
			t.Errorf("the cache still holds %q", w.cached("foo"))
		}
	})
}

// A write of unknown outcome may be applied after the source was read again:
// the key is read once more, and the cache is right without anybody's help.
func TestR33AWriteThatArrivesLateIsStillFound(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		theirs, _ := process(w, "foo", "d")
		set(t, foo, "v1")
		time.Sleep(200 * time.Millisecond)
		w.source.Inject(faults.Write, faults.Fault{Hang: true})
		if _, err := foo.Set(ctx, "v2"); !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		want(t, foo.Inspect(), "v1", fastopt.Fresh, fastopt.Write) // read again: not applied, it seems
		w.sql("foo", `"v2"`)
		time.Sleep(1500 * time.Millisecond)
		want(t, theirs.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Source)
		if n := m.Stats().Dirty; n != 0 {
			t.Errorf("%d dirty", n)
		}
	})
}

// What was confirmed by the source alone is not announced by the cache when it
// changes: such a key is loaded through the cache soon, not only after its TTL.
func TestAKeyThatTheCacheDoesNotAnnounceIsLookedAtAgain(t *testing.T) {
	for _, how := range []string{"a write whose fill failed", "a load that the cache did not answer"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				theirs, _ := process(w, "foo", "")
				tracked := &tracking{Cache: w.cache, loaded: map[string]bool{}}
				cfg := w.config()
				cfg.Cache = tracked
				var r fastopt.Registry
				mine := fastopt.New(&r, "foo", "")
				w.open(cfg, &r)
				time.Sleep(time.Second)
				if how[0] == 'a' && how[2] == 'w' {
					w.cacheSetFails()
					set(t, mine, "v1")
				} else {
					w.cacheGetFails()
					set(t, theirs, "v1")
					time.Sleep(10 * time.Second)
				}
				w.heal()
				time.Sleep(2 * time.Second)
				want(t, mine.Inspect(), "v1", fastopt.Fresh, mine.Inspect().Origin)
				set(t, theirs, "v2")
				settle()
				want(t, mine.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
			})
		})
	}
}

// A tracking cache announces, as Redis does, only changes of what was loaded
// through it since it announced the last one.
type tracking struct {
	tiers.Cache
	mu     sync.Mutex
	loaded map[string]bool
}

func (c *tracking) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := c.Cache.Load(ctx, ns, names)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rs {
		if r.Err == nil || errors.Is(r.Err, tiers.ErrMiss) {
			c.loaded[r.Name] = true
		}
	}
	return rs
}

func (c *tracking) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	return c.Cache.Watch(ctx, ns, func(e tiers.Event) {
		c.mu.Lock()
		known := c.loaded[e.Name]
		delete(c.loaded, e.Name)
		c.mu.Unlock()
		if e.Kind != tiers.Changed || known {
			sink(e)
		}
	})
}

// I9: after a repair the cache holds a stamp that no late fill of what was
// deleted since can beat.
func TestARepairOfADeleteStopsALateFill(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		set(t, foo, "v1")
		_, err := foo.Delete(ctx)
		must(t, err)
		settle()
		w.cacheSetFails()
		late := tiers.Record{Name: "foo", Kind: tiers.Value, Data: []byte(`"v2"`), Stamp: set(t, foo, "v2").Stamp}
		_, err = foo.Delete(ctx)
		must(t, err)
		w.heal()
		time.Sleep(2 * time.Second)
		if n := m.Stats().Dirty; n != 0 {
			t.Fatalf("%d dirty", n)
		}
		if r := w.store.Fill(ctx, "default", []tiers.Fill{{Record: late}})[0]; r.Stored {
			t.Error("the cache took a value that is deleted")
		}
	})
}
