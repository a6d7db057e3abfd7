package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

func TestAHandleWorksBeforeOpenAndAfterClose(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		n := fastopt.New(&r, "n", 1)
		want(t, n.Inspect(), 1, fastopt.Unloaded, fastopt.Default)
		if r := n.Load(ctx); r.Value != 1 || !errors.Is(r.Err, fastopt.ErrClosed) {
			t.Errorf("Load before Open: %+v", r)
		}
		if _, err := n.Set(ctx, 2); !errors.Is(err, fastopt.ErrClosed) {
			t.Errorf("Set before Open: %v", err)
		}
		m := w.open(w.config(), &r)
		set(t, n, 2)
		time.Sleep(200 * time.Millisecond)
		must(t, m.Close())
		must(t, m.Close())
		if v, err := m.Get("n"); n.Get() != 2 || v != 2 || err != nil {
			t.Errorf("after Close: %d, %v, %v", n.Get(), v, err)
		}
		if r := n.Load(ctx); r.Value != 2 || !errors.Is(r.Err, fastopt.ErrClosed) {
			t.Errorf("Load after Close: %+v", r)
		}
		for what, err := range map[string]error{
			"Set": second(n.Set(ctx, 3)), "Delete": second(n.Delete(ctx)), "m.Set": second(m.Set(ctx, "n", 3)),
			"Refresh": m.Refresh(ctx), "IsSet": second(m.IsSet(ctx, "n")),
		} {
			if !errors.Is(err, fastopt.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if all, err := m.Load(ctx, "n"); err != nil || all["n"].Value != 2 || !errors.Is(all["n"].Err, fastopt.ErrClosed) {
			t.Errorf("m.Load after Close: %+v, %v", all, err)
		}
		// A new Open starts anew: the default, no floor.
		other := w.config()
		other.Namespace, other.Source, other.Cache = "elsewhere", memory.NewSource(), nil
		w.open(other, &r)
		want(t, n.Load(ctx), 1, fastopt.Fresh, fastopt.Default)
	})
}

func TestOpenWithoutTiersReadsDefaults(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		n := fastopt.New(&r, "n", 1)
		start := time.Now()
		m := w.open(fastopt.Config{}, &r)
		if d := time.Since(start); d != 0 {
			t.Errorf("Open took %v", d)
		}
		if got := n.Load(ctx); got.Value != 1 || got.State != fastopt.Unloaded {
			t.Errorf("%+v", got)
		}
		if _, err := n.Set(ctx, 2); !errors.Is(err, fastopt.ErrReadOnly) {
			t.Errorf("%v", err)
		}
		must(t, m.Ready())
	})
}

func TestOpenDegradedSaysSoAndRecovers(t *testing.T) {
	for _, how := range []faults.Fault{{Err: errDown}, {Hang: true}} {
		t.Run(fmt.Sprintf("%+v", how.Hang), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.rows.Write(ctx, "default", []tiers.Write{{Name: "n", Data: []byte("7")}})
				w.cache.Inject(faults.Load, how)
				w.source.Inject(faults.Load, how)
				w.source.Inject(faults.Identity, how)
				var r fastopt.Registry
				n := fastopt.New(&r, "n", 1)
				start := time.Now()
				m := w.open(w.config(), &r)
				if d := time.Since(start); d < 5*time.Second || d > 5500*time.Millisecond {
					t.Errorf("Open took %v", d)
				}
				want(t, n.Inspect(), 1, fastopt.Unloaded, fastopt.Default)
				err := m.Ready()
				if !errors.Is(err, tiers.ErrUnavailable) || !contains(err, "cache, since") || !contains(err, "source, since") || !contains(err, "1 of 1 options were never loaded") {
					t.Errorf("Ready: %v", err)
				}
				if len(w.log.lines("opened without a complete load")) != 1 {
					t.Error("it did not say so")
				}
				w.heal()
				time.Sleep(2 * time.Second)
				if r := n.Inspect(); r.Value != 7 || r.State != fastopt.Fresh {
					t.Errorf("%+v", r)
				}
				must(t, m.Ready())
			})
		})
	}
}

