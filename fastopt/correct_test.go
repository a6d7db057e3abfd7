package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Corrections (P5): what the source contradicts gives way, also to an older
// stamp, if the source was asked after it was read; never else.

var future = tiers.Stamp{Epoch: 1, Revision: 1_000_000}

// The patrol finds a stamp in the cache that the source never gave, puts it
// right, and every process that has read it follows.
func TestThePatrolCorrectsAPoisonedCache(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		w.sql("f/x", "5")
		relay := w.openRelay()
		a, ma := process(w, "foo", "")
		b, mb := process(w, "foo", "")
		f := newFleet(w, 1)
		f.load(t, 1)
		time.Sleep(time.Second)
		truth := w.store.Load(ctx, "default", []string{"foo"})[0].Stamp
		w.poison("foo", `"poison"`, future)
		w.poison("f/x", "666", future)
		settle()
		want(t, a.Inspect(), "poison", fastopt.Fresh, fastopt.Cache) // nothing tells it from a new value
		time.Sleep(7 * time.Second)
		want(t, a.Inspect(), "v", fastopt.Fresh, a.Inspect().Origin)
		want(t, b.Inspect(), "v", fastopt.Fresh, b.Inspect().Origin)
		want(t, f.limits[0].Load(ctx, "x"), 5, fastopt.Fresh, f.limits[0].Load(ctx, "x").Origin)
		if a.Get() != "v" || w.cached("foo") != `"v"` || w.cached("f/x") != "5" {
			t.Errorf("Get %q, the cache holds %q and %q", a.Get(), w.cached("foo"), w.cached("f/x"))
		}
		if r, x, y := relay.Stats().Corrections, ma.Stats().Corrections, mb.Stats().Corrections; r != 2 || x != 1 || y != 1 {
			t.Errorf("%d, %d and %d corrections", r, x, y)
		}
		if n := len(w.log.lines("corrected", "option=foo", "held=1.1000000", "source="+truth.String())); n != 3 {
			t.Errorf("%d lines", n)
		}
		set(t, b, "w") // and life goes on
		settle()
		want(t, a.Inspect(), "w", fastopt.Fresh, fastopt.Cache)
	})
}

// A healthy fleet corrects nothing, however busy it is.
func TestNothingIsCorrectedInAHealthyFleet(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, m := process(w, "foo", 0)
		bar, _ := process(w, "foo", 0)
		for i := range 600 {
			if i%3 == 0 {
				must(t, second(foo.Delete(ctx)))
			} else {
				set(t, foo, i)
			}
			w.sql("foo", "7")
			time.Sleep(137 * time.Millisecond)
		}
		want(t, bar.Inspect(), 7, fastopt.Fresh, bar.Inspect().Origin)
		if a, b := relay.Stats().Corrections, m.Stats().Corrections; a != 0 || b != 0 {
			t.Errorf("%d and %d corrections", a, b)
		}
	})
}

// A write between the patrol's look at the rows and its offer is no poison.
func TestThePatrolDoesNotCorrectANewerWrite(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "")
		set(t, foo, "v1")
		relay := w.openRelay()
		time.Sleep(time.Second)
		rounds, last := 0, time.Now()
		defer point.Set(func(p point.Point, owner any, name string) {
			if p == point.RelayFill && owner == relay && name == "foo" && time.Since(last) > 3*time.Second {
				rounds, last = rounds+1, time.Now()
				set(t, foo, "v2")
			}
		})()
		time.Sleep(20 * time.Second)
		if s := relay.Stats(); s.Corrections != 0 || rounds < 3 || w.cached("foo") != `"v2"` {
			t.Errorf("%d corrections in %d rounds, cached %q", s.Corrections, rounds, w.cached("foo"))
		}
	})
}

// A slow source answers late what it read early.
type slowSource struct {
	tiers.Source
	after time.Duration
}

func (s *slowSource) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := s.Source.Load(ctx, ns, names)
	time.Sleep(s.after)
	return rs
}

