package fastopt_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/fastopt/fastopttest"
)

// watched collects what a watcher is told.
func watched[T any](c context.Context, o *fastopt.Option[T]) (seen func() []fastopt.Reading[T], done chan struct{}) {
	var list []fastopt.Reading[T]
	done = make(chan struct{})
	go func() {
		defer close(done)
		for r := range o.Watch(c) {
			list = append(list, r)
		}
	}()
	synctest.Wait()
	return func() []fastopt.Reading[T] { synctest.Wait(); return list }, done
}

// I23: the current reading first, then each newer one, in order, none twice.
func TestWatchTellsEachChangeOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine, m := process(w, "n", 0)
		theirs, _ := process(w, "n", 0)
		seen, done := watched(ctx, mine)
		for i := range 5 {
			set(t, theirs, i+1)
			time.Sleep(200 * time.Millisecond)
		}
		_, err := theirs.Delete(ctx)
		must(t, err)
		time.Sleep(time.Minute) // renewals are no news
		var values []int
		for _, r := range seen() {
			values = append(values, r.Value)
		}
		if want := []int{0, 1, 2, 3, 4, 5, 0}; !equal(values, want) {
			t.Errorf("told %v, want %v", values, want)
		}
		must(t, m.Close())
		<-done // Close ends it
	})
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// A fall to the default, and the way back, are told; going stale is not.
func TestWatchTellsOfTheDefault(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "d")
		set(t, foo, "v")
		time.Sleep(200 * time.Millisecond)
		c, cancel := context.WithCancel(ctx)
		seen, done := watched(c, foo)
		w.allFail()
		w.cache.Cut()
		time.Sleep(2 * time.Minute)
		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		fastopttest.Override(t, foo, "o")
		synctest.Wait()
		cancel()
		<-done
		var got []string
		for _, r := range seen() {
			got = append(got, r.Value+" "+r.State.String())
		}
		want := []string{"v fresh", "d expired", "v fresh", "o fresh"}
		if len(got) != len(want) {
			t.Fatalf("told %q, want %q", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("told %q, want %q", got, want)
			}
		}
	})
}

// A slow watcher delays nobody, skips, and hears the last change.
func TestASlowWatcherHearsTheLastChange(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, _ := process(w, "n", 0)
		enough := make(chan struct{})
		var last int
		var told int
		go func() {
			for r := range n.Watch(ctx) {
				last, told = r.Value, told+1
				if r.Value == 100 {
					close(enough)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		start := time.Now()
		for i := range 100 {
			set(t, n, i+1)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the writer waited %v for a watcher", d)
		}
		<-enough
		if last != 100 || told > 5 {
			t.Errorf("told %d times, last %d", told, last)
		}
	})
}

// Close tells what was published last, then ends.
func TestCloseTellsTheLastChange(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, m := process(w, "n", 0)
		next := make(chan struct{})
		var got []int
		done := make(chan struct{})
		go func() {
			defer close(done)
			for r := range n.Watch(ctx) {
				got = append(got, r.Value)
				<-next
			}
		}()
		synctest.Wait()
		set(t, n, 7)
		must(t, m.Close())
		close(next)
		<-done
		if !equal(got, []int{0, 7}) {
			t.Errorf("told %v", got)
		}
	})
}

// A watcher may come before Open; a panic in its body is its own.
func TestWatchBeforeOpenAndPanic(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		n := fastopt.New(&r, "n", 0)
		c, cancel := context.WithCancel(ctx)
		seen, done := watched(c, n)
		m := w.open(w.config(), &r)
		set(t, n, 3)
		if p := panicOf(func() {
			for range n.Watch(ctx) {
				panic("mine")
			}
		}); p != "mine" {
			t.Errorf("panic %v", p)
		}
		set(t, n, 4) // nobody is left behind that could block it
		got := seen()
		if last := got[len(got)-1]; last.Value != 4 || got[0].State != fastopt.Unloaded {
			t.Errorf("told %+v", got)
		}
		cancel()
		<-done
		time.Sleep(200 * time.Millisecond)
		must(t, m.Close())
		for r := range n.Watch(ctx) { // after Close: the last value, then the end
			want(t, r, 4, fastopt.Fresh, fastopt.Write)
		}
	})
}

// A scope is a test within a test: it ends when end is called.
type scope struct {
	testing.TB
	undo []func()
}

func (s *scope) Cleanup(f func()) { s.undo = append(s.undo, f) }

func (s *scope) end() {
	for len(s.undo) > 0 {
		last := len(s.undo) - 1
		s.undo[last]()
		s.undo = s.undo[:last]
	}
}

func TestOverridesNestAndEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		n := fastopt.Declare(&r, fastopt.Spec[int]{Name: "n", Default: 1, Check: fastopt.Between(0, 100)})
		outer, inner := &scope{TB: t}, &scope{TB: t}
		fastopttest.Override(outer, n, 10) // before Open
		want(t, n.Inspect(), 10, fastopt.Fresh, fastopt.Override)
		m := w.open(w.config(), &r)
		if n.Get() != 10 {
			t.Error("Open ended the override")
		}
		fastopttest.Override(inner, n, 20)
		set(t, n, 5) // kept up to date beneath
		if v, _ := m.Get("n"); n.Get() != 20 || v != 20 {
			t.Errorf("read %v and %v", n.Get(), v)
		}
		want(t, n.Load(ctx), 20, fastopt.Fresh, fastopt.Override)
		inner.end()
		if n.Get() != 10 {
			t.Errorf("after the inner: %d", n.Get())
		}
		w.allFail()
		time.Sleep(2 * time.Minute)
		want(t, n.Load(ctx), 10, fastopt.Fresh, fastopt.Override)
		w.heal()
		time.Sleep(2 * time.Second)
		outer.end()
		want(t, n.Inspect(), 5, fastopt.Fresh, fastopt.Cache)
	})
}
