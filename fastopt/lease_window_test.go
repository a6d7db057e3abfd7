package fastopt_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// The windows of a lease: what a push or Close meets between the question for
// it, the wait, and the wake-up.

// A leasing cache runs f while it answers the first Lease.
type leasing struct {
	tiers.Cache
	once sync.Once
	f    func()
}

func (c *leasing) Lease(ctx context.Context, ns string, names []string, d time.Duration) ([]bool, error) {
	held, err := c.Cache.Lease(ctx, ns, names, d)
	c.once.Do(c.f)
	return held, err
}

// R7: a push that comes before the waiter is registered is not missed: whoever
// waited goes on with the flight that the push has started.
func TestR7APushBeforeTheWaitIsNotMissed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := newFleet(w, 1)
		var f fleet
		cfg := w.config()
		cfg.Cache = &leasing{Cache: w.cache, f: func() {
			if _, err := writer.limits[0].Set(ctx, "x", 9); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Millisecond) // the push is handled, and the key loaded anew
		}}
		f.add(w, cfg)
		w.store.Lease(ctx, "default", []string{"f/x"}, time.Minute)
		start := time.Now()
		for _, r := range f.load(t, 10) {
			want(t, r, 9, fastopt.Fresh, fastopt.Cache)
		}
		if d := time.Since(start); d > 20*time.Millisecond || w.source.Calls(faults.Load) != 0 {
			t.Errorf("after %v, %d loads of the source", d, w.source.Calls(faults.Load))
		}
	})
}

// … nor is one that follows so closely upon another that it starts no load.
func TestR7APushThatStartsNoLoadWakesWhoWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &scripted{Cache: w.store, fail: make(chan error)}
		cfg := w.config()
		cfg.Cache = s
		var f fleet
		f.add(w, cfg)
		f.load(t, 1)
		time.Sleep(time.Second)
		w.store.Flush()
		w.store.Lease(ctx, "default", []string{"f/x"}, time.Minute)
		s.sink(tiers.Event{Kind: tiers.Changed, Name: "f/x"}) // it is gone
		f.limits[0].Get("x")
		time.Sleep(20 * time.Millisecond)
		if f.waits() != 1 {
			t.Fatalf("%d waits", f.waits())
		}
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "f/x", Kind: tiers.Value, Data: []byte("9"), Stamp: tiers.Stamp{Epoch: 1, Revision: 1}}}})
		s.sink(tiers.Event{Kind: tiers.Changed, Name: "f/x"})
		settle()
		if v := f.limits[0].Get("x"); v != 9 {
			t.Errorf("reads %d", v)
		}
	})
}

// I24: a flight that would begin to wait while the manager is closed does not.
func TestCloseMeetsALeaseUnderWay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var f fleet
		cfg := w.config()
		cfg.Cache = &leasing{Cache: w.cache, f: func() {
			go f.managers[0].Close()
			time.Sleep(10 * time.Millisecond)
		}}
		f.add(w, cfg)
		w.store.Lease(ctx, "default", []string{"f/x"}, time.Minute)
		for _, r := range f.load(t, 3) {
			if r.Err == nil {
				t.Errorf("%+v", r)
			}
		}
		must(t, f.managers[0].Close())
	})
}

// I24: Close ends flights that wait for another process, and who waits for them.
func TestCloseEndsWhatWaitsForAnotherProcess(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		f := newFleet(w, 1)
		w.store.Lease(ctx, "default", []string{"f/x"}, time.Minute)
		done := make(chan fastopt.Reading[int])
		for range 5 {
			go func() { done <- f.limits[0].Load(ctx, "x") }()
		}
		synctest.Wait()
		if f.waits() != 1 {
			t.Fatalf("%d waits", f.waits())
		}
		start := time.Now()
		must(t, f.managers[0].Close())
		for range 5 {
			if r := <-done; !errors.Is(r.Err, fastopt.ErrClosed) {
				t.Errorf("%+v", r)
			}
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("after %v", d)
		}
	})
}

// R7: a push that starts no flight, and comes before the wait, is not missed either.
func TestR7APushThatStartsNoFlightWakesWhoIsAboutToWait(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		writer := newFleet(w, 1)
		set := func(v int) { must(t, second(writer.limits[0].Set(ctx, "x", v))); settle() }
		var f fleet
		cfg := w.config()
		leases := &leasing{Cache: w.cache, f: func() {}}
		cfg.Cache = leases
		f.add(w, cfg)
		f.load(t, 1)
		time.Sleep(time.Second) // its own lease is over
		set(8)                  // loaded anew; for 100 ms no other push does that
		w.store.Flush()
		w.store.Lease(ctx, "default", []string{"f/x"}, time.Minute) // by nobody who will ever fill
		settle()
		leases.once = sync.Once{}
		leases.f = func() { set(9) }
		for _, r := range f.load(t, 10) {
			want(t, r, 9, fastopt.Fresh, fastopt.Cache)
		}
	})
}
