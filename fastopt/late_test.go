package fastopt_test

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
)

// R15: a process that stood still between its request and its fill does not
// bring back what may have been deleted, and whose tombstone is forgotten.

func TestR15ALateFillIsDropped(t *testing.T) {
	for pause, late := range map[time.Duration]bool{5 * time.Second: false, 7 * time.Second: true} {
		t.Run(pause.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("f/x", "5")
				f := newFleet(w, 1)
				hookOnce(t, point.FillSend, f.managers[0], "f/x", func() {
					w.drop("f/x") // elsewhere, and nothing of it is left in the cache
					time.Sleep(pause)
				})
				f.load(t, 1)
				time.Sleep(pause + time.Second)
				dropped, held := f.managers[0].Stats().FillsLate, w.cached("f/x")
				if late && (dropped != 1 || held == "5") || !late && (dropped != 0 || held != "5") {
					t.Errorf("%d fills dropped, the cache holds %q", dropped, held)
				}
			})
		})
	}
}

// A writer that stood still says that the cache lacks its write, and sees to it.
func TestR23ALateWriteIsSaidAndRepaired(t *testing.T) {
	for _, p := range []point.Point{point.WriteCommit, point.WriteFill, point.FillSend} {
		t.Run(string(p), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				foo, m := process(w, "foo", "")
				time.Sleep(time.Second)
				hookOnce(t, p, m, "foo", func() { time.Sleep(7 * time.Second) })
				rc := set(t, foo, "v")
				if s := m.Stats(); rc.Cached || s.FillsLate != 1 {
					t.Errorf("%+v, %+v", rc, s)
				}
				if foo.Get() != "v" {
					t.Errorf("reads %q", foo.Get())
				}
				time.Sleep(2 * time.Second)
				if s := m.Stats(); s.Dirty != 0 || s.Repaired != 1 || w.cached("foo") != `"v"` {
					t.Errorf("%+v, cached %q", s, w.cached("foo"))
				}
				want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
			})
		})
	}
}

// … also if it was deleted meanwhile: the repair brings the tombstone, not the value.
func TestR15ALateWriteOfWhatWasDeletedMeanwhile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		theirs, _ := process(w, "foo", "d")
		hookOnce(t, point.FillSend, m, "foo", func() {
			time.Sleep(6 * time.Second)
			must(t, second(theirs.Delete(ctx)))
			w.store.Flush()
			time.Sleep(time.Second)
		})
		set(t, foo, "v")
		time.Sleep(3 * time.Second)
		want(t, foo.Inspect(), "d", fastopt.Fresh, fastopt.Default)
		if w.cached("foo") != "absent" {
			t.Errorf("the cache holds %q", w.cached("foo"))
		}
	})
}
