package fastopt_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Time that went by unseen: clocks that were set, machines that slept, processes
// that stood still.

// I18: setting the wall clock ends and revives no value. All is read again.
func TestI18AStepOfTheWallClockChangesNoVerdict(t *testing.T) {
	for _, step := range []time.Duration{-24 * time.Hour, -500 * ms, 500 * ms, time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("foo", `"v"`)
				foo, m := process(w, "foo", "d")
				time.Sleep(5 * time.Second)
				hits, age := m.Stats().CacheHits, foo.Inspect().Age
				fastopt.Skew(m, step, time.Microsecond) // between reading two clocks
				time.Sleep(2 * time.Second)
				if s := m.Stats(); s.Unverified != 1 || s.CacheHits == hits || !s.PushesUp {
					t.Errorf("%+v", s)
				}
				if r := foo.Inspect(); r.Age > age || r.Value != "v" || r.State != fastopt.Fresh {
					t.Errorf("%+v, its age was %v", r, age)
				}
				if n := len(w.log.lines("the wall clock was set", step.String())); n != 1 || len(w.log.lines("WARN")) != 1 {
					t.Errorf("%d lines of %q", n, w.log.lines(""))
				}
				w.allFail()
				w.cache.Cut()
				time.Sleep(ms)
				left := 70*time.Second - foo.Inspect().Age
				fastopt.Skew(m, step, 0)
				time.Sleep(left - ms)
				want(t, foo.Inspect(), "v", fastopt.Stale, fastopt.Source)
				time.Sleep(2 * ms)
				want(t, foo.Inspect(), "d", fastopt.Expired, fastopt.Default)
			})
		})
	}
}

// A clock that is slewed is followed.
func TestI18ASlewedClockIsFollowed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		for range 100 {
			fastopt.Skew(m, 100*ms, time.Second) // who would sleep is not asked
			time.Sleep(time.Second)
		}
		if s := m.Stats(); s.Unverified != 0 {
			t.Errorf("%d times", s.Unverified)
		}
		want(t, foo.Inspect(), "d", fastopt.Fresh, fastopt.Default)
	})
}