func TestOpenFailsIfATierIsNotUsable(t *testing.T) {
	setup := fmt.Errorf("%w: run the migration", tiers.ErrSetup)
	for name, break_ := range map[string]func(w *world){
		"source": func(w *world) { w.source.Inject(faults.Identity, faults.Fault{Err: setup}) },
		"cache":  func(w *world) { w.cache.Inject(faults.Watch, faults.Fault{Err: setup}) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				break_(w)
				var r fastopt.Registry
				fastopt.New(&r, "n", 1)
				start := time.Now()
				_, err := fastopt.Open(ctx, w.config(), &r)
				if !errors.Is(err, tiers.ErrSetup) || !contains(err, name+":") || !contains(err, "run the migration") {
					t.Errorf("%v", err)
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("after %v", d)
				}
				w.heal()
				w.open(w.config(), &r) // the registry was given back
			})
		})
	}
}

func TestReadOnlyFromTheCacheAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine, _ := process(w, "n", 1)
		set(t, mine, 2)
		cfg := w.config()
		cfg.Source = nil
		var r fastopt.Registry
		n := fastopt.New(&r, "n", 1)
		gone := fastopt.New(&r, "gone", 1)
		m := w.open(cfg, &r)
		want(t, n.Load(ctx), 2, fastopt.Fresh, fastopt.Cache)
		got := gone.Load(ctx)
		if got.Value != 1 || !errors.Is(got.Err, fastopt.ErrUnavailable) {
			t.Errorf("nobody told: %+v", got)
		}
		if _, err := n.Set(ctx, 3); !errors.Is(err, fastopt.ErrReadOnly) {
			t.Errorf("%v", err)
		}
		if set, err := m.IsSet(ctx, "n"); !set || err != nil {
			t.Errorf("%v %v", set, err)
		}
	})
}

func TestWithoutACacheTheSourceIsFollowed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Cache = nil
		var r1, r2 fastopt.Registry
		mine, theirs := fastopt.New(&r1, "n", 1), fastopt.New(&r2, "n", 1)
		w.open(cfg, &r1)
		w.open(cfg, &r2)
		if rc := set(t, mine, 2); !rc.Cached {
			t.Error("not Cached, though there is no cache")
		}
		settle()
		want(t, theirs.Inspect(), 2, fastopt.Fresh, fastopt.Source)
	})
}

// I24: Close ends within 5 s, also if tiers hang.
func TestCloseWithTiersThatHang(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "v")
		for _, op := range []faults.Op{faults.Load, faults.Fill} {
			w.cache.Inject(op, faults.Fault{Hang: true})
		}
		w.source.Inject(faults.Load, faults.Fault{Hang: true})
		w.cache.Cut()
		go foo.Load(ctx)
		time.Sleep(20 * time.Millisecond)
		start := time.Now()
		must(t, m.Close())
		if d := time.Since(start); d > time.Second {
			t.Errorf("took %v", d)
		}
		if foo.Get() != "v" {
			t.Error("the last value is gone")
		}
	})
}

// A Load that meets Close on its way starts nothing any more.
func TestALoadThatMeetsClose(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		w.cache.Cut()
		settle()
		calls := w.cache.Calls(faults.Load)
		hookOnce(t, point.FlightJoin, m, "foo", func() { must(t, m.Close()) })
		if r := foo.Load(ctx); !errors.Is(r.Err, fastopt.ErrClosed) {
			t.Errorf("%+v", r)
		}
		if n := w.cache.Calls(faults.Load) - calls; n != 0 {
			t.Errorf("%d requests after Close", n)
		}
	})
}

