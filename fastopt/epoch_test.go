package fastopt_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// A failover or a restore begins a new epoch: what the old one lost vanishes
// everywhere, and nothing of it is brought back (D3).

// R26: commits that a failover lost are outranked in every process: what has an
// older value now, and what has no row any more. Also where nobody's row is
// filled anew, so that no push tells of it.
func TestR26LostCommitsAreOutranked(t *testing.T) {
	for what, kept := range map[string]map[string]string{
		"one row is older, one is gone": {"foo": `"v1"`},
		"all rows are gone":             {},
	} {
		t.Run(what, func(t *testing.T) {
			inMarkedWorld(t, func(t *testing.T, w *world) {
				foo, ghost := "", "d" // what is to be read
				if kept["foo"] != "" {
					foo = "v1"
				}
				w.openRelay()
				foos, _ := process(w, "foo", "")
				set(t, foos, "v1")
				var fs, gs []*fastopt.Option[string]
				var ms []*fastopt.Manager
				open := func(cfg fastopt.Config) {
					var r fastopt.Registry
					fs, gs = append(fs, fastopt.New(&r, "foo", "")), append(gs, fastopt.New(&r, "ghost", "d"))
					ms = append(ms, w.open(cfg, &r))
				}
				for range 3 {
					open(w.config())
				}
				cacheOnly := w.config()
				cacheOnly.Source = nil
				open(cacheOnly)
				time.Sleep(time.Second)
				set(t, fs[0], "lost")
				set(t, gs[0], "lost")
				time.Sleep(5*time.Second + 400*time.Millisecond)
				want(t, fs[3].Inspect(), "lost", fastopt.Fresh, fastopt.Cache)

				w.source.Cut()
				w.promote(kept)
				w.source.Reconnect()
				time.Sleep(2 * time.Second)
				open(w.config()) // cold, over a cache that holds the lost values
				for i := range fs {
					f, g := fs[i].Inspect(), gs[i].Inspect()
					if f.Value != foo || g.Value != ghost || f.State != fastopt.Fresh || g.State != fastopt.Fresh || f.Stamp.Epoch != 2 || g.Stamp.Epoch != 2 {
						t.Errorf("process %d reads %+v and %+v", i, f, g)
					}
					if fs[i].Get() != foo || gs[i].Get() != ghost {
						t.Errorf("process %d gets %q and %q", i, fs[i].Get(), gs[i].Get())
					}
					if s := ms[i].Stats(); s.Epoch != 2 || s.Corrections != 0 {
						t.Errorf("process %d: %+v", i, s)
					}
				}
				if n := len(w.log.lines("began another history")); n != 6 {
					t.Errorf("%d lines: one for each process that was there", n)
				}
			})
		})
	}
}

// A strict cache fails the test if it is offered a record of an epoch that its
// mark does not name.
type strict struct {
	*faults.Marked
	w *world
}

func (s *strict) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	for _, f := range fills {
		if m := s.w.mark(); m.Epoch != 0 && f.Stamp.Epoch > m.Epoch {
			s.w.t.Errorf("%q of %v was offered while the mark names epoch %d", f.Name, f.Stamp, m.Epoch)
		}
	}
	return s.Marked.Fill(ctx, ns, fills)
}

// The mark names an epoch before any record of it is there, whoever fills: the
// relay that sweeps, readers, and writers, who repair what was withheld.
func TestTheMarkNamesAnEpochBeforeAnyRecordOfIt(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		marked := faults.NewMarked(w.store)
		w.cache, w.asCache = marked.Cache, &strict{marked, w}
		w.openRelay()
		foo, m := process(w, "foo", 0)
		bar, _ := process(w, "bar", 0)
		for i := range 5 {
			set(t, foo, i)
			time.Sleep(700 * time.Millisecond)
			w.rows.StepEpoch()
			for range 10 {
				set(t, bar, i)
				must(t, m.Refresh(ctx))
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(2 * time.Second)
			if w.cached("bar") != string(rune('0'+i)) {
				t.Errorf("the cache holds %q of bar after step %d", w.cached("bar"), i)
			}
		}
		want(t, foo.Inspect(), 4, fastopt.Fresh, foo.Inspect().Origin)
		want(t, bar.Inspect(), 4, fastopt.Fresh, bar.Inspect().Origin)
	})
}

