package fastopt_test

import (
	"errors"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/fastopt/fastopttest"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// The scenarios of the options store that this library descends from: faults
// are injected below the library, and memory is flushed between reads. "get" is
// Load.

func TestS01AnOptionNeverSetReadsItsDefault(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "")
		want(t, foo.Load(ctx), "", fastopt.Fresh, fastopt.Default)
		if foo.Get() != "" {
			t.Error("Get differs")
		}
	})
}

func TestS03SetGetDeleteGet(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "")
		set(t, foo, "bar")
		if foo.Get() != "bar" {
			t.Error("Get does not read its own write")
		}
		want(t, foo.Load(ctx), "bar", fastopt.Fresh, fastopt.Write)
		rc, err := foo.Delete(ctx)
		must(t, err)
		if !rc.Cached {
			t.Error("the cache was told, but Cached is false")
		}
		if foo.Get() != "" {
			t.Error("Get does not see its own delete")
		}
		want(t, foo.Load(ctx), "", fastopt.Fresh, fastopt.Default)
		if w.row("foo") != "" || w.cached("foo") != "absent" {
			t.Errorf("source holds %q, cache %q", w.row("foo"), w.cached("foo"))
		}
		_, err = foo.Delete(ctx)
		must(t, err) // deleting what is not set succeeds
	})
}

func TestS04AnUnknownNameCostsNoIO(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "http.max-body", 1)
		before := w.cache.Calls(faults.Load) + w.source.Calls(faults.Load) + w.source.Calls(faults.Write)
		for op, err := range map[string]error{
			"get":    second(m.Get("http.max-bodi")),
			"set":    second(m.Set(ctx, "http.max-bodi", 2)),
			"delete": second(m.Delete(ctx, "http.max-bodi")),
			"load":   second(m.Load(ctx, "http.max-body", "http.max-bodi")),
			"isset":  second(m.IsSet(ctx, "http.max-bodi")),
		} {
			if !errors.Is(err, fastopt.ErrUnknownOption) {
				t.Errorf("%s: %v", op, err)
			} else if want := `did you mean "http.max-body"?`; !contains(err, want) || !contains(err, `"http.max-bodi"`) {
				t.Errorf("%s: %v: does not name the option, or the nearest", op, err)
			}
		}
		if n := w.cache.Calls(faults.Load) + w.source.Calls(faults.Load) + w.source.Calls(faults.Write); n != before {
			t.Errorf("%d calls to tiers", n-before)
		}
	})
}

func TestS06ASecondDeclarationIsRefusedAndTheFirstIntact(t *testing.T) {
	var r fastopt.Registry
	foo := fastopt.New(&r, "foo", 1)
	if _, err := fastopt.TryDeclare(&r, fastopt.Spec[string]{Name: "foo"}); !errors.Is(err, fastopt.ErrDeclaration) {
		t.Errorf("TryDeclare: %v", err)
	}
	if msg := panicOf(func() { fastopt.New(&r, "foo", 2) }); msg == nil {
		t.Error("New did not panic")
	}
	if foo.Get() != 1 || foo.Default() != 1 || foo.Name() != "foo" {
		t.Error("the first declaration changed")
	}
}

func TestS07ADefaultThatFailsItsCheckIsNotDeclared(t *testing.T) {
	var r fastopt.Registry
	spec := fastopt.Spec[int]{Name: "n", Default: 5, Check: fastopt.Between(10, 20)}
	if _, err := fastopt.TryDeclare(&r, spec); !errors.Is(err, fastopt.ErrInvalidValue) || !contains(err, "between 10 and 20") {
		t.Errorf("TryDeclare: %v", err)
	}
	spec.Default = 10
	if _, err := fastopt.TryDeclare(&r, spec); err != nil {
		t.Errorf("the failed declaration left something behind: %v", err)
	}
}

