package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// How long a Load waits: for as long as the user chose if it has a stale value,
// else for LoadTimeout; and what it waited for goes on.

const ms = time.Millisecond

// slow has the cache say nothing, and the source answer after 150 ms more: 200
// after the request.
func (w *world) slow() {
	w.cache.Inject(faults.Load, faults.Fault{Hang: true})
	w.source.Inject(faults.Load, faults.Fault{Delay: 150 * ms})
}

// unpushed ends the freshness of everything, without a push, nor a reload soon.
func (w *world) unpushed() {
	w.cache.Cut()
	synctest.Wait()
}

// took fails the test unless f takes exactly d.
func took(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	if f(); time.Since(start) != d {
		t.Errorf("took %v, not %v", time.Since(start), d)
	}
}

func TestALoadWithAStaleValueWaitsAsLongAsItWasTold(t *testing.T) {
	for _, c := range []struct {
		config, spec, d time.Duration
		says            string
	}{
		{0, 0, 50 * ms, "within 50ms (WaitStale)"},
		{100 * ms, 0, 100 * ms, "within 100ms (WaitStale)"},
		{100 * ms, 120 * ms, 120 * ms, "within 120ms (WaitStale)"},
		{fastopt.NoWait, 0, 0, "NoWait"},
		{fastopt.NoWait, 30 * ms, 30 * ms, "within 30ms (WaitStale)"},
		{30 * ms, fastopt.NoWait, 0, "NoWait"},
		{time.Minute, 0, 200 * ms, ""}, // it is answered
	} {
		t.Run(fmt.Sprint(c.config, c.spec), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("foo", `"v1"`)
				cfg := w.config()
				cfg.WaitStale = c.config
				var r fastopt.Registry
				foo := fastopt.Declare(&r, fastopt.Spec[string]{Name: "foo", WaitStale: c.spec})
				w.open(cfg, &r)
				w.sql("foo", `"v2"`)
				w.unpushed()
				w.slow()
				var got fastopt.Reading[string]
				took(t, c.d, func() { got = foo.Load(ctx) })
				if c.says == "" {
					want(t, got, "v2", fastopt.Fresh, fastopt.Source)
					return
				}
				want(t, got, "v1", fastopt.Stale, fastopt.Source)
				if !errors.Is(got.Err, fastopt.ErrUnavailable) || !contains(got.Err, c.says) || !contains(got.Err, `"foo"`) {
					t.Errorf("%v", got.Err)
				}
				time.Sleep(200*ms - c.d)
				synctest.Wait() // the request went on, and its answer was kept
				want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Source)
				if n := w.source.Calls(faults.Load); n != 2 {
					t.Errorf("%d requests", n)
				}
			})
		})
	}
}

// LoadTimeout bounds WaitStale, too.
func TestNoLoadWaitsLongerThanLoadTimeout(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.WaitStale, cfg.LoadTimeout = time.Minute, 170*ms
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		w.open(cfg, &r)
		w.unpushed()
		w.slow()
		took(t, 170*ms, func() {
			if r := foo.Load(ctx); r.State != fastopt.Stale || !contains(r.Err, "170ms") {
				t.Errorf("%+v", r)
			}
		})
	})
}

// I13: without a value to fall back on a Load waits for LoadTimeout, not less,
// whatever it would wait with one, and not more, whatever the tiers do. A
// caller's context only shortens that.
func TestI13AColdLoadEndsAtLoadTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{300 * ms, 220 * ms} {
		inWorld(t, func(t *testing.T, w *world) {
			cfg := w.config()
			cfg.LoadTimeout, cfg.WaitStale = timeout, fastopt.NoWait
			var r fastopt.Registry
			f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", Default: 1, MaxEntries: 1000})
			w.open(cfg, &r)
			w.cache.Inject(faults.Load, faults.Fault{Hang: true})
			w.source.Inject(faults.Load, faults.Fault{Hang: true})
			for i, c := range []struct{ caller, d time.Duration }{{time.Hour, timeout}, {40 * ms, 40 * ms}} {
				c1, cancel := context.WithTimeout(ctx, c.caller)
				took(t, c.d, func() {
					r := f.Load(c1, fmt.Sprint(i))
					want(t, r, 1, fastopt.Unloaded, fastopt.Default)
					if ours := c.caller > timeout; errors.Is(r.Err, fastopt.ErrUnavailable) != ours || !ours && !errors.Is(r.Err, context.DeadlineExceeded) {
						t.Errorf("%v", r.Err)
					}
				})
				cancel()
			}
		})
	}
}