// R2: an answer of the source that was on its way when something newer was
// read, or written here, corrects nothing.
func TestR2AnOlderAnswerThatRacedCorrectsNothing(t *testing.T) {
	for _, how := range []string{"read from the cache", "written here"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				theirs, _ := process(w, "foo", "")
				set(t, theirs, "v1")
				slow := &slowSource{Source: w.rows}
				cfg := w.config()
				cfg.Source = slow
				var r fastopt.Registry
				foo := fastopt.New(&r, "foo", "")
				m := w.open(cfg, &r)
				time.Sleep(time.Second)
				slow.after = 200 * time.Millisecond
				w.cacheGetFails()
				go m.Refresh(ctx) // reads v1 in the source
				time.Sleep(100 * time.Millisecond)
				w.heal()
				if how == "written here" {
					set(t, foo, "v2")
				} else {
					set(t, theirs, "v2")
				}
				time.Sleep(50 * time.Millisecond)
				if foo.Get() != "v2" {
					t.Fatalf("reads %q", foo.Get())
				}
				time.Sleep(time.Second)
				want(t, foo.Inspect(), "v2", fastopt.Fresh, foo.Inspect().Origin)
				if s := m.Stats(); s.Corrections != 0 || s.Refused == 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// R27, P5: without anybody's patrol, a process whose source contradicts what it
// read from the cache follows the source.
func TestR27ASourceAskedLaterCorrectsWhatWasRead(t *testing.T) {
	for what, poison := range map[string]tiers.Record{
		"a value": {Name: "foo", Kind: tiers.Value, Data: []byte(`"poison"`), Stamp: future},
		"absent":  {Name: "foo", Kind: tiers.Absent, Stamp: future},
	} {
		for _, row := range []string{`"v"`, ""} {
			t.Run(what+" over "+row, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					value, origin := "d", fastopt.Default
					if row != "" {
						w.sql("foo", row)
						value, origin = "v", fastopt.Source
					}
					w.store.Fill(ctx, "default", []tiers.Fill{{Record: poison}})
					foo, m := process(w, "foo", "d")
					if s := foo.Inspect().Stamp; s != poison.Stamp {
						t.Fatalf("%v was not read", s)
					}
					time.Sleep(time.Second)
					w.store.Flush() // the source is asked
					time.Sleep(2 * time.Second)
					want(t, foo.Inspect(), value, fastopt.Fresh, origin)
					if s := foo.Inspect().Stamp; s.Epoch != 1 || s.Revision > 5 {
						t.Errorf("it keeps %v", s)
					}
					if n := m.Stats().Corrections; n != 1 {
						t.Errorf("%d corrections", n)
					}
				})
			})
		}
	}
}

// R27: one stamp with two values is found by the patrol, too, though nothing is
// newer: a row that was changed, or removed, with the triggers off. Who reads the
// cache alone follows what the relay puts there.
func TestR27ThePatrolFindsOneStampWithTwoValues(t *testing.T) {
	for what, held := range map[string]tiers.Record{
		"another value": {Name: "foo", Kind: tiers.Value, Data: []byte(`"bypassed"`)},
		"no value":      {Name: "foo", Kind: tiers.Absent},
		"no row":        {Name: "gone", Kind: tiers.Value, Data: []byte(`"bypassed"`)},
	} {
		t.Run(what, func(t *testing.T) {
			inMarkedWorld(t, func(t *testing.T, w *world) {
				held.Stamp = w.sql("foo", `"v"`) // the head
				relay := w.openRelay()
				var declares fastopt.Registry
				fastopt.New(&declares, "gone", "d")
				must(t, relay.Close())
				time.Sleep(time.Second)
				found := w.store.Load(ctx, "default", []string{held.Name})[0]
				if r := w.store.Fill(ctx, "default", []tiers.Fill{{Record: held, Replace: found.Raw}})[0]; !r.Stored {
					t.Fatalf("%+v", r)
				}
				cfg := w.config()
				cfg.Source = nil
				var r fastopt.Registry
				alone := fastopt.New(&r, held.Name, "d")
				w.open(cfg, &r) // knows nothing else
				cfg = w.config()
				cfg.Relay = fastopt.Auto
				m := w.open(cfg, &declares)
				time.Sleep(20 * time.Second)
				value, cached := "v", `"v"`
				if held.Name == "gone" {
					value, cached = "d", "absent"
				}
				if r := alone.Inspect(); r.Value != value || r.State != fastopt.Fresh || alone.Get() != value {
					t.Errorf("%+v", r)
				}
				if w.cached(held.Name) != cached || m.Stats().Corrections == 0 {
					t.Errorf("the cache holds %q, %+v", w.cached(held.Name), m.Stats())
				}
				n := m.Stats().Corrections
				time.Sleep(time.Minute)
				if more := m.Stats().Corrections; more != n {
					t.Errorf("%d corrections, then %d", n, more)
				}
			})
		})
	}
}