func TestS08AnOmittedDefaultIsTheZeroValue(t *testing.T) {
	var r fastopt.Registry
	if n := fastopt.Declare(&r, fastopt.Spec[int]{Name: "n"}); n.Get() != 0 {
		t.Error("not zero")
	}
	if _, err := fastopt.TryDeclare(&r, fastopt.Spec[any]{Name: "x"}); !errors.Is(err, fastopt.ErrDeclaration) {
		t.Errorf("a declaration without a type: %v", err)
	}
}

func TestS13AWrongTypeIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, m := process(w, "n", 0)
		_, err := m.Set(ctx, "n", "foo")
		if !errors.Is(err, fastopt.ErrInvalidValue) || w.source.Calls(faults.Write) != 0 {
			t.Errorf("%v after %d writes", err, w.source.Calls(faults.Write))
		}
		_, err = m.Set(ctx, "n", 1)
		must(t, err)
		want(t, n.Load(ctx), 1, fastopt.Fresh, fastopt.Write)
	})
}

func TestS21ARefusedWriteLeavesNoTrace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "old")
		settle()
		before := foo.Inspect()
		w.sourceFails()
		fills := w.cache.Calls(faults.Fill)
		for _, write := range []func() (fastopt.Receipt, error){
			func() (fastopt.Receipt, error) { return foo.Set(ctx, "bar") },
			func() (fastopt.Receipt, error) { return foo.Delete(ctx) },
		} {
			if rc, err := write(); !errors.Is(err, fastopt.ErrUnavailable) || errors.Is(err, fastopt.ErrOutcomeUnknown) || rc != (fastopt.Receipt{}) {
				t.Errorf("%v %v", rc, err)
			}
		}
		after := foo.Inspect()
		if after.Age = before.Age; after != before {
			t.Errorf("reading changed from %+v to %+v", before, after)
		}
		if w.cache.Calls(faults.Fill) != fills || w.row("foo") != `"old"` || m.Stats().Dirty != 0 {
			t.Error("a tier was changed")
		}
	})
}

func TestR33AWriteWithoutAnswerIsOfUnknownOutcome(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "old")
		settle()
		w.source.Inject(faults.Write, faults.Fault{Lost: true, Hang: true})
		w.source.Inject(faults.Load, faults.Fault{Delay: time.Microsecond}) // it is read again, but not before we have looked
		start := time.Now()
		_, err := foo.Set(ctx, "new")
		if !errors.Is(err, fastopt.ErrOutcomeUnknown) || errors.Is(err, fastopt.ErrUnavailable) {
			t.Errorf("error: %v", err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("took %v", d)
		}
		if r := foo.Inspect(); r.State == fastopt.Fresh || r.Value != "old" {
			t.Errorf("nothing may be installed or fresh: %+v", r)
		}
		// It was applied: the source is read again by itself, and the cache filled.
		settle()
		want(t, foo.Inspect(), "new", fastopt.Fresh, fastopt.Source)
		if w.cached("foo") != `"new"` {
			t.Errorf("cache holds %q", w.cached("foo"))
		}
		time.Sleep(3 * time.Second)
		if n := m.Stats().Dirty; n != 0 {
			t.Errorf("%d keys still under repair", n)
		}
	})
}

func TestS22ToS24(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "bar")
		fastopttest.Flush(t, m)
		w.sourceFails()
		want(t, foo.Load(ctx), "bar", fastopt.Fresh, fastopt.Cache) // S22

		fastopttest.Flush(t, m)
		w.cacheGetFails()
		for range 2 { // S23, then S24
			r := foo.Load(ctx)
			want(t, r, "", fastopt.Unloaded, fastopt.Default)
			if !errors.Is(r.Err, fastopt.ErrUnavailable) {
				t.Errorf("cause: %v", r.Err)
			}
			w.cacheSetFails()
		}
	})
}

