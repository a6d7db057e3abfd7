package fastopt_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// The mark tells whether the cache is fed. If it is not, the source is asked;
// if the source does not answer either, the cache is believed (P12, D6).

// I20: while the relay feeds, readers ask the source for nothing.
func TestAnIdleFleetAsksTheSourceNothing(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		for range 4 {
			process(w, "foo", "")
		}
		foo, m := process(w, "foo", "")
		time.Sleep(5 * time.Second)
		loads, asks := w.source.Calls(faults.Load), w.source.Calls(faults.Identity)
		cached := w.cache.Calls(faults.Load)
		time.Sleep(time.Minute)
		if l, a, c := w.source.Calls(faults.Load)-loads, w.source.Calls(faults.Identity)-asks, w.cache.Calls(faults.Load)-cached; l+a > 0 || c > 20 {
			t.Errorf("%d loads of the source, %d questions who it is, %d loads of the cache", l, a, c)
		}
		want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default)
		if s := m.Stats(); !s.CacheFed || s.MarkAge > 2*time.Second || s.Epoch != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// P12: a commit that nobody carried into the cache is seen within the TTL,
// though the cache answers and announces nothing.
func TestAnOrphanedCommitIsSeenThoughNobodyFeeds(t *testing.T) {
	for _, how := range []string{"the relay is gone", "there never was one"} {
		t.Run(how, func(t *testing.T) {
			inMarkedWorld(t, func(t *testing.T, w *world) {
				if how == "the relay is gone" {
					w.sql("foo", `"v1"`)
					relay := w.openRelay()
					defer func() { must(t, relay.Close()) }()
					time.Sleep(time.Second)
					must(t, relay.Close())
				}
				foo, m := process(w, "foo", "")
				if how != "the relay is gone" {
					set(t, foo, "v1")
				}
				time.Sleep(time.Second)
				w.sql("foo", `"v2"`) // its writer died before the fill
				time.Sleep(12 * time.Second)
				want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Source)
				if s := m.Stats(); s.CacheFed || s.MarkAge < 10*time.Second {
					t.Errorf("%+v", s)
				}
				if w.cached("foo") != `"v2"` {
					t.Errorf("the cache holds %q", w.cached("foo"))
				}
			})
		})
	}
}

// D6: nothing newer can be committed while the source is down: the cache is
// believed, whether its mark moves or not. With a Check, it is believed by
// another way through the code.
func TestACacheThatNobodyFeedsIsBelievedWhileTheSourceIsDown(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", "5")
		relay := w.openRelay()
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", 1)
		bar := fastopt.Declare(&r, fastopt.Spec[int]{Name: "bar", Default: 1, Check: fastopt.Between(1, 10)})
		m := w.open(w.config(), &r)
		set(t, bar, 7)
		time.Sleep(time.Second)
		must(t, relay.Close())
		w.sourceFails()
		w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
		for range 300 {
			time.Sleep(time.Second)
			if f, b := foo.Inspect(), bar.Inspect(); f.Value != 5 || b.Value != 7 || f.State != fastopt.Fresh || b.State != fastopt.Fresh {
				t.Fatalf("%+v, %+v", f, b)
			}
		}
		if n := w.source.Calls(faults.Load); n > 420 || !m.Stats().CacheFed { // every 750 ms, whether it answers again
			t.Errorf("%d loads of a source that is down", n)
		}
		w.sql("foo", "6") // nobody carries it, and the source is back
		w.heal()
		time.Sleep(12 * time.Second)
		want(t, foo.Inspect(), 6, fastopt.Fresh, fastopt.Source)
		if m.Stats().CacheFed {
			t.Error("fed by nobody")
		}
	})
}

// The first question to a source that has just gone down must not cost what the
// cache has answered, with a Check or without.
func TestTheFirstSilenceOfTheSourceCostsNothing(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", 1)
		bar := fastopt.Declare(&r, fastopt.Spec[int]{Name: "bar", Default: 1, Check: fastopt.Between(1, 10)})
		m := w.open(w.config(), &r)
		time.Sleep(5 * time.Second)
		for i, fault := range []faults.Fault{{Err: errDown}, {Hang: true}} {
			w.source.Inject(faults.Load, fault)
			w.poison("bar", fmt.Sprint(7+i), tiers.Stamp{Epoch: 1, Revision: uint64(9 + i)})
			settle()
			must(t, m.Refresh(ctx))
			want(t, bar.Inspect(), 7+i, fastopt.Fresh, fastopt.Cache)
			want(t, foo.Inspect(), 1, fastopt.Fresh, fastopt.Default)
			w.heal()
			time.Sleep(3 * time.Second)
		}
	})
}

