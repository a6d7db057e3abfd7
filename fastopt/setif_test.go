package fastopt_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Conditional writes: only if nothing changed since it was read.

func TestSetIfHoldsOnlyForWhatWasRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		first, err := foo.SetIf(ctx, fastopt.Stamp{}, "v1", fastopt.By("alice", "first")) // it has no value
		must(t, err)
		if _, err := foo.SetIf(ctx, fastopt.Stamp{}, "again"); !errors.Is(err, fastopt.ErrConflict) || !contains(err, `"foo"`) {
			t.Errorf("%v", err)
		}
		second, err := foo.SetIf(ctx, foo.Inspect().Stamp, "v2")
		must(t, err)
		if !second.Stamp.Newer(first.Stamp) || !second.Cached || foo.Get() != "v2" || w.cached("foo") != `"v2"` {
			t.Errorf("%+v after %+v, reads %q", second, first, foo.Get())
		}
		for _, stamp := range []fastopt.Stamp{first.Stamp, {}, {Epoch: 1, Revision: 99}, {Epoch: 2, Revision: second.Stamp.Revision}} {
			if _, err := foo.SetIf(ctx, stamp, "v3"); !errors.Is(err, fastopt.ErrConflict) {
				t.Errorf("%v: %v", stamp, err)
			}
		}
		if w.row("foo") != `"v2"` {
			t.Errorf("the row is %s", w.row("foo"))
		}
		if row, _ := w.rows.Row("default", "foo"); row.Actor != "" {
			t.Errorf("%+v", row)
		}
		settle()
		want(t, foo.Load(ctx), "v2", fastopt.Fresh, foo.Inspect().Origin)
		w.rows.StepEpoch() // another history: what was read is of the one before
		if _, err := foo.SetIf(ctx, second.Stamp, "v3"); !errors.Is(err, fastopt.ErrConflict) {
			t.Errorf("%v", err)
		}
		r := foo.Load(ctx)
		if r.Stamp.Epoch != 2 {
			t.Fatalf("%+v", r)
		}
		must(t, third(foo.SetIf(ctx, r.Stamp, "v3")))
		if s := m.Stats(); s.WritesFailed != 6 || s.Writes != 3 {
			t.Errorf("%d writes, %d failed", s.Writes, s.WritesFailed)
		}
	})
}

func third(_ fastopt.Receipt, err error) error { return err }

// A delete in between is a change, whatever was read before it.
func TestSetIfSeesADeleteInBetween(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "d")
		theirs, _ := process(w, "foo", "d")
		rc := set(t, foo, "v")
		must(t, second(theirs.Delete(ctx)))
		if _, err := foo.SetIf(ctx, rc.Stamp, "w"); !errors.Is(err, fastopt.ErrConflict) {
			t.Errorf("%v", err)
		}
		want(t, foo.Load(ctx), "d", fastopt.Fresh, fastopt.Default)
		if w.row("foo") != "" {
			t.Errorf("the row is %s", w.row("foo"))
		}
	})
}

// ErrConflict makes the next Load read the truth from the source: the cache may
// not have it, and no push may come.
func TestAConflictMakesTheNextLoadAskTheSource(t *testing.T) {
	for _, how := range []string{"with pushes", "without pushes", "with a cache that has the old value", "without a cache"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				cfg := w.config()
				if how == "without a cache" {
					cfg.Cache = nil
				}
				var r fastopt.Registry
				foo := fastopt.New(&r, "foo", "")
				m := w.open(cfg, &r)
				rc := set(t, foo, "v1")
				time.Sleep(time.Second)
				switch how {
				case "without pushes":
					w.cache.Cut()
					settle()
				case "with a cache that has the old value":
					w.cacheSetFails()
				case "without a cache":
					w.source.DropEvents(true)
				}
				w.sql("foo", `"v2"`)
				if _, err := foo.SetIf(ctx, rc.Stamp, "v3"); !errors.Is(err, fastopt.ErrConflict) {
					t.Fatal(err)
				}
				got := foo.Load(ctx)
				want(t, got, "v2", fastopt.Fresh, fastopt.Source)
				w.heal()
				must(t, third(foo.SetIf(ctx, got.Stamp, "v3")))
				time.Sleep(2 * time.Second)
				if w.row("foo") != `"v3"` || m.Stats().Dirty != 0 || how != "without a cache" && w.cached("foo") != `"v3"` {
					t.Errorf("row %s, cached %s, %d dirty", w.row("foo"), w.cached("foo"), m.Stats().Dirty)
				}
			})
		})
	}
}