// I20: in an outage, attempts follow the back-off, not the number of reads; and
// it is told in few lines.
func TestAnOutageIsNeitherLoudNorExpensive(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		var all []*fastopt.Option[int]
		for i := range 100 {
			all = append(all, fastopt.New(&r, fmt.Sprintf("n.%d", i), i))
		}
		w.open(w.config(), &r)
		time.Sleep(time.Second)
		w.allFail()
		w.cache.Cut()
		time.Sleep(time.Second)
		calls := w.source.Calls(faults.Load)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for start := time.Now(); time.Since(start) < 10*time.Second; {
					if r := all[7].Load(ctx); r.Value != 7 {
						t.Errorf("%+v", r)
					}
					time.Sleep(time.Millisecond) // it fails at once
				}
			})
		}
		wg.Wait()
		if n := w.source.Calls(faults.Load) - calls; n > 130 { // every 190 ms: the one that is loaded, and all together
			t.Errorf("%d requests in 10 s", n)
		}
		time.Sleep(2 * time.Minute)
		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		for i, o := range all {
			want(t, o.Inspect(), i, fastopt.Fresh, fastopt.Default)
		}
		if lines := w.log.lines(""); len(lines) > 10 {
			t.Errorf("%d log lines:\n%s", len(lines), strings.Join(lines, ""))
		}
	})
}

// A source that failed once, and that nobody needs to ask since, is not said to
// be down for ever.
func TestReadyForgetsAnOutageThatIsOver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		w.cacheGetFails()
		w.sourceFails()
		m.Refresh(ctx)
		if err := m.Ready(); !contains(err, "source") {
			t.Fatalf("%v", err)
		}
		w.heal()
		time.Sleep(2 * time.Second)
		want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default)
		must(t, m.Ready())
		calls := w.source.Calls(faults.Load)
		time.Sleep(time.Minute)
		if n := w.source.Calls(faults.Load) - calls; n != 0 {
			t.Errorf("%d questions to a source that answers", n)
		}
	})
}

// Everything at once, in real time, for the race detector; no goroutine is left.
func TestEverythingAtOnce(t *testing.T) {
	before := runtime.NumGoroutine()
	source, cache := memory.NewSource(), memory.NewCache()
	w := &world{t: t, rows: source, store: cache, source: faults.NewSource(source), cache: faults.NewCache(cache)}
	var opts [3]*fastopt.Option[int]
	var fams [3]*fastopt.Family[int]
	var ms [3]*fastopt.Manager
	for i := range ms {
		var r fastopt.Registry
		opts[i] = fastopt.New(&r, "n", 0)
		fams[i] = fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 10})
		m, err := fastopt.Open(ctx, fastopt.Config{Source: w.source, Cache: w.cache,
			TTL: 20 * time.Millisecond, Grace: 20 * time.Millisecond, CacheTimeout: 2 * time.Millisecond, SourceTimeout: 5 * time.Millisecond}, &r)
		must(t, err)
		ms[i] = m
	}
	c, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var wg sync.WaitGroup
	loop := func(f func(i int)) {
		wg.Go(func() {
			for i := 0; c.Err() == nil; i++ {
				f(i)
			}
		})
	}
	for i, o := range opts {
		loop(func(n int) { o.Set(c, n) })
		loop(func(int) { o.Get(); o.Inspect(); ms[i].Get("n"); ms[i].Stats() })
		loop(func(int) { o.Load(c) })
		loop(func(n int) { fams[i].Get(fmt.Sprint(n % 20)); fams[i].Load(c, fmt.Sprint(n%15)) })
		wg.Go(func() {
			for range o.Watch(c) {
			}
		})
	}
	loop(func(int) { opts[0].Delete(c); ms[1].Refresh(c); ms[2].Ready() })
	loop(func(n int) {
		w.source.Inject(faults.Load, faults.Fault{Err: errDown})
		w.cache.Inject(faults.Fill, faults.Fault{Lost: true})
		w.cache.Cut()
		runtime.Gosched()
		w.heal()
		w.cache.Reconnect()
		cache.Flush()
	})
	wg.Wait()
	last, err := opts[0].Set(ctx, -1)
	for deadline := time.Now().Add(5 * time.Second); err != nil; last, err = opts[0].Set(ctx, -1) { // its breaker may be open
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	for i, o := range opts {
		deadline := time.Now().Add(10 * time.Second)
		for r := o.Load(ctx); r.Value != -1 || r.Stamp != last.Stamp; r = o.Load(ctx) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d stays at %+v", i, r)
			}
			runtime.Gosched()
		}
		if s := ms[i].Stats(); s.Conflicts != 0 {
			t.Errorf("%d conflicts", s.Conflicts)
		}
		must(t, ms[i].Close())
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}
