package fastopt_test

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// What a process does not know of the mark yet, it does not assume; and what
// neither a row nor a stamp tells of is found all the same.

// A process that started under the mark of a copy does not hold its own database
// to the copy's epoch.
func TestAStartUnderACopysMarkIsCheckedLater(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"mine"`)
		copied := production
		copied.System, copied.Epoch = "staging", 5
		stop := w.feeds(copied)
		defer stop()
		w.poison("foo", `"theirs"`, tiers.Stamp{Epoch: 5, Revision: 70})
		w.sourceFails()
		w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
		foo, m := process(w, "foo", "")
		want(t, foo.Inspect(), "theirs", fastopt.Fresh, fastopt.Cache)
		w.heal()
		time.Sleep(12 * time.Second)
		want(t, foo.Inspect(), "mine", fastopt.Fresh, fastopt.Source)
		if e := m.Stats().Epoch; e != 1 {
			t.Errorf("epoch %d, of the copy", e)
		}
		if w.cached("foo") != `"theirs"` {
			t.Errorf("the copy's cache holds %q", w.cached("foo"))
		}
	})
}

// Whose a cache is whose mark could not be read yet, nobody knows: it is offered
// nothing before.
func TestNothingIsOfferedBeforeTheMarkWasRead(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		other := production
		other.Lineage, other.Epoch = "another", 1
		w.putMark(tiers.Mark{Identity: other, Fed: 7})
		w.cache.Inject(faults.Mark, faults.Fault{Err: errDown})
		foo, m := process(w, "foo", "")
		if rc := set(t, foo, "v"); rc.Cached || w.cached("foo") != "" {
			t.Errorf("cached: %v, the other's cache holds %q", rc.Cached, w.cached("foo"))
		}
		w.heal()
		time.Sleep(3 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
		if s := m.Stats(); w.cached("foo") != "" || s.FillsWithheld == 0 {
			t.Errorf("the other's cache holds %q, %d withheld", w.cached("foo"), s.FillsWithheld)
		}
	})
}

// R26: what was read from a cache without a mark is not fresh once a later
// history is known, though it is the first that is.
func TestR26TheFirstEpochEndsWhatWasReadBefore(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.poison("foo", `"lost"`, tiers.Stamp{Epoch: 1, Revision: 9})
		w.poison("bar", `"lost"`, tiers.Stamp{Epoch: 1, Revision: 9})
		w.rows.StepEpoch()
		w.sql("foo", `"v"`)
		w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
		w.sourceFails()
		var r fastopt.Registry
		foo, bar := fastopt.New(&r, "foo", ""), fastopt.New(&r, "bar", "")
		w.open(w.config(), &r)
		w.heal()
		want(t, foo.Inspect(), "lost", fastopt.Fresh, fastopt.Cache) // nothing tells it from the truth
		set(t, bar, "b")
		if s := foo.Inspect(); s.State == fastopt.Fresh && s.Value == "lost" {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
	})
}

// P5: the patrol of a relay finds what the source has no row of, for the options
// that it declares.
func TestThePatrolCorrectsWhatHasNoRow(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("other", `"v"`)
		var r fastopt.Registry
		fastopt.New(&r, "foo", "")
		cfg := w.config()
		cfg.Relay = fastopt.Auto
		relay := w.open(cfg, &r)
		leads(t, 2*time.Second, relay)
		foo, _ := process(w, "foo", "")
		w.poison("foo", `"poison"`, future)
		settle()
		want(t, foo.Inspect(), "poison", fastopt.Fresh, fastopt.Cache)
		time.Sleep(8 * time.Second)
		want(t, foo.Inspect(), "", fastopt.Fresh, foo.Inspect().Origin)
		if s := relay.Stats(); s.Corrections == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// R27: of two values with one stamp the source's replaces that in the cache, once
// a process sees both.
func TestR27TheCacheHoldsAnotherValueOfOneStamp(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		a, ma := process(w, "foo", "")
		rc := set(t, a, "v")
		settle()
		w.poison("foo", `"old"`, rc.Stamp)
		time.Sleep(time.Second)
		b, _ := process(w, "foo", "")
		want(t, a.Inspect(), "v", fastopt.Fresh, a.Inspect().Origin)
		want(t, b.Inspect(), "v", fastopt.Fresh, b.Inspect().Origin)
		if w.cached("foo") != `"v"` || ma.Stats().Conflicts == 0 {
			t.Errorf("the cache holds %q, %d conflicts", w.cached("foo"), ma.Stats().Conflicts)
		}
	})
}