// A mark that cannot be read does not move.
func TestAMarkThatCannotBeReadCountsAsStill(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		time.Sleep(5 * time.Second)
		for _, fault := range []faults.Fault{{Err: errDown}, {Hang: true}, {Lost: true}} {
			w.cache.Inject(faults.Mark, fault)
			time.Sleep(5 * time.Second)
			if m.Stats().CacheFed {
				t.Errorf("%+v: it counts as fed", fault)
			}
			w.heal()
			time.Sleep(2 * time.Second)
			if !m.Stats().CacheFed {
				t.Errorf("%+v: it counts as left alone", fault)
			}
		}
	})
}

// Without a mark everything is believed as far as it was before there were
// marks, and filled; the relay writes one, also over bytes that are none.
func TestAMarkThatIsMissingOrUnreadableIsWrittenAnew(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		if rc := set(t, foo, "v1"); !rc.Cached {
			t.Error("withheld, though there is no mark")
		}
		time.Sleep(time.Second)
		want(t, foo.Inspect(), "v1", fastopt.Fresh, fastopt.Write)
		relay := w.openRelay()
		if w.mark().Identity != (tiers.Identity{Lineage: "lineage", System: "production", Timeline: 1, Database: "app", Epoch: 1}) {
			t.Errorf("%+v", w.mark())
		}
		time.Sleep(3 * time.Second)
		before := w.mark().Fed
		w.store.CorruptMark("default", []byte("no mark"))
		time.Sleep(1500 * time.Millisecond)
		if w.mark().Fed <= before {
			t.Errorf("%+v", w.mark())
		}
		time.Sleep(time.Second)
		want(t, foo.Inspect(), "v1", fastopt.Fresh, foo.Inspect().Origin)
		if s := m.Stats(); !s.CacheFed || s.Epoch != 1 || s.SourceLoads > 1 {
			t.Errorf("%+v", s)
		}
		if s := relay.Stats(); s.RelayResyncs != 2 || s.RelayErrors != 0 {
			t.Errorf("%d resyncs, %d errors", s.RelayResyncs, s.RelayErrors)
		}
		must(t, m.Ready())
	})
}

// A start without the source takes lineage and epoch from the mark.
func TestAStartWithoutTheSourceTakesTheMarksWord(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.rows.StepEpoch()
		w.sql("foo", `"v"`)
		relay := w.openRelay()
		time.Sleep(time.Second)
		must(t, relay.Close())
		w.sourceFails()
		w.source.Inject(faults.Identity, faults.Fault{Hang: true})
		foo, m := process(w, "foo", "")
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		if e := m.Stats().Epoch; e != 2 {
			t.Errorf("epoch %d", e)
		}
		w.heal()
		time.Sleep(3 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		must(t, m.Ready())
	})
}