func TestS26ToS30(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "bar")
		fastopttest.Flush(t, m)
		w.cacheGetFails()
		want(t, foo.Load(ctx), "bar", fastopt.Fresh, fastopt.Source) // S26

		fastopttest.Flush(t, m)
		w.cacheSetFails()
		want(t, foo.Load(ctx), "bar", fastopt.Fresh, fastopt.Source) // S27

		fastopttest.Flush(t, m)
		if rc := set(t, foo, "baz"); rc.Cached { // S28
			t.Error("Cached, though the cache failed")
		}
		if w.row("foo") != `"baz"` || w.cached("foo") != `"bar"` {
			t.Errorf("source %q, cache %q", w.row("foo"), w.cached("foo"))
		}
		if foo.Get() != "baz" {
			t.Error("the writer does not read its own write")
		}

		w.heal()
		time.Sleep(2 * time.Second) // S29: repaired by itself
		if w.cached("foo") != `"baz"` {
			t.Errorf("cache still holds %q", w.cached("foo"))
		}
		if s := m.Stats(); s.Dirty != 0 || s.Repaired != 1 {
			t.Errorf("stats %+v", s)
		}
		fastopttest.Flush(t, m)
		want(t, foo.Load(ctx), "baz", fastopt.Fresh, fastopt.Cache)

		for range 2 { // S30
			fastopttest.Flush(t, m)
			w.cacheGetFails()
			want(t, foo.Load(ctx), "baz", fastopt.Fresh, fastopt.Source)
			w.cacheSetFails()
		}
	})
}

// S29 for the others: they see the write although its fill failed.
func TestS29AnotherProcessSeesAWriteWhoseFillFailed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine, _ := process(w, "foo", "")
		theirs, _ := process(w, "foo", "")
		set(t, mine, "bar")
		settle()
		w.cacheSetFails()
		set(t, mine, "baz")
		settle()
		if theirs.Get() != "bar" {
			t.Fatalf("who told them? they read %q", theirs.Get())
		}
		w.heal()
		time.Sleep(2 * time.Second)
		want(t, theirs.Inspect(), "baz", fastopt.Fresh, fastopt.Cache)
	})
}

// The table of ages: TTL 10 s, grace 10 s.
func TestTTLAndGraceAreHalfOpenIntervals(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		foo := fastopt.Declare(&r, fastopt.Spec[string]{Name: "foo", TTL: 10 * time.Second, Grace: 10 * time.Second})
		none := fastopt.Declare(&r, fastopt.Spec[string]{Name: "none", TTL: 10 * time.Second, Grace: fastopt.NoGrace})
		ever := fastopt.Declare(&r, fastopt.Spec[string]{Name: "ever", TTL: 10 * time.Second, Grace: fastopt.Forever})
		w.open(w.config(), &r)
		written := time.Now()
		for _, o := range []*fastopt.Option[string]{foo, none, ever} {
			set(t, o, "v")
		}
		w.allFail()
		w.cache.Cut() // or the push of our own fill would end freshness
		// Freshness ended with the cut; age did not.
		at := func(d time.Duration) { time.Sleep(d - time.Since(written)) }

		at(10*time.Second - 1)
		want(t, none.Inspect(), "v", fastopt.Stale, fastopt.Write)
		at(10 * time.Second)
		want(t, none.Inspect(), "", fastopt.Expired, fastopt.Default)
		want(t, foo.Inspect(), "v", fastopt.Stale, fastopt.Write)
		at(20*time.Second - 1)
		want(t, foo.Inspect(), "v", fastopt.Stale, fastopt.Write)
		if foo.Get() != "v" {
			t.Error("Get fell to the default early")
		}
		at(20 * time.Second)
		want(t, foo.Inspect(), "", fastopt.Expired, fastopt.Default)
		settle()
		if foo.Get() != "" {
			t.Error("Get serves an expired value")
		}
		at(10 * time.Minute)
		want(t, ever.Inspect(), "v", fastopt.Stale, fastopt.Write)
		if ever.Get() != "v" {
			t.Error("Forever ended")
		}

		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)  // the same stamp reinstalls
		want(t, ever.Inspect(), "v", fastopt.Fresh, fastopt.Write) // never gone, only renewed
		if foo.Get() != "v" {
			t.Error("the value did not come back")
		}
	})
}