// R22: a sleep of the machine, which stops the monotonic clock, counts as time
// that has passed, within a second of the wake.
func TestR22ASleepCountsAsTime(t *testing.T) {
	for _, night := range []time.Duration{600 * ms, 20 * time.Second, 65 * time.Second, time.Hour} {
		t.Run(night.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("foo", `"v"`)
				foo, m := process(w, "foo", "d")
				time.Sleep(20*time.Second + 300*ms)
				w.allFail()
				w.cache.Cut()
				age := foo.Inspect().Age
				fastopt.Skew(m, night, night)
				time.Sleep(time.Second)
				r := foo.Inspect()
				if r.Err == nil || m.Stats().Unverified != 1 || len(w.log.lines("the machine slept", "by="+night.String())) != 1 {
					t.Errorf("%+v, %+v", r, m.Stats())
				}
				if age += night + time.Second; age >= 70*time.Second {
					if want(t, r, "d", fastopt.Expired, fastopt.Default); foo.Get() != "d" {
						t.Error("Get does not know")
					}
				} else if want(t, r, "v", fastopt.Stale, fastopt.Source); r.Age != age {
					t.Errorf("its age is %v, not %v", r.Age, age)
				}
				w.heal()
				w.cache.Reconnect()
				time.Sleep(2 * time.Second)
				if r := foo.Inspect(); r.State != fastopt.Fresh || r.Age > 2*time.Second || foo.Get() != "v" {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// … and an answer from before it is not from after it.
func TestR22AnAnswerFromBeforeASleepIsOld(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "foo", "d")
		at := func(t time.Time) time.Duration { return fastopt.Instant(m, t) }
		var times []time.Time
		var now []time.Duration
		for range 4 {
			time.Sleep(10 * time.Second)
			times, now = append(times, time.Now()), append(now, fastopt.Now(m))
			time.Sleep(ms)
			fastopt.Skew(m, time.Hour, time.Hour)
		}
		time.Sleep(time.Second)
		for i, tm := range times {
			if d := time.Duration(i)*(time.Hour+10*time.Second+ms) + 10*time.Second; at(tm) != now[i] || now[i] != d {
				t.Errorf("sleep %d: %v, %v then, want %v", i, at(tm), now[i], d)
			}
		}
		if d := at(time.Now()); d != fastopt.Now(m) {
			t.Errorf("now is %v, not %v", d, fastopt.Now(m))
		}
	})
}

// R15: what a process asked for before the machine slept, it does not offer the
// cache after that, however soon.
func TestR15AFillFromBeforeASleepIsDropped(t *testing.T) {
	for night, late := range map[time.Duration]bool{5 * time.Second: false, 7 * time.Second: true} {
		inWorld(t, func(t *testing.T, w *world) {
			w.sql("f/x", "5")
			f := newFleet(w, 1)
			hookOnce(t, point.FillSend, f.managers[0], "f/x", func() {
				w.drop("f/x") // elsewhere, and nothing of it is left in the cache
				fastopt.Skew(f.managers[0], night, night)
			})
			f.load(t, 1)
			time.Sleep(time.Second)
			dropped, held := f.managers[0].Stats().FillsLate, w.cached("f/x")
			if late && (dropped != 1 || held == "5") || !late && (dropped != 0 || held != "5") {
				t.Errorf("after %v, %d fills dropped, the cache holds %q", night, dropped, held)
			}
		})
	}
}

// A process that stood still reads all again, though its channel of pushes is
// alive when it looks, and nothing tells that it was not.
func TestAProcessThatStoodStillVerifiesAll(t *testing.T) {
	for pause, noticed := range map[time.Duration]bool{1900 * ms: false, 3100 * ms: true} {
		t.Run(pause.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				s := &scripted{Cache: w.cache, every: 250 * ms}
				cfg := w.config()
				cfg.Cache = s
				var armed, stood atomic.Bool
				cfg.Jitter = func() float64 {
					if armed.CompareAndSwap(true, false) { // the refresher, which renews what it need not ask for
						time.Sleep(pause)
						stood.Store(true)
					}
					return 0.5
				}
				var r fastopt.Registry
				foo := fastopt.New(&r, "foo", "")
				m := w.open(cfg, &r)
				set(t, foo, "v1")
				s.sink(tiers.Event{Kind: tiers.Changed, Name: "foo"}) // its own fill's
				time.Sleep(30 * time.Second)
				armed.Store(true)
				for !stood.Load() {
					time.Sleep(10 * ms)
				}
				w.poison("foo", `"v2"`, tiers.Stamp{Epoch: 1, Revision: 90}) // and no push of it
				time.Sleep(2 * time.Second)
				if m := m.Stats(); m.Unverified != map[bool]uint64{true: 1}[noticed] || !m.PushesUp {
					t.Errorf("%+v", m)
				}
				if v := foo.Get(); (v == "v2") != noticed {
					t.Errorf("reads %q", v)
				}
				if n := len(w.log.lines("this process stood still")); n != map[bool]int{true: 1}[noticed] {
					t.Errorf("%d lines", n)
				}
			})
		})
	}
}

// What became due meanwhile is not asked for at one instant by all who woke.
func TestAfterASleepReloadsAreSpread(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		var n atomic.Int64
		cfg.Jitter = func() float64 { return float64(n.Add(1)%10) / 10 }
		var r fastopt.Registry
		for i := range 50 {
			fastopt.New(&r, fmt.Sprint("n.", i), 0)
		}
		m := w.open(cfg, &r)
		time.Sleep(time.Second)
		hits := m.Stats().CacheHits
		fastopt.Skew(m, time.Hour, time.Hour)
		var busy int
		for range 2000 / 50 {
			time.Sleep(50 * ms)
			if now := m.Stats().CacheHits; now > hits {
				if now-hits > 25 {
					t.Errorf("%d loads in 50 ms", now-hits)
				}
				busy, hits = busy+1, now
			}
		}
		if busy < 5 {
			t.Errorf("spread over %d × 50 ms", busy)
		}
	})
}
