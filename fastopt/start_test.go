package fastopt_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Starting in the dark: fail or start degraded, say why, and recover with
// nobody's help.

// answersNothing has no call of a tier answered.
func (w *world) answersNothing(how faults.Fault) {
	for op := faults.Identity; op <= faults.PutMark; op++ {
		w.source.Inject(op, how)
		w.cache.Inject(op, how)
	}
}

var outages = map[string]faults.Fault{"refused": {Err: errDown}, "silent": {Hang: true}}

func TestRequireLoadedMakesOpenFail(t *testing.T) {
	for name, how := range outages {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("n", "7")
				w.answersNothing(how)
				cfg := w.config()
				cfg.RequireLoaded, cfg.StartTimeout = true, 2*time.Second
				var r fastopt.Registry
				n := fastopt.New(&r, "n", 1)
				start := time.Now()
				m, err := fastopt.Open(ctx, cfg, &r)
				if d := time.Since(start); m != nil || d < 2*time.Second || d > 2*time.Second+50*ms {
					t.Fatalf("%v after %v", m, d)
				}
				if !errors.Is(err, fastopt.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) && name == "refused" {
					t.Errorf("%v", err)
				}
				for _, text := range []string{"within 2s (StartTimeout)", "source, since 2000-01-01", "cache, since 2000-01-01", "1 of 1 options were never loaded"} {
					if !contains(err, text) {
						t.Errorf("%v does not say %q", err, text)
					}
				}
				if e, ok := errors.AsType[*fastopt.TierError](err); !ok || e.Tier != "cache" {
					t.Errorf("%v", e)
				}
				synctest.Wait()
				calls := w.source.Calls(faults.Load) + w.cache.Calls(faults.Load)
				time.Sleep(time.Minute)
				if now := w.source.Calls(faults.Load) + w.cache.Calls(faults.Load); now != calls {
					t.Error("something was left running")
				}
				w.heal()
				w.open(cfg, &r) // the registry was given back
				want(t, n.Inspect(), 7, fastopt.Fresh, n.Inspect().Origin)
			})
		})
	}
}

// One tier suffices: what is required is that options are loaded.
func TestRequireLoadedNeedsOneTier(t *testing.T) {
	for _, break_ := range []func(w *world){
		func(w *world) {
			for op := faults.Identity; op <= faults.PutMark; op++ {
				w.cache.Inject(op, faults.Fault{Hang: true})
			}
		},
		func(w *world) {
			for op := faults.Identity; op <= faults.PutMark; op++ {
				w.source.Inject(op, faults.Fault{Err: errDown})
			}
		},
	} {
		inWorld(t, func(t *testing.T, w *world) {
			w.sql("n", "7")
			other, _ := process(w, "n", 1) // it fills the cache
			settle()
			break_(w)
			cfg := w.config()
			cfg.RequireLoaded = true
			var r fastopt.Registry
			n := fastopt.New(&r, "n", 1)
			start := time.Now()
			m := w.open(cfg, &r)
			if d := time.Since(start); d > 2*time.Second || n.Get() != 7 || other.Get() != 7 {
				t.Errorf("%d after %v", n.Get(), d)
			}
			if err := m.Ready(); !errors.As(err, new(*fastopt.TierError)) {
				t.Errorf("Ready: %v", err)
			}
		})
	}
}

// Open waits no longer than its context, and starts all the same, whatever then
// becomes of that: options are loaded as soon as a tier answers.
func TestOpenWithAContextThatEndsEarly(t *testing.T) {
	for name, how := range outages {
		for _, early := range []time.Duration{0, 100 * ms, time.Second} {
			t.Run(name+" "+early.String(), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.sql("n", "7")
					w.answersNothing(how)
					c, cancel := context.WithTimeout(ctx, early)
					defer cancel()
					var r fastopt.Registry
					n := fastopt.New(&r, "n", 1)
					took(t, early, func() {
						m, err := fastopt.Open(c, w.config(), &r)
						must(t, err)
						t.Cleanup(func() { must(t, m.Close()) })
					})
					if len(w.log.lines("opened without a complete load", "before the context ended")) != 1 {
						t.Errorf("%q", w.log.lines(""))
					}
					time.Sleep(3 * time.Second)
					want(t, n.Inspect(), 1, fastopt.Unloaded, fastopt.Default)
					w.heal()
					time.Sleep(2 * time.Second)
					if r := n.Inspect(); r.Value != 7 || r.State != fastopt.Fresh {
						t.Errorf("%+v", r)
					}
				})
			})
		}
	}
}

// … and if it is required to be loaded, that is the error.
func TestOpenThatIsCanceledSaysSo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.answersNothing(faults.Fault{Hang: true})
		cfg := w.config()
		cfg.RequireLoaded = true
		var r fastopt.Registry
		fastopt.New(&r, "n", 1)
		c, cancel := context.WithCancel(ctx)
		time.AfterFunc(700*ms, cancel)
		took(t, 700*ms, func() {
			_, err := fastopt.Open(c, cfg, &r)
			if !errors.Is(err, fastopt.ErrUnavailable) || !errors.Is(err, context.Canceled) || !contains(err, "before the context ended") {
				t.Errorf("%v", err)
			}
		})
	})
}

// Ready tells per tier what is wrong, and since when.
func TestReadyTellsOfEachTier(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		must(t, m.Ready())
		time.Sleep(time.Minute)
		w.sourceFails()
		w.cacheGetFails()
		w.cache.Cut()
		failed := time.Now()
		foo.Load(ctx)
		time.Sleep(20 * time.Second)
		seen := map[string]int{}
		for _, err := range m.Ready().(interface{ Unwrap() []error }).Unwrap() {
			e, ok := err.(*fastopt.TierError)
			if !ok || !errors.Is(e, errDown) || e.Since.Before(failed) || e.Since.After(failed.Add(2*time.Second)) || !contains(e, e.Tier+", since 2000-01-01T00:01:0") {
				t.Errorf("%+v", err)
				continue
			}
			seen[e.Tier]++
		}
		if len(seen) != 2 || seen["cache"] != 1 || seen["source"] != 1 {
			t.Errorf("%v", seen)
		}
		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		must(t, m.Ready())
	})
}

// A cache that is another database's is told of, too, since it was found so.
func TestReadyTellsOfACacheThatIsRefused(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "foo", "")
		time.Sleep(10 * time.Second)
		stop := w.feeds(tiers.Identity{Lineage: "another", System: "s", Timeline: 1, Database: "d"})
		defer stop()
		found := time.Now()
		time.Sleep(20 * time.Second)
		e, ok := errors.AsType[*fastopt.TierError](m.Ready())
		if !ok || e.Tier != "cache" || !errors.Is(e, tiers.ErrSetup) || e.Since.Before(found) || e.Since.After(found.Add(1100*ms)) {
			t.Errorf("%+v", e)
		}
	})
}
