package fastopt_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
)

// One fetch per fleet: whoever gets the lease asks the source, the others wait
// for its fill, and are never held up by its death (I8, P15).

// A fleet is processes that share a family, none of whose members they have read.
type fleet struct {
	limits   []*fastopt.Family[int]
	managers []*fastopt.Manager
}

func newFleet(w *world, n int) (f fleet) {
	for range n {
		f.add(w, w.config())
	}
	return f
}

func (f *fleet) add(w *world, cfg fastopt.Config) {
	var r fastopt.Registry
	f.limits = append(f.limits, fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", Default: 1, MaxEntries: 1000}))
	f.managers = append(f.managers, w.open(cfg, &r))
}

// load has so many callers in each process read f/x, and returns all readings.
// None takes longer than a Load may.
func (f *fleet) load(t *testing.T, callers int) (all []fastopt.Reading[int]) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, limit := range f.limits {
		for range callers {
			wg.Go(func() {
				start := time.Now()
				r := limit.Load(ctx, "x")
				if d := time.Since(start); d > 300*time.Millisecond {
					t.Errorf("a Load took %v", d)
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, r)
			})
		}
	}
	wg.Wait()
	return all
}

func (f *fleet) waits() (n uint64) {
	for _, m := range f.managers {
		n += m.Stats().LeaseWaits
	}
	return n
}

func TestAFleetThatMissesAKeyAsksTheSourceOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		f := newFleet(w, 8)
		for round := range 5 {
			time.Sleep(time.Second) // pushes of the round before
			w.sql("f/x", fmt.Sprint(100+round))
			w.store.Flush()
			time.Sleep(time.Second)
			w.source.Inject(faults.Load, faults.Fault{Delay: 20 * time.Millisecond})
			loads, waits := w.source.Calls(faults.Load), f.waits()
			for _, r := range f.load(t, 100) {
				if r.Value != 100+round || r.State != fastopt.Fresh {
					t.Fatalf("round %d: %+v", round, r)
				}
			}
			if n := w.source.Calls(faults.Load) - loads; n != 1 {
				t.Errorf("round %d: %d loads of the source", round, n)
			}
			if n := f.waits() - waits; n != 7 {
				t.Errorf("round %d: %d waits", round, n)
			}
		}
	})
}

// Of many keys at once each is asked for once, by whoever got its lease.
func TestAFleetThatMissesManyKeysAsksForEachOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		f := newFleet(w, 8)
		var names []string
		for i := range 1200 {
			names = append(names, fmt.Sprintf("f/%d", i))
			w.sql(names[i], fmt.Sprint(i))
		}
		w.source.Inject(faults.Load, faults.Fault{Delay: 20 * time.Millisecond})
		var wg sync.WaitGroup
		for i, m := range f.managers {
			wg.Go(func() {
				mine := append(append([]string{}, names[i*100:]...), names[:i*100]...)
				got, err := m.Load(ctx, mine...)
				if err != nil {
					t.Error(err)
				}
				for j, name := range names {
					if r := got[name]; r.Value != j || r.State != fastopt.Fresh {
						t.Errorf("%s: %+v", name, r)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := w.source.Names(faults.Load); n != 1200 {
			t.Errorf("%d names asked of the source", n)
		}
	})
}

// A holder whose load hangs, or whose process ends, costs one more load.
func TestADeadHolderCostsOneMoreLoad(t *testing.T) {
	for _, how := range []string{"its load hangs", "its process is closed"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("f/x", "5")
				f := newFleet(w, 7)
				stuck := faults.NewSource(w.rows)
				cfg := w.config()
				cfg.Source = stuck
				var dead fleet
				dead.add(w, cfg)
				time.Sleep(time.Second)
				stuck.Inject(faults.Load, faults.Fault{Hang: true})
				began := stuck.Calls(faults.Load)
				go dead.limits[0].Load(ctx, "x")
				synctest.Wait()
				if stuck.Calls(faults.Load) != began+1 {
					t.Fatal("it does not hold the lease")
				}
				if how == "its process is closed" {
					must(t, dead.managers[0].Close())
				}
				start := time.Now()
				for _, r := range f.load(t, 10) { // none waits beyond its bound for the dead one
					if r.Value != 1 || !errors.Is(r.Err, fastopt.ErrUnavailable) {
						t.Errorf("%+v", r)
					}
				}
				time.Sleep(150 * time.Millisecond)
				for i, l := range f.limits {
					if r := l.Load(ctx, "x"); r.Value != 5 || r.State != fastopt.Fresh {
						t.Errorf("process %d after %v: %+v", i, time.Since(start), r)
					}
				}
				if n := w.source.Calls(faults.Load); n != 1 {
					t.Errorf("%d loads beside the dead one's", n)
				}
			})
		})
	}
}

// What does not grant leases, or cannot wake who waits, keeps nobody from asking.
func TestWithoutLeasesOrPushesEveryProcessAsks(t *testing.T) {
	for how, break_ := range map[string]func(w *world){
		"leases fail": func(w *world) { w.cache.Inject(faults.Lease, faults.Fault{Err: errDown}) },
		"leases hang": func(w *world) { w.cache.Inject(faults.Lease, faults.Fault{Hang: true}) },
		"no pushes":   func(w *world) { w.cache.Cut(); settle() },
	} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("f/x", "5")
				f := newFleet(w, 8)
				break_(w)
				w.source.Inject(faults.Load, faults.Fault{Delay: 20 * time.Millisecond})
				for _, r := range f.load(t, 10) {
					if r.Value != 5 || r.Err != nil {
						t.Errorf("%+v", r)
					}
				}
				if n := w.source.Calls(faults.Load); n != 8 || f.waits() != 0 {
					t.Errorf("%d loads, %d waits", n, f.waits())
				}
			})
		})
	}
}