// By name, and of a family's member.
func TestSetIfByNameAndOfAFamily(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		f := newFleet(w, 1)
		limit, m := f.limits[0], f.managers[0]
		rc, err := limit.SetIf(ctx, "x", fastopt.Stamp{}, 5)
		must(t, err)
		if _, err := m.SetIf(ctx, "f/x", fastopt.Stamp{}, 6); !errors.Is(err, fastopt.ErrConflict) || !contains(err, `"f/x"`) {
			t.Errorf("%v", err)
		}
		rc2, err := m.SetIf(ctx, "f/x", rc.Stamp, 6)
		must(t, err)
		if _, err := limit.SetIf(ctx, "x", rc.Stamp, 7); !errors.Is(err, fastopt.ErrConflict) || !contains(err, `"f/x"`) {
			t.Errorf("%v", err)
		}
		if r := limit.Load(ctx, "x"); r.Value != 6 || r.Stamp != rc2.Stamp {
			t.Errorf("%+v", r)
		}
		for _, c := range []struct {
			err  error
			want error
		}{
			{third(m.SetIf(ctx, "f/x", rc2.Stamp, "text")), fastopt.ErrInvalidValue},
			{third(m.SetIf(ctx, "nobody", rc2.Stamp, 1)), fastopt.ErrUnknownOption},
			{third(limit.SetIf(ctx, "", rc2.Stamp, 1)), fastopt.ErrInvalidName},
			{third(limit.SetIf(ctx, "x", rc2.Stamp, 1, fastopt.By("a\x00", ""))), fastopt.ErrInvalidValue},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%v, want %v", c.err, c.want)
			}
		}
	})
}

// Of many who set what they have read, one succeeds each time: no update is lost.
func TestConditionalUpdatesAreNotLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var wg sync.WaitGroup
		for range 4 {
			n, _ := process(w, "n", 0)
			for range 2 {
				wg.Go(func() {
					for done := 0; done < 25; {
						r := n.Load(ctx)
						stamp := r.Stamp
						if r.Origin == fastopt.Default {
							stamp = fastopt.Stamp{}
						}
						switch _, err := n.SetIf(ctx, stamp, r.Value+1); {
						case err == nil:
							done++
						case !errors.Is(err, fastopt.ErrConflict):
							t.Error(err)
							return
						}
					}
				})
			}
		}
		wg.Wait()
		if w.row("n") != "200" {
			t.Errorf("the row is %s", w.row("n"))
		}
	})
}

// A writer whose role may only read.
type readOnlySource struct{ *faults.Source }

func (readOnlySource) Write(context.Context, string, []tiers.Write) (tiers.Stamp, error) {
	return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: tiers.ErrReadOnly}
}

func TestARoleThatMayOnlyReadIsSaid(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("n", "5")
		cfg := w.config()
		cfg.Source = readOnlySource{w.source}
		var r fastopt.Registry
		n := fastopt.New(&r, "n", 1)
		m := w.open(cfg, &r)
		for _, err := range []error{
			third(n.Set(ctx, 2)), third(n.Delete(ctx)), third(n.SetIf(ctx, n.Inspect().Stamp, 2)),
			third(m.SetAll(ctx, map[string]any{"n": 2})),
		} {
			if !errors.Is(err, fastopt.ErrReadOnly) || !contains(err, `"n"`) {
				t.Errorf("%v", err)
			}
		}
		want(t, n.Load(ctx), 5, fastopt.Fresh, fastopt.Source)
		must(t, m.Ready())
		if s := m.Stats(); s.Dirty != 0 || s.WritesFailed != 4 || s.Writes != 0 {
			t.Errorf("%+v", s)
		}
	})
}
