package fastopt_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// The window between a Load that finds its key not confirmed, and its joining a
// flight: what is confirmed in it is not waited for any more.

func TestALoadWhoseKeyIsConfirmedMeanwhileWaitsForNothing(t *testing.T) {
	for _, all := range [][]string{{"f/x"}, {"f/x", "f/y", "f/z"}} {
		inWorld(t, func(t *testing.T, w *world) {
			var r fastopt.Registry
			f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[string]{Prefix: "f", MaxEntries: 10})
			m := w.open(w.config(), &r)
			hookOnce(t, point.FlightJoin, m, "f/x", func() { want(t, f.Load(ctx, "x"), "", fastopt.Fresh, fastopt.Default) })
			took(t, 0, func() {
				readings, err := m.Load(ctx, all...)
				must(t, err)
				for _, name := range all {
					if got := readings[name]; got.State != fastopt.Fresh || got.Err != nil {
						t.Errorf("%s: %+v", name, got)
					}
				}
			})
		})
	}
}

// R7: two flights of one key wait for the source, which is asked once for both.
// Who waits for the older hears of that answer when the others do.
func TestR7WhoWaitsForAnOvertakenFlightIsToldOfItsSuccessors(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg, c := w.config(), &tardy{Cache: w.asCache}
		cfg.Cache, cfg.WaitStale, cfg.OptionBudget = c, time.Second, fastopt.Budget{Rate: 1000, Burst: 1000, AtOnce: 1}
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", 1)
		fastopt.New(&r, "bar", 1)
		w.open(cfg, &r)
		time.Sleep(time.Second)
		push := func(name string, revision uint64) {
			w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: name, Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 1, Revision: revision}}}})
			settle()
		}
		w.source.Inject(faults.Load, faults.Fault{Delay: 100 * time.Millisecond})
		c.fails.Store(true)
		push("bar", 100) // has the one place before the source
		push("foo", 101)
		var waits sync.WaitGroup
		load := func() {
			start := time.Now()
			if r := foo.Load(ctx); r.Err != nil || time.Since(start) > 200*time.Millisecond {
				t.Errorf("after %v: %+v", time.Since(start), r)
			}
		}
		waits.Go(load) // first of the flight that the push started
		waits.Go(load)
		settle()
		push("foo", 102)
		waits.Go(load) // first of the next
		waits.Wait()
	})
}

// A manager that is closed in that window has the last word, though an attempt has
// failed in it, too.
func TestALoadThatCloseOvertakesSaysSo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		w.allFail()
		w.unpushed()
		hookOnce(t, point.FlightJoin, m, "foo", func() {
			time.Sleep(200 * ms) // an attempt fails, and the next is not due
			must(t, m.Close())
		})
		if r := foo.Load(ctx); !errors.Is(r.Err, fastopt.ErrClosed) {
			t.Errorf("%+v", r)
		}
	})
}