// What expired is cold, too; what is kept while the row is invalid is stale.
func TestWhatThereIsToFallBackOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("kept", "5")
		var r fastopt.Registry
		expired := fastopt.Declare(&r, fastopt.Spec[int]{Name: "expired", Default: 1, Grace: fastopt.NoGrace})
		kept := fastopt.New(&r, "kept", 1)
		m := w.open(w.config(), &r)
		w.sql("kept", `"five"`)
		w.store.Flush()
		time.Sleep(time.Second)
		want(t, kept.Inspect(), 5, fastopt.Stale, fastopt.Source)
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		w.unpushed()
		took(t, 50*ms, func() { want(t, kept.Load(ctx), 5, fastopt.Stale, fastopt.Source) })
		w.heal()
		w.cache.Reconnect()
		time.Sleep(3 * time.Second)
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		fastopt.Skew(m, time.Hour, time.Hour)
		for expired.Inspect().State != fastopt.Expired {
			time.Sleep(ms)
		}
		took(t, 300*ms, func() { want(t, expired.Load(ctx), 1, fastopt.Expired, fastopt.Default) })
	})
	inWorld(t, func(t *testing.T, w *world) { // invalid from the first, and no good value known
		w.sql("n", `"five"`)
		n, _ := process(w, "n", 1)
		w.unpushed()
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		took(t, 300*ms, func() { want(t, n.Load(ctx), 1, fastopt.Stale, fastopt.Default) })
	})
}

// In a batch each key has its own patience, and none is lent to another.
func TestABatchWaitsForItsMostPatientKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		fastopt.Declare(&r, fastopt.Spec[int]{Name: "hasty", WaitStale: fastopt.NoWait})
		fastopt.Declare(&r, fastopt.Spec[int]{Name: "calm", WaitStale: 120 * ms})
		fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
		m := w.open(w.config(), &r)
		stale := func(names ...string) map[string]fastopt.Reading[any] {
			all, err := m.Load(ctx, names...)
			must(t, err)
			for _, r := range all {
				if r.State == fastopt.Fresh || r.Err == nil {
					t.Errorf("%+v", r)
				}
			}
			return all
		}
		w.cache.Inject(faults.Load, faults.Fault{Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		w.unpushed()
		took(t, 0, func() { stale("hasty") })
		took(t, 120*ms, func() { stale("hasty", "calm") })
		took(t, 300*ms, func() { stale("hasty", "calm", "f/x") })
		w.heal()
		time.Sleep(3 * time.Second)
		w.unpushed()
		w.cache.Reconnect()
		w.cache.Cut()
		synctest.Wait()
		w.slow()
		took(t, 0, func() { stale("hasty") }) // its flight is 10 ms ahead
		time.Sleep(10 * ms)
		took(t, 200*ms, func() { // what lands before the batch ends is fresh for all
			all, err := m.Load(ctx, "hasty", "f/y")
			must(t, err)
			for name, r := range all {
				if r.State != fastopt.Fresh || r.Err != nil {
					t.Errorf("%s: %+v", name, r)
				}
			}
		})
	})
}

