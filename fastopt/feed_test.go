package fastopt_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// The relay's part in the mark: a step a second, and what it does when it does
// not find there what it wrote (P12).

func TestTheRelayStepsTheMarkOnceASecond(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		for _, wakes := range []int{0, 20} {
			before := w.mark()
			for range 60 {
				for i := range wakes {
					w.sql("foo", fmt.Sprint(i))
					time.Sleep(time.Second / time.Duration(wakes))
				}
				if wakes == 0 {
					time.Sleep(time.Second)
				}
			}
			if n := w.mark().Fed - before.Fed; n < 55 || n > 90 || w.mark().Identity != before.Identity {
				t.Errorf("%d steps a minute, woken %d times a second", n, wakes)
			}
		}
		if s := relay.Stats(); s.RelayResyncs != 1 || s.RelayErrors != 0 || !s.CacheFed {
			t.Errorf("%+v", s)
		}
	})
}

// What the relay finds in place of the mark it wrote tells it what became of
// the cache.
func TestTheRelayFindsAnotherMark(t *testing.T) {
	for _, c := range []struct {
		what    string
		change  func(w *world, m tiers.Mark)
		resyncs uint64
	}{
		{"set back", func(w *world, m tiers.Mark) { m.Fed -= 3; w.putMark(m) }, 1},
		{"of an older epoch", func(w *world, m tiers.Mark) { m.Epoch, m.Fed = 1, m.Fed+9; w.putMark(m) }, 1},
		{"unreadable", func(w *world, m tiers.Mark) { w.store.CorruptMark("default", []byte("?")) }, 1},
		{"stepped by another relay", func(w *world, m tiers.Mark) { m.Fed += 9; w.putMark(m) }, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			inMarkedWorld(t, func(t *testing.T, w *world) {
				w.rows.StepEpoch()
				w.sql("foo", `"v"`)
				relay := w.openRelay()
				foo, m := process(w, "foo", "")
				time.Sleep(5 * time.Second)
				was, errs := w.mark(), relay.Stats().RelayErrors
				w.poison("foo", `"old"`, tiers.Stamp{Epoch: 2}) // what came with it
				c.change(w, was)
				time.Sleep(2 * time.Second)
				if now := w.mark(); now.Identity != was.Identity || now.Fed <= was.Fed {
					t.Errorf("%+v after %+v", now, was)
				}
				s := relay.Stats()
				if s.RelayResyncs != 1+c.resyncs || s.RelayErrors != errs || !s.Relay || !m.Stats().CacheFed {
					t.Errorf("%+v", s)
				}
				if c.resyncs > 0 && w.cached("foo") != `"v"` {
					t.Errorf("the cache holds %q", w.cached("foo"))
				}
				want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
			})
		})
	}
}

// A mark that is gone tells of a loss that the channel of pushes does not.
func TestTheRelayNoticesALossByTheMark(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		relay := w.openRelay()
		time.Sleep(3 * time.Second)
		w.cache.Freeze()
		w.store.Flush()
		time.Sleep(1500 * time.Millisecond) // not yet noticed otherwise
		if s := relay.Stats(); !s.PushesUp || s.RelayResyncs != 2 || w.cached("foo") != `"v"` {
			t.Errorf("%+v, cached %q", s, w.cached("foo"))
		}
		w.cache.Reconnect()
	})
}