// Who waits is woken by any push of the key, and reads what it tells of.
func TestAWaiterIsWokenByAnotherWrite(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		f := newFleet(w, 2)
		writer := newFleet(w, 1)
		held, err := w.store.Lease(ctx, "default", []string{"f/x"}, time.Minute) // by nobody who will ever fill
		if err != nil || !held[0] {
			t.Fatal(held, err)
		}
		time.AfterFunc(100*time.Millisecond, func() {
			if _, err := writer.limits[0].Set(ctx, "x", 9); err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		for _, r := range f.load(t, 10) {
			want(t, r, 9, fastopt.Fresh, fastopt.Cache)
		}
		if d := time.Since(start); d > 110*time.Millisecond || w.source.Calls(faults.Load) != 0 {
			t.Errorf("after %v, %d loads of the source", d, w.source.Calls(faults.Load))
		}
	})
}

// A row that nobody can use fills nothing, so that those who wait ask for
// themselves, after a bounded time, and then no more than usual.
func TestAnInvalidRowIsSeenByAllWhoWait(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("f/x", `"text"`)
		f := newFleet(w, 8)
		f.load(t, 10)
		time.Sleep(time.Second)
		for _, r := range f.load(t, 10) {
			if r.Value != 1 || !errors.Is(r.Err, fastopt.ErrInvalidValue) {
				t.Errorf("%+v", r)
			}
		}
		loads := w.source.Calls(faults.Load)
		if loads != 8 {
			t.Errorf("%d loads of the source", loads)
		}
		for range 10 {
			f.load(t, 10)
			time.Sleep(500 * time.Millisecond)
		}
		if n := w.source.Calls(faults.Load) - loads; n != 0 {
			t.Errorf("%d more within the TTL", n)
		}
	})
}

// A process does not wait for itself: what its own fill brought may be damaged
// or lost while its lease runs.
func TestTheHolderDoesNotWaitForItself(t *testing.T) {
	for _, how := range []string{"damaged", "lost"} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.sql("foo", `"v"`)
				foo, m := process(w, "foo", "")
				if how == "damaged" {
					w.store.Corrupt("default", "foo", []byte("?"))
				} else {
					w.store.Flush()
					w.store.Lease(ctx, "default", []string{"foo"}, time.Minute)
				}
				settle()
				start := time.Now()
				want(t, foo.Load(ctx), "v", fastopt.Fresh, fastopt.Source)
				d := time.Since(start)
				settle()
				if d > 10*time.Millisecond || w.cached("foo") != `"v"` || m.Stats().LeaseWaits != 0 {
					t.Errorf("after %v, cached %q, %d waits", d, w.cached("foo"), m.Stats().LeaseWaits)
				}
			})
		})
	}
}

// R9: a holder that slept past its lease is refused by its stamp.
func TestR9AHolderThatSleptPastItsLeaseChangesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("f/x", "5")
		a, b := newFleet(w, 1), newFleet(w, 1)
		awake := make(chan struct{})
		hookOnce(t, point.FillSend, a.managers[0], "f/x", func() { time.Sleep(2 * time.Second); close(awake) })
		go a.limits[0].Load(ctx, "x")
		synctest.Wait()
		w.sql("f/x", "6")
		time.Sleep(time.Second) // the lease is over
		want(t, b.limits[0].Load(ctx, "x"), 6, fastopt.Fresh, fastopt.Source)
		<-awake
		settle()
		if n := a.managers[0].Stats().Fills; n != 0 || w.cached("f/x") != "6" { // else others would repair it
			t.Errorf("%d late fills were taken, the cache holds %q", n, w.cached("f/x"))
		}
		want(t, a.limits[0].Load(ctx, "x"), 6, fastopt.Fresh, fastopt.Cache)
	})
}

// A process that only reads the cache never asks for a lease: it has nobody to ask.
func TestWithoutASourceNobodyWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Source = nil
		var f fleet
		f.add(w, cfg)
		start := time.Now()
		for _, r := range f.load(t, 10) {
			if r.Value != 1 || !errors.Is(r.Err, fastopt.ErrUnavailable) {
				t.Errorf("%+v", r)
			}
		}
		if d := time.Since(start); d > 100*time.Millisecond || w.cache.Calls(faults.Lease) != 0 {
			t.Errorf("after %v, %d leases", d, w.cache.Calls(faults.Lease))
		}
	})
}

// Without a channel of pushes nothing would wake who waits: he asks at once.
func TestALostChannelWakesWhoWaitsForAnotherProcess(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("f/x", "5")
		f := newFleet(w, 1)
		w.store.Lease(ctx, "default", []string{"f/x"}, time.Minute)
		time.AfterFunc(50*time.Millisecond, w.cache.Cut)
		start := time.Now()
		for _, r := range f.load(t, 5) {
			if r.Value != 5 || r.Err != nil || r.State != fastopt.Fresh {
				t.Errorf("after %v: %+v", time.Since(start), r)
			}
		}
		w.cache.Reconnect()
	})
}