// Who has no source follows a correction to a lower stamp as well, but no cache
// that is only behind: as long as nobody feeds it, nobody has corrected it.
func TestWithoutASourceACorrectionIsFollowedOnceTheCacheIsFed(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		truth := w.sql("foo", `"v"`)
		relay := w.openRelay()
		cfg := w.config()
		cfg.Source = nil
		var r fastopt.Registry
		alone := fastopt.New(&r, "foo", "d")
		m := w.open(cfg, &r)
		time.Sleep(time.Second)
		must(t, relay.Close())
		w.poison("foo", `"poison"`, future)
		settle()
		want(t, alone.Inspect(), "poison", fastopt.Fresh, fastopt.Cache)
		w.poison("foo", `"v"`, truth)
		time.Sleep(30 * time.Second)
		if r := alone.Inspect(); r.Value != "poison" || r.State != fastopt.Stale {
			t.Errorf("with nobody to feed the cache: %+v", r)
		}
		w.openRelay()
		time.Sleep(4 * time.Second)
		want(t, alone.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		if n := m.Stats().Corrections; n != 1 {
			t.Errorf("%d corrections", n)
		}
	})
}

// I4: a process reads its own write also where the cache had told it of a stamp
// that the source never gave.
func TestI4AWriteOutranksAPoisonedStamp(t *testing.T) {
	for what, poison := range map[string]tiers.Record{
		"a value": {Name: "foo", Kind: tiers.Value, Data: []byte(`"poison"`), Stamp: future},
		"absent":  {Name: "foo", Kind: tiers.Absent, Stamp: future},
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.store.Fill(ctx, "default", []tiers.Fill{{Record: poison}})
				foo, m := process(w, "foo", "d")
				time.Sleep(time.Second)
				rc := set(t, foo, "mine")
				if r := foo.Inspect(); foo.Get() != "mine" || r.Stamp != rc.Stamp {
					t.Errorf("after Set, Get %q, %+v", foo.Get(), r)
				}
				must(t, second(foo.Delete(ctx)))
				if foo.Get() != "d" {
					t.Errorf("after Delete, Get %q", foo.Get())
				}
				if n := m.Stats().Corrections; n != 1 {
					t.Errorf("%d corrections", n)
				}
			})
		})
	}
}

// A cache that is poisoned over and over, by stamps that grow, costs a bounded
// number of requests.
func TestPoisonIsNoStorm(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		w.openRelay()
		foo, _ := process(w, "foo", "")
		process(w, "foo", "")
		time.Sleep(time.Second)
		loads, fills := w.source.Calls(faults.Load), w.cache.Calls(faults.Fill)
		at := future
		for range 100 {
			at.Revision++
			w.poison("foo", `"poison"`, at)
			time.Sleep(300 * time.Millisecond)
		}
		if l, f := w.source.Calls(faults.Load)-loads, w.cache.Calls(faults.Fill)-fills; l > 60 || f > 40 {
			t.Errorf("%d loads of the source, %d fills in 30 s", l, f)
		}
		time.Sleep(7 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
	})
}

// While a write is in doubt and the source silent, the cache may repeat what is
// known; an absence of a history that nobody began is no repetition.
func TestWhatIsRepeatedOfADoubtfulKeyIsOfThisHistory(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		foo, _ := process(w, "foo", "")
		set(t, foo, "v")
		time.Sleep(2 * time.Second)
		w.source.Inject(faults.Write, faults.Fault{Lost: true})
		if _, err := foo.Set(ctx, "v2"); !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		w.sourceFails()
		raw := w.store.Load(ctx, "default", []string{"foo"})[0].Raw
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "foo", Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 7, Revision: 1}}, Replace: raw}})
		for range 40 {
			time.Sleep(100 * time.Millisecond)
			if v := foo.Get(); v == "" {
				t.Fatal("an absence of no history replaced the value")
			}
		}
	})
}