// A mark that cannot be written is tried again, and said once; one whose
// writing was only not acknowledged costs no pass over everything.
func TestTheRelayCannotWriteTheMark(t *testing.T) {
	for _, fault := range []faults.Fault{{Err: errDown}, {Hang: true}, {Lost: true}} {
		t.Run(fmt.Sprintf("%+v", fault), func(t *testing.T) {
			inMarkedWorld(t, func(t *testing.T, w *world) {
				foo, m := process(w, "foo", "")
				relay := w.openRelay()
				time.Sleep(3 * time.Second)
				w.cache.Inject(faults.PutMark, fault)
				time.Sleep(8 * time.Second)
				s := relay.Stats()
				if s.RelayErrors < 4 || s.RelayErrors > 60 || len(w.log.lines("the relay fails", "following changes")) != 1 {
					t.Errorf("%d errors, %d lines", s.RelayErrors, len(w.log.lines("the relay fails")))
				}
				if m.Stats().CacheFed {
					t.Error("it counts as fed")
				}
				w.sql("foo", `"v"`) // is carried all the same
				time.Sleep(2 * time.Second)
				want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
				w.heal()
				time.Sleep(3 * time.Second)
				if s := relay.Stats(); !m.Stats().CacheFed || s.RelayResyncs != 1 || len(w.log.lines("the relay works again")) != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// R34: the mark says that the cache has all the source has: it stands still
// while what changed cannot be carried there, and readers ask the source.
func TestR34TheMarkStandsStillWhileNothingCanBeCarried(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.openRelay()
		foo, m := process(w, "foo", "")
		time.Sleep(2 * time.Second)
		w.cacheSetFails()
		w.sql("foo", `"v"`)
		time.Sleep(time.Second)
		was := w.mark()
		time.Sleep(8 * time.Second)
		if w.mark() != was {
			t.Errorf("%+v after %+v", w.mark(), was)
		}
		time.Sleep(4 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Source)
		for range 30 { // nor does a relay that begins anew, and has not offered everything yet
			time.Sleep(time.Second)
			if w.mark() != was || m.Stats().CacheFed {
				t.Fatalf("%+v after %+v", w.mark(), was)
			}
		}
		w.heal()
		time.Sleep(3 * time.Second)
		if !m.Stats().CacheFed || w.cached("foo") != `"v"` {
			t.Errorf("%+v, cached %q", m.Stats(), w.cached("foo"))
		}
	})
}

// R28: a relay on a zombie primary beside that of the new one: the mark never
// goes back, the zombie learns and refuses, and nothing it says is read.
func TestR28AZombiesRelayNeverSetsTheMarkBack(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		old := w.openRelay()
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		time.Sleep(2 * time.Second)

		zombieRows := w.rows
		zombie := w.promote(map[string]string{"foo": `"v1"`})
		w.db.right = memory.NewSource() // the servers do not know of each other
		behind, ahead := faults.NewHistorian(zombie), faults.NewHistorian(w.db)
		cfg := w.config()
		cfg.Source, cfg.Relay = behind, fastopt.Auto
		var rz fastopt.Registry
		onZombie := fastopt.New(&rz, "foo", "")
		must(t, old.Close())
		mz := w.open(cfg, &rz)
		leads(t, 2*time.Second, mz)

		cfg.Source = ahead
		mn := w.open(cfg)
		leads(t, 2*time.Second, mn)
		must(t, second(zombieRows.Write(ctx, "default", []tiers.Write{{Name: "foo", Data: []byte(`"zombie"`)}})))
		seen := false
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			if is := w.mark(); is.Epoch == 2 {
				seen = true
			} else if seen {
				t.Fatalf("set back to %+v", is)
			}
			if seen && w.cached("foo") == `"zombie"` {
				t.Fatal("the cache took the zombie's word")
			}
		}
		if heard := zombie.learned(); !seen || len(heard) == 0 || heard[len(heard)-1].Epoch != 2 {
			t.Errorf("learned %+v", heard)
		}
		want(t, foo.Inspect(), "v1", fastopt.Fresh, foo.Inspect().Origin)
		want(t, onZombie.Inspect(), "v1", fastopt.Fresh, foo.Inspect().Origin)
		if m.Stats().Epoch != 2 || mz.Stats().Epoch != 2 {
			t.Errorf("epochs %d and %d", m.Stats().Epoch, mz.Stats().Epoch)
		}
	})
}

// … nor does one whose source cannot be told of it.
func TestR28ARelayNeverReplacesAMarkOfALaterHistory(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "")
		set(t, foo, "v")
		w.asSource = w.source // which is no tiers.Historian
		relay := w.openRelay()
		time.Sleep(2 * time.Second)
		later := w.mark()
		later.Timeline, later.Epoch = 2, 2
		w.putMark(later)
		for range 300 {
			if time.Sleep(100 * time.Millisecond); w.mark() != later {
				t.Fatalf("replaced by %+v", w.mark())
			}
		}
		if s := relay.Stats(); s.RelayErrors == 0 || s.Epoch != 2 {
			t.Errorf("%+v", s)
		}
	})
}