// A write in a new epoch is not cached before the relay has marked the cache;
// it says so, and is repaired then.
func TestAWriteOfAnUnmarkedEpochIsWithheldAndRepaired(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		time.Sleep(time.Second)
		must(t, relay.Close())
		w.rows.StepEpoch()
		if rc := set(t, foo, "v2"); rc.Cached || rc.Stamp.Epoch != 2 {
			t.Errorf("%+v", rc)
		}
		want(t, foo.Inspect(), "v2", fastopt.Stale, fastopt.Write) // all is revalidated
		time.Sleep(5 * time.Second)
		s := m.Stats()
		if s.Dirty != 1 || s.FillsWithheld == 0 || s.Epoch != 2 || w.cached("foo") != `"v1"` {
			t.Errorf("%+v, cached %q", s, w.cached("foo"))
		}
		if s.SourceLoads > 20 {
			t.Errorf("%d loads of the source in 5 s", s.SourceLoads)
		}
		w.openRelay()
		time.Sleep(2 * time.Second)
		if s := m.Stats(); s.Dirty != 0 || s.Repaired != 1 || w.cached("foo") != `"v2"` {
			t.Errorf("%+v, cached %q", s, w.cached("foo"))
		}
	})
}

// While the mark lags behind the source, Loads wait for nobody's fill: there
// will be none.
func TestAnUnmarkedEpochDelaysNoLoad(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, _ := process(w, "foo", "")
		set(t, foo, "v1")
		time.Sleep(time.Second)
		var opts []*fastopt.Option[string]
		for range 8 {
			o, _ := process(w, "foo", "")
			opts = append(opts, o)
		}
		must(t, relay.Close())
		time.Sleep(10 * time.Second)
		w.promote(map[string]string{"foo": `"v0"`})
		time.Sleep(12 * time.Second) // nobody feeds: all have asked the source
		done := make(chan fastopt.Reading[string])
		w.cache.Cut() // no longer fresh
		settle()
		w.cache.Reconnect()
		settle()
		for _, o := range opts {
			go func() { done <- o.Load(ctx) }()
		}
		for range opts {
			if r := <-done; r.Value != "v0" || r.State != fastopt.Fresh {
				t.Errorf("%+v", r)
			}
		}
	})
}

// R26, cold: a record of an older epoch is no answer, not even where nothing
// else is known.
func TestR26ARecordOfAnOlderEpochIsNoAnswer(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		theirs, _ := process(w, "foo", "d")
		set(t, theirs, "lost")
		time.Sleep(time.Second)
		w.promote(nil)
		time.Sleep(2 * time.Second)
		must(t, relay.Close())
		w.poison("foo", `"lost"`, tiers.Stamp{Epoch: 1, Revision: 114})
		w.sourceFails()
		foo, m := process(w, "foo", "d")
		if r := foo.Inspect(); r.Value != "d" || r.State != fastopt.Unloaded {
			t.Errorf("%+v", r)
		}
		w.heal()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "d", fastopt.Fresh, fastopt.Default)
		if s := m.Stats(); s.Epoch != 2 || w.cached("foo") != "absent" {
			t.Errorf("%+v, cached %q", s, w.cached("foo"))
		}
	})
}

// A record of an epoch that no mark names: the mark is looked at, the source is
// asked, and what it does not confirm is replaced, by exactly its bytes.
func TestARecordOfAFutureEpochIsRepaired(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, m := process(w, "foo", "")
		set(t, foo, "v")
		time.Sleep(time.Second)
		must(t, relay.Close()) // so that no patrol helps
		for _, down := range []bool{true, false} {
			if down {
				w.sourceFails()
			}
			w.poison("foo", `"poison"`, tiers.Stamp{Epoch: 7, Revision: 1})
			time.Sleep(time.Second)
			if r := foo.Inspect(); r.Value != "v" {
				t.Fatalf("%+v", r)
			}
			if down && w.cached("foo") != `"poison"` {
				t.Errorf("the cache holds %q", w.cached("foo"))
			}
			w.heal()
			time.Sleep(2 * time.Second)
			want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Write)
			if w.cached("foo") != `"v"` {
				t.Errorf("the cache holds %q", w.cached("foo"))
			}
		}
		if s := m.Stats(); s.Epoch != 1 || s.Corrections != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// R10: if the source confirms such a record, the mark is late, and nobody
// rewrites anything.
func TestR10AConfirmedRecordOfAnUnmarkedEpochIsNotRewritten(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, m := process(w, "foo", "")
		process(w, "foo", "")
		set(t, foo, "v")
		time.Sleep(time.Second)
		must(t, relay.Close())
		w.rows.StepEpoch()
		stamp := w.sql("foo", `"w"`)
		w.poison("foo", `"w"`, stamp) // true, and too early
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "w", fastopt.Fresh, fastopt.Source)
		fills, pushes, loads := w.cache.Calls(faults.Fill), m.Stats().Pushes, w.source.Calls(faults.Load)
		time.Sleep(30 * time.Second)
		if f, p, l := w.cache.Calls(faults.Fill)-fills, m.Stats().Pushes-pushes, w.source.Calls(faults.Load)-loads; f > 0 || p > 0 || l > 12 {
			t.Errorf("%d fills, %d pushes, %d loads of the source", f, p, l)
		}
		want(t, foo.Inspect(), "w", fastopt.Fresh, fastopt.Source)
	})
}

