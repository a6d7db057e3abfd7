package fastopt_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// Writes of several options: one transaction, one stamp, or nothing.

type several struct {
	n    *fastopt.Option[int]
	s    *fastopt.Option[string]
	f    *fastopt.Family[int]
	even *fastopt.Option[int]
	m    *fastopt.Manager
}

func openSeveral(w *world) (o several) {
	var r fastopt.Registry
	o.n, o.s = fastopt.New(&r, "n", 1), fastopt.New(&r, "s", "")
	o.f = fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", Default: 1, MaxEntries: 1000})
	o.even = fastopt.Declare(&r, fastopt.Spec[int]{Name: "even", Check: fastopt.Between(0, 100)})
	o.m = w.open(w.config(), &r)
	return o
}

func TestSetAllGivesOneStamp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine, theirs := openSeveral(w), openSeveral(w)
		time.Sleep(time.Second)
		told := make(chan fastopt.Reading[string], 10)
		go func() {
			for r := range theirs.s.Watch(t.Context()) {
				told <- r
			}
		}()
		<-told
		writes, fills := w.source.Calls(faults.Write), w.cache.Calls(faults.Fill)
		rc, err := mine.m.SetAll(ctx, map[string]any{"n": 2, "s": "two", "f/x": 22, "even": 4}, fastopt.By("alice", "all of it"))
		must(t, err)
		if mine.n.Get() != 2 || mine.s.Get() != "two" || mine.f.Get("x") != 22 || mine.even.Get() != 4 { // I4
			t.Error("it does not read its own writes")
		}
		if w.source.Calls(faults.Write)-writes != 1 || w.cache.Calls(faults.Fill)-fills != 1 || !rc.Cached {
			t.Errorf("%+v, in more than one call", rc)
		}
		settle()
		for i, o := range []several{mine, theirs} {
			for name, r := range must1(t)(o.m.Load(ctx, "n", "s", "f/x", "even")) {
				if r.Stamp != rc.Stamp || r.State != fastopt.Fresh {
					t.Errorf("process %d, %s: %+v, want %v", i, name, r, rc.Stamp)
				}
			}
		}
		if r := <-told; r.Value != "two" || r.Stamp != rc.Stamp {
			t.Errorf("a watcher was told %+v", r)
		}
		if row, _ := w.rows.Row("default", "f/x"); row.Actor != "alice" || row.Reason != "all of it" || row.Revision != rc.Stamp.Revision {
			t.Errorf("%+v", row)
		}
		if s := mine.m.Stats(); s.Writes != 1 {
			t.Errorf("%d writes", s.Writes)
		}
	})
}

func must1(t *testing.T) func(m map[string]fastopt.Reading[any], err error) map[string]fastopt.Reading[any] {
	return func(m map[string]fastopt.Reading[any], err error) map[string]fastopt.Reading[any] {
		must(t, err)
		return m
	}
}

// What is wrong with one option keeps all from being sent, and is named.
func TestSetAllWritesAllOrNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		o := openSeveral(w)
		time.Sleep(time.Second)
		many := map[string]any{}
		for i := range 501 {
			many[fmt.Sprintf("f/%d", i)] = i
		}
		for _, c := range []struct {
			what   string
			values map[string]any
			opts   []fastopt.WriteOption
			want   error
			names  string
		}{
			{"unknown", map[string]any{"n": 2, "nobody": 1}, nil, fastopt.ErrUnknownOption, `"nobody"`},
			{"no name", map[string]any{"n": 2, "A b": 1}, nil, fastopt.ErrInvalidName, `"A b"`},
			{"no key", map[string]any{"n": 2, "f/": 1}, nil, fastopt.ErrInvalidName, `"f/"`},
			{"another type", map[string]any{"n": 2, "s": 5}, nil, fastopt.ErrInvalidValue, `"s"`},
			{"nil", map[string]any{"n": 2, "s": nil}, nil, fastopt.ErrInvalidValue, `"s"`},
			{"refused by Check", map[string]any{"n": 2, "even": 500}, nil, fastopt.ErrInvalidValue, `"even"`},
			{"too large", map[string]any{"n": 2, "s": strings.Repeat("x", 70_000)}, nil, fastopt.ErrTooLarge, `"s"`},
			{"too many", many, nil, fastopt.ErrTooLarge, "the limit is 500"},
			{"actor", map[string]any{"n": 2}, []fastopt.WriteOption{fastopt.By("\xff", "")}, fastopt.ErrInvalidValue, `"n"`},
		} {
			rc, err := o.m.SetAll(ctx, c.values, c.opts...)
			if !errors.Is(err, c.want) || !contains(err, c.names) || contains(err, "500,") || rc != (fastopt.Receipt{}) {
				t.Errorf("%s: %+v, %v", c.what, rc, err)
			}
		}
		for _, none := range []map[string]any{nil, {}} {
			if rc, err := o.m.SetAll(ctx, none); err != nil || rc != (fastopt.Receipt{}) {
				t.Errorf("of none: %+v, %v", rc, err)
			}
		}
		if n := w.source.Calls(faults.Write); n != 0 || w.row("n") != "" || o.n.Get() != 1 {
			t.Errorf("%d writes were sent", n)
		}
		delete(many, "f/500")
		rc, err := o.m.SetAll(ctx, many)
		must(t, err)
		if rc.Stamp.Revision != 1 || o.f.Get("499") != 499 || w.cached("f/499") != "499" {
			t.Errorf("500 at once: %+v", rc)
		}
	})
}

// A batch that the source refuses leaves no trace; of one that it does not
// answer for, everything is read anew; one that the cache does not take is repaired.
func TestSetAllThatFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		o := openSeveral(w)
		must(t, third(o.m.SetAll(ctx, map[string]any{"n": 2, "s": "two"})))
		time.Sleep(time.Second)
		next := map[string]any{"n": 3, "s": "three"}

		w.source.Inject(faults.Write, faults.Fault{Err: errDown})
		if _, err := o.m.SetAll(ctx, next); !errors.Is(err, fastopt.ErrUnavailable) || !contains(err, "set 2 options") {
			t.Errorf("%v", err)
		}
		want(t, o.n.Inspect(), 2, fastopt.Fresh, fastopt.Write)
		want(t, o.s.Inspect(), "two", fastopt.Fresh, fastopt.Write)

		w.source.Inject(faults.Write, faults.Fault{Lost: true}) // it is applied
		if _, err := o.m.SetAll(ctx, next); !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Errorf("%v", err)
		}
		want(t, o.n.Inspect(), 2, fastopt.Stale, fastopt.Write)
		want(t, o.s.Inspect(), "two", fastopt.Stale, fastopt.Write)
		w.heal()
		time.Sleep(3 * time.Second)
		want(t, o.n.Inspect(), 3, fastopt.Fresh, fastopt.Source)
		want(t, o.s.Inspect(), "three", fastopt.Fresh, fastopt.Source)

		w.cacheSetFails()
		rc, err := o.m.SetAll(ctx, map[string]any{"n": 4, "s": "four"})
		if err != nil || rc.Cached {
			t.Errorf("%+v, %v", rc, err)
		}
		w.heal()
		time.Sleep(2 * time.Second)
		if w.cached("n") != "4" || w.cached("s") != `"four"` || o.m.Stats().Dirty != 0 {
			t.Errorf("the cache holds %s and %s", w.cached("n"), w.cached("s"))
		}
		must(t, o.m.Close())
		if _, err := o.m.SetAll(ctx, next); !errors.Is(err, fastopt.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}