func TestFreshUntilExactlyTTL(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "")
		settle()
		w.cache.DropEvents(true) // nobody says that anything is wrong
		set(t, foo, "v")
		written := time.Now()
		w.allFail()
		time.Sleep(10*time.Second - 1 - time.Since(written))
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Write)
		time.Sleep(time.Nanosecond)
		want(t, foo.Inspect(), "v", fastopt.Stale, fastopt.Write)
		if r := foo.Inspect(); r.Age != 10*time.Second || !errors.Is(r.Err, fastopt.ErrUnavailable) {
			t.Errorf("age %v, cause %v", r.Age, r.Err)
		}
	})
}

func TestAStaleValueNeverRenewsItself(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "")
		set(t, foo, "v")
		written := time.Now()
		w.allFail()
		for time.Since(written) < 69*time.Second {
			if r := foo.Load(ctx); r.Value != "v" {
				t.Fatalf("after %v: %+v", time.Since(written), r)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(70*time.Second - time.Since(written))
		want(t, foo.Load(ctx), "", fastopt.Expired, fastopt.Default)
		w.heal()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache) // nobody's help
	})
}

func TestFalsyValuesAreValues(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		b := fastopt.New(&r, "b", true)
		n := fastopt.New(&r, "n", 7)
		f := fastopt.New(&r, "f", 0.5)
		s := fastopt.New(&r, "s", "x")
		l := fastopt.New(&r, "l", []string{"x"})
		o := fastopt.New(&r, "o", map[string]int{"x": 1})
		m := w.open(w.config(), &r)
		set(t, b, false)
		set(t, n, 0)
		set(t, f, 0)
		set(t, s, "")
		set(t, l, []string{})
		set(t, o, map[string]int{})
		check := func() {
			t.Helper()
			if b.Get() || n.Get() != 0 || f.Get() != 0 || s.Get() != "" || len(l.Get()) != 0 || len(o.Get()) != 0 {
				t.Error("a default was read")
			}
		}
		check()
		fastopttest.Flush(t, m)
		must(t, m.Refresh(ctx))
		check()
		w.store.Flush()
		fastopttest.Flush(t, m)
		must(t, m.Refresh(ctx))
		check()
		for name := range m.All() {
			if set, err := m.IsSet(ctx, name); !set || err != nil {
				t.Errorf("IsSet(%s) = %v, %v", name, set, err)
			}
		}
	})
}

func TestAbsentIsAnAnswerThatCostsNoQuery(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "d")
		time.Sleep(time.Minute)
		if n := w.source.Calls(faults.Load); n != 1 {
			t.Errorf("an option that is not set cost %d queries in a minute", n)
		}
		want(t, foo.Inspect(), "d", fastopt.Fresh, fastopt.Default)
		if set, err := m.IsSet(ctx, "foo"); set || err != nil {
			t.Errorf("reading made it set: %v, %v", set, err)
		}
		if w.cached("foo") != "absent" {
			t.Errorf("the cache holds %q", w.cached("foo"))
		}
	})
}

func TestR12WhatWasDeletedElsewhereIsNotServedThroughGrace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine, _ := process(w, "foo", "d")
		theirs, _ := process(w, "foo", "d")
		set(t, mine, "v")
		settle()
		if theirs.Get() != "v" {
			t.Fatal("no push")
		}
		_, err := mine.Delete(ctx)
		must(t, err)
		time.Sleep(200 * time.Millisecond) // pushes of one key are followed 100 ms apart
		want(t, theirs.Inspect(), "d", fastopt.Fresh, fastopt.Default)
	})
}

// R12: … nor where the cache lost everything and the source just finds no row.
func TestR12NoRowIsAnAnswerAndNoFailure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "d")
		set(t, foo, "v")
		time.Sleep(200 * time.Millisecond)
		must(t, second(w.rows.Write(ctx, "default", []tiers.Write{{Name: "foo", Delete: true}})))
		w.store.Flush()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "d", fastopt.Fresh, fastopt.Default)
		if foo.Get() != "d" || w.cached("foo") != "absent" {
			t.Errorf("Get %q, the cache holds %q", foo.Get(), w.cached("foo"))
		}
	})
}