// … not even if the mark comes while the source is being asked.
func TestR10AMarkThatComesMeanwhileCausesNoRewrite(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, m := process(w, "foo", "")
		time.Sleep(time.Second)
		must(t, relay.Close())
		w.rows.StepEpoch()
		stamp := w.sql("foo", `"w"`)
		hookOnce(t, point.FlightSettle, m, "foo", func() { // the source has confirmed it
			next := w.mark()
			next.Epoch, next.Fed = 2, next.Fed+1
			w.putMark(next)
			time.Sleep(1100 * time.Millisecond)
		})
		fills := m.Stats().Fills
		w.poison("foo", `"w"`, stamp)
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "w", fastopt.Fresh, foo.Inspect().Origin)
		if n := m.Stats().Fills - fills; n != 0 {
			t.Errorf("%d fills of what the cache holds", n)
		}
	})
}

// A new epoch is known as soon as a record of it is pushed, not only at the
// next look at the mark; and then the cache's word is good.
func TestANewEpochIsLookedUpAtOnce(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		relay := w.openRelay()
		foo, m := process(w, "foo", "")
		time.Sleep(3 * time.Second)
		must(t, relay.Close())
		loads := w.source.Calls(faults.Load)
		w.rows.StepEpoch()
		next := w.mark()
		next.Epoch, next.Fed = 2, next.Fed+1
		w.putMark(next)
		w.poison("foo", `"w"`, w.sql("foo", `"w"`))
		settle()
		want(t, foo.Inspect(), "w", fastopt.Stale, fastopt.Cache) // all is revalidated
		if m.Stats().Epoch != 2 {
			t.Errorf("%+v", m.Stats())
		}
		time.Sleep(time.Second)
		want(t, foo.Inspect(), "w", fastopt.Fresh, fastopt.Cache)
		if n := w.source.Calls(faults.Load) - loads; n != 0 {
			t.Errorf("%d loads of the source", n)
		}
	})
}

// A cache set back to before an epoch, mark and all, is behind for who knows
// better, with a source or without.
func TestR25ACacheSetBackBeforeAnEpochIsBehind(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.rows.StepEpoch()
		w.sql("foo", `"v2"`)
		relay := w.openRelay()
		foo, _ := process(w, "foo", "")
		cfg := w.config()
		cfg.Source = nil
		var r fastopt.Registry
		alone := fastopt.New(&r, "foo", "")
		reader := w.open(cfg, &r)
		time.Sleep(time.Second)
		must(t, relay.Close())
		was := production
		was.Epoch = 1
		w.putMark(tiers.Mark{Identity: was, Fed: 3})
		time.Sleep(1100 * time.Millisecond) // it is looked at once a second
		w.poison("foo", `"v1"`, tiers.Stamp{Epoch: 1, Revision: 9})
		time.Sleep(12 * time.Second)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, foo.Inspect().Origin)
		if r := alone.Inspect(); r.Value != "v2" || r.State != fastopt.Stale || !errors.Is(r.Err, fastopt.ErrUnavailable) {
			t.Errorf("%+v", r)
		}
		if w.cached("foo") != `"v1"` || reader.Stats().Epoch != 2 {
			t.Errorf("filled under a mark of another epoch: %q", w.cached("foo"))
		}
		w.openRelay()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, foo.Inspect().Origin)
		want(t, alone.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
		if w.cached("foo") != `"v2"` {
			t.Errorf("the cache holds %q", w.cached("foo"))
		}
	})
}

// R28: a commit in a history that is known to be over is no success, also of a
// source that cannot be told.
func TestAWriteToAnOlderHistoryIsNotAcknowledged(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		w.asSource = w.source // no Historian: it cannot be told
		foo, m := process(w, "foo", "")
		later := production
		later.Timeline, later.Epoch = 2, 2
		defer w.feeds(later)()
		w.poison("foo", `"of the later history"`, tiers.Stamp{Epoch: 2, Revision: 1})
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "of the later history", fastopt.Fresh, fastopt.Cache)
		if set, err := m.IsSet(ctx, "foo"); set || !errors.Is(err, fastopt.ErrUnavailable) {
			t.Errorf("%v, %v", set, err)
		}
		if rc, err := foo.Set(ctx, "w"); !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Errorf("%+v, %v", rc, err)
		}
		time.Sleep(2 * time.Second)
		if r := foo.Inspect(); r.Value != "of the later history" {
			t.Errorf("%+v", r)
		}
	})
}

// Without a mark nobody is kept from filling, whatever was marked before.
func TestWithoutAMarkEveryEpochIsFilled(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, m := process(w, "foo", "")
		time.Sleep(time.Second)
		must(t, relay.Close())
		w.store.Flush()
		time.Sleep(1100 * time.Millisecond) // it is looked at once a second
		w.rows.StepEpoch()
		if rc := set(t, foo, "v"); !rc.Cached || w.cached("foo") != `"v"` {
			t.Errorf("%+v, %+v", rc, m.Stats())
		}
	})
}