// … and checks it later: what came of another database's cache does not stay.
func TestAStartWithoutTheSourceIsCheckedLater(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"mine"`)
		other := production
		other.Lineage, other.Epoch = "another", 5
		w.putMark(tiers.Mark{Identity: other, Fed: 7})
		w.poison("foo", `"theirs"`, tiers.Stamp{Epoch: 5, Revision: 70})
		w.sourceFails()
		w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
		foo, m := process(w, "foo", "")
		want(t, foo.Inspect(), "theirs", fastopt.Fresh, fastopt.Cache)
		w.heal()
		time.Sleep(4 * time.Second)
		want(t, foo.Inspect(), "mine", fastopt.Fresh, fastopt.Source)
		if err := m.Ready(); !errors.Is(err, tiers.ErrSetup) || !contains(err, "another database") {
			t.Errorf("%v", err)
		}
		if e := m.Stats().Epoch; e != 1 {
			t.Errorf("epoch %d, of the other database", e)
		}
		w.store.Flush() // as the remedy says
		relay := w.openRelay()
		time.Sleep(8 * time.Second)
		must(t, m.Ready())
		loads := w.source.Calls(faults.Load)
		time.Sleep(20 * time.Second)
		if n := w.source.Calls(faults.Load) - loads; n > 0 {
			t.Errorf("%d loads of the source: its own cache is not believed", n)
		}
		want(t, foo.Inspect(), "mine", fastopt.Fresh, foo.Inspect().Origin)
		must(t, relay.Ready())
	})
}

// R28: a mark that names a later history of the same database is told to the
// source, which then answers nothing of its own older one.
func TestR28AMarkNewerThanTheSourceIsLearned(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		foo, m := process(w, "foo", "")
		time.Sleep(time.Second)
		later := production
		later.Timeline, later.Epoch = 2, 2
		stop := w.feeds(later)
		defer stop()
		time.Sleep(2 * time.Second)
		if heard := w.db.learned(); len(heard) != 1 || heard[0] != later {
			t.Fatalf("learned %+v", heard)
		}
		if _, err := foo.Set(ctx, "w"); !errors.Is(err, fastopt.ErrUnavailable) {
			t.Errorf("a zombie was written to: %v", err)
		}
		w.poison("foo", `"of the later history"`, tiers.Stamp{Epoch: 2, Revision: 1})
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "of the later history", fastopt.Fresh, fastopt.Cache)
		if e := m.Stats().Epoch; e != 2 {
			t.Errorf("epoch %d", e)
		}
	})
}

// A cache that cannot be used is looked at once a second, not at each load.
func TestTheMarkIsLookedAtOnceASecond(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		foo, m := process(w, "foo", "")
		set(t, foo, "v")
		synctest.Wait()
		marks := w.cache.Calls(faults.Mark)
		for range 100 {
			must(t, m.Refresh(ctx))
			time.Sleep(100 * time.Millisecond)
		}
		if n := w.cache.Calls(faults.Mark) - marks; n > 24 { // of two processes
			t.Errorf("%d looks in 10 s", n)
		}
	})
}

// … nor what came of the cache of the database that this one is a copy of, nor
// the epochs that it counted.
func TestACopyThatStartsWithoutItsSourceIsCheckedLater(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		for range 4 {
			w.rows.StepEpoch()
		}
		w.sql("foo", `"production"`)
		w.openRelay()
		time.Sleep(time.Second)
		_, source := w.staging()
		source.Inject(faults.Load, faults.Fault{Err: errDown})
		source.Inject(faults.Identity, faults.Fault{Err: errDown})
		cfg := w.config()
		cfg.Source = source
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		m := w.open(cfg, &r)
		want(t, foo.Inspect(), "production", fastopt.Fresh, fastopt.Cache)
		source.Heal()
		time.Sleep(5 * time.Second)
		want(t, foo.Inspect(), "staging", fastopt.Fresh, fastopt.Source)
		if e := m.Stats().Epoch; e != 1 {
			t.Errorf("epoch %d, of the original", e)
		}
	})
}

// … nor what was on its way from there when that was found out.
func TestWhatWasOnItsWayFromAnotherDatabaseDoesNotStay(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"mine"`)
		other := production
		other.Lineage, other.Epoch = "another", 5
		w.putMark(tiers.Mark{Identity: other, Fed: 7})
		w.poison("foo", `"theirs"`, tiers.Stamp{Epoch: 5, Revision: 70})
		w.sourceFails()
		w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
		foo, m := process(w, "foo", "")
		w.poison("foo", `"theirs, too"`, tiers.Stamp{Epoch: 5, Revision: 71})
		hookOnce(t, point.FlightSettle, m, "foo", func() {
			w.heal()
			time.Sleep(3 * time.Second)
		})
		time.Sleep(8 * time.Second)
		want(t, foo.Inspect(), "mine", fastopt.Fresh, fastopt.Source)
	})
}

// R28: also if nobody feeds the cache any more, and the source was silent when the
// mark was seen first.
func TestAStandingMarkIsLearnedOnceTheSourceAnswers(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		later := production
		later.Timeline, later.Epoch = 2, 2
		w.putMark(tiers.Mark{Identity: later, Fed: 7})
		w.sourceFails()
		w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
		process(w, "foo", "")
		w.heal()
		time.Sleep(5 * time.Second)
		if heard := w.db.learned(); len(heard) != 1 {
			t.Errorf("learned %+v", heard)
		}
	})
}