// A member of a family has the patience of its family.
func TestAFamilyHasAPatience(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", WaitStale: 70 * ms, MaxEntries: 1000})
		w.open(w.config(), &r)
		f.Load(ctx, "x")
		time.Sleep(time.Second) // its fill is pushed
		w.unpushed()
		w.slow()
		took(t, 70*ms, func() { want(t, f.Load(ctx, "x"), 0, fastopt.Stale, fastopt.Default) })
	})
}

// I5: a Load that begins after a push gives what was pushed, or Stale and why.
func TestI5ALoadAfterAPushIsFreshOrSaysSo(t *testing.T) {
	for delay, fresh := range map[time.Duration]bool{0: true, 40 * ms: true, 50*ms + 1: false, 100 * ms: false} {
		t.Run(delay.String(), func(t *testing.T) {
			scriptedWorld(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
				set(t, foo, "v1")
				time.Sleep(time.Second)
				w.poison("foo", `"v2"`, tiers.Stamp{Epoch: 1, Revision: 90})
				s.after = delay
				s.sink(tiers.Event{Kind: tiers.Changed, Name: "foo"})
				r := foo.Load(ctx)
				if fresh {
					want(t, r, "v2", fastopt.Fresh, fastopt.Cache)
				} else if want(t, r, "v1", fastopt.Stale, fastopt.Write); !errors.Is(r.Err, fastopt.ErrUnavailable) {
					t.Errorf("%v", r.Err)
				}
				time.Sleep(time.Second)
				want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
			})
		})
	}
}

// Refresh wants fresh answers, however impatient Loads are.
func TestRefreshWaitsForFreshAnswers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.WaitStale = fastopt.NoWait
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		m := w.open(cfg, &r)
		w.unpushed()
		w.slow()
		took(t, 200*ms, func() { must(t, m.Refresh(ctx)) })
		want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default)
	})
}

// Impatience makes no requests: while attempts fail, Loads send none of their own.
func TestAnImpatientLoadKeepsToTheBackOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.WaitStale = fastopt.NoWait
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		w.open(cfg, &r)
		w.allFail()
		w.cache.Cut()
		time.Sleep(2 * time.Second)
		calls := w.source.Calls(faults.Load)
		for range 1000 {
			took(t, 0, func() {
				if r := foo.Load(ctx); r.State != fastopt.Stale || !errors.Is(r.Err, errDown) {
					t.Fatalf("%+v", r)
				}
			})
			time.Sleep(ms)
		}
		if n := w.source.Calls(faults.Load) - calls; n > 12 {
			t.Errorf("%d requests in a second", n)
		}
	})
}

// … but a patient one waits for the next attempt, which may be answered.
func TestAPatientLoadWaitsForTheNextAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
		w.open(w.config(), &r)
		w.sql("f/x", "7")
		w.allFail()
		took(t, 0, func() {
			if r := f.Load(ctx, "x"); r.State != fastopt.Unloaded || !errors.Is(r.Err, errDown) {
				t.Errorf("%+v", r)
			}
		})
		w.heal()
		start := time.Now()
		want(t, f.Load(ctx, "x"), 7, fastopt.Fresh, fastopt.Source)
		if d := time.Since(start); d <= 0 || d > 50*ms {
			t.Errorf("took %v", d)
		}
	})
}

// Close ends the wait of a Load at once.
func TestCloseEndsTheWaitOfALoad(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
		m := w.open(w.config(), &r)
		write := make(chan error)
		w.source.Inject(faults.Write, faults.Fault{Delay: 500 * ms})
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		go func() { write <- second(f.Set(ctx, "x", 1)) }() // which Close waits for
		done := make(chan fastopt.Reading[int])
		go func() { done <- f.Load(ctx, "y") }()
		time.Sleep(20 * ms)
		go m.Close()
		took(t, 0, func() {
			if r := <-done; !errors.Is(r.Err, fastopt.ErrClosed) {
				t.Errorf("%+v", r)
			}
		})
		must(t, <-write)
		must(t, m.Close())
	})
}