// A source that never answers one question does not end the patrol for good.
func TestAPatrolThatMeetsSilenceGoesOn(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		w.openRelay()
		time.Sleep(2 * time.Second)
		w.source.Inject(faults.Scan, faults.Fault{Hang: true})
		time.Sleep(10 * time.Second)
		w.heal()
		w.poison("foo", `"poison"`, future)
		time.Sleep(15 * time.Second)
		if w.cached("foo") != `"v"` {
			t.Errorf("cached %q", w.cached("foo"))
		}
	})
}

// R27: other bytes with the stamp of what is known: the source tells which are
// right, and the wrong ones are replaced in the cache, too.
func TestR27AnotherValueOfTheSameStampInTheCacheIsReplaced(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		foo, _ := process(w, "foo", "")
		rc := set(t, foo, "v")
		time.Sleep(2 * time.Second)
		w.poison("foo", `"other"`, rc.Stamp)
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
		if w.cached("foo") != `"v"` {
			t.Errorf("cached %q", w.cached("foo"))
		}
	})
}

// P5 by a reader: who asks the source after the cache, and finds the cache ahead,
// puts it right; no relay need be there.
func TestAPoisonedCacheThatNobodyFeedsIsCorrected(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, _ := process(w, "foo", "")
		set(t, foo, "v")
		time.Sleep(2 * time.Second)
		must(t, relay.Close())
		time.Sleep(5 * time.Second)
		w.poison("foo", `"poison"`, future)
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
		if w.cached("foo") != `"v"` {
			t.Errorf("cached %q", w.cached("foo"))
		}
	})
}

// A stubborn cache stores nothing in place of exact bytes.
type stubborn struct{ *faults.Marked }

func (s *stubborn) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	for i, f := range fills {
		if f.Replace != nil {
			rs := make([]tiers.FillResult, len(fills))
			rs[i].Err = errDown
			return rs
		}
	}
	return s.Marked.Fill(ctx, ns, fills)
}

// What could not be replaced is neither counted nor logged as corrected, at each
// round anew.
func TestACorrectionThatFailsIsNone(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		marked := faults.NewMarked(w.store)
		w.cache, w.asCache = marked.Cache, &stubborn{marked}
		w.sql("foo", `"v"`)
		relay := w.openRelay()
		time.Sleep(2 * time.Second)
		w.poison("foo", `"poison"`, future)
		time.Sleep(20 * time.Second)
		if n, lines := relay.Stats().Corrections, len(w.log.lines("corrected")); n != 0 || lines != 0 {
			t.Errorf("%d corrections, %d lines", n, lines)
		}
	})
}

// I4, I16: a write to a name of which the cache holds a made-up newer stamp is
// refused there; the relay, which finds that, puts it right at once, and not
// only when the patrol comes by.
func TestAWriteOverAPoisonedEntryIsSeenAtOnce(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		foo, _ := process(w, "foo", "")
		bar, _ := process(w, "foo", "")
		set(t, foo, "v")
		for i := range 20 { // at any time between two steps of the patrol
			time.Sleep(700 * time.Millisecond)
			w.poison("foo", `"poison"`, tiers.Stamp{Epoch: 1, Revision: uint64(1_000_000 + i)})
			settle()
			v := fmt.Sprint(i)
			set(t, foo, v)
			time.Sleep(300 * time.Millisecond)
			if w.cached("foo") != `"`+v+`"` {
				t.Fatalf("the cache holds %q after Set(%s)", w.cached("foo"), v)
			}
			time.Sleep(300 * time.Millisecond)
			want(t, foo.Inspect(), v, fastopt.Fresh, foo.Inspect().Origin)
			want(t, bar.Inspect(), v, fastopt.Fresh, bar.Inspect().Origin)
		}
	})
}
