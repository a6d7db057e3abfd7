package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// More of the races that the contract names: answers of batches and flights that
// come late, beside others, or in parts. Each is entered on purpose.

// silently has f change what the cache holds, and nobody hears of it.
func silently(w *world, f func()) {
	w.cache.DropEvents(true)
	f()
	settle()
	w.cache.DropEvents(false)
}

// Were the token one that comes back, an answer from before two pushes would be
// taken for one from after them.
func TestR6ATokenNeverComesBack(t *testing.T) {
	for pushes := 1; pushes <= 4; pushes++ {
		t.Run(fmt.Sprint(pushes), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				foo, m := process(w, "foo", "")
				other, _ := process(w, "foo", "")
				set(t, other, "old")
				time.Sleep(200 * time.Millisecond)
				silently(w, func() { set(t, other, "on its way") })
				hookOnce(t, point.FlightSettle, m, "foo", func() {
					w.cacheGetFails() // nothing newer can be read here
					w.source.Inject(faults.Load, faults.Fault{Err: errDown})
					for i := range pushes {
						set(t, other, fmt.Sprint("later ", i))
						time.Sleep(time.Millisecond) // the push is handled
					}
				})
				m.Refresh(ctx)
				if r := foo.Inspect(); r.Value != "on its way" || r.State != fastopt.Stale {
					t.Errorf("after %d pushes: %+v", pushes, r)
				}
				w.heal()
				time.Sleep(time.Second)
				want(t, foo.Inspect(), fmt.Sprint("later ", pushes-1), fastopt.Fresh, fastopt.Cache)
			})
		})
	}
}

// Who waits for a flight gets what is known when it lands, not what it brought.
func TestR8AWaiterGetsWhatIsNewerThanItsFlight(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "v1")
		time.Sleep(200 * time.Millisecond)
		w.cache.Cut() // no longer fresh
		settle()
		hookOnce(t, point.FlightSettle, m, "foo", func() { set(t, foo, "v2") }) // v1 was read
		if r := foo.Load(ctx); r.Value != "v2" {
			t.Errorf("a Load that ended after Set(v2) gave %+v", r)
		}
	})
}

// partial is a tier whose batches break at a key: that one and all behind it fail.
type partial struct {
	tiers.Cache
	tiers.Source
	from atomic.Value // string; "": none
	only bool         // that key alone fails
}

// The two tiers of a partial one.
type (
	partialCache  struct{ *partial }
	partialSource struct {
		tiers.Source
		p *partial
	}
)

func (p *partial) breaks(rs []tiers.Result) []tiers.Result {
	broken := false
	for i := range rs {
		at := rs[i].Name == p.from.Load()
		if broken = broken || at; at || broken && !p.only {
			rs[i] = tiers.Result{Record: tiers.Record{Name: rs[i].Name}, Err: errDown}
		}
	}
	return rs
}

func (c partialCache) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	return c.breaks(c.Cache.Load(ctx, ns, names))
}

func (c partialCache) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	return c.Cache.Watch(ctx, ns, sink)
}

func (s partialSource) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	return s.p.breaks(s.Source.Load(ctx, ns, names))
}

// A batch that breaks at one key has an outcome per key: those before it are
// read, those that fail keep what is known, and none becomes absent.
func TestR35ABatchThatBreaksAtOneKeyBreaksNoOther(t *testing.T) {
	const at, all = 37, 100
	for _, readOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("read-only %v", readOnly), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				cached := &partial{Cache: w.cache}
				asked := &partial{only: true}
				cfg := w.config()
				cfg.Cache, cfg.Source = partialCache{cached}, partialSource{w.source, asked}
				if readOnly {
					cfg.Source = nil
				}
				var mine, theirs fastopt.Registry
				var os, others []*fastopt.Option[int]
				var names []string
				for i := range all {
					name := fmt.Sprintf("o.%03d", i)
					os, others = append(os, fastopt.New(&mine, name, -1)), append(others, fastopt.New(&theirs, name, -1))
					names = append(names, name)
				}
				w.open(w.config(), &theirs)
				for _, o := range others {
					set(t, o, 1)
				}
				m := w.open(cfg, &mine)
				cached.from.Store(names[at])
				asked.from.Store(names[at])
				time.Sleep(200 * time.Millisecond)
				silently(w, func() {
					for _, o := range others {
						set(t, o, 2)
					}
				})
				m.Refresh(ctx)
				for i, o := range os {
					r := o.Inspect()
					fails := i == at || readOnly && i > at
					if fails && (r.Value != 1 || !errors.Is(r.Err, fastopt.ErrUnavailable)) || !fails && (r.Value != 2 || r.Err != nil) {
						t.Errorf("key %d: %+v", i, r)
					}
				}
				cached.from.Store("")
				asked.from.Store("")
				time.Sleep(time.Second)
				for _, o := range os {
					want(t, o.Inspect(), 2, fastopt.Fresh, o.Inspect().Origin)
				}
			})
		})
	}
}

// A batch read v1 and is slow to install it; a load of one key, asked later, has
// installed v2 meanwhile.
func TestR36ABatchThatReadEarlierInstallsNothingOlder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		first, foo := fastopt.New(&r, "first", ""), fastopt.New(&r, "foo", "")
		m := w.open(w.config(), &r)
		other, _ := process(w, "foo", "")
		set(t, other, "v1")
		set(t, first, "1")
		time.Sleep(200 * time.Millisecond)
		w.cache.Cut() // no longer fresh
		settle()
		w.cache.Reconnect()
		hookOnce(t, point.FlightSettle, m, "first", func() { // v1 was read with it
			set(t, other, "v2")
			time.Sleep(time.Millisecond)
			if r := foo.Load(ctx); r.Value != "v2" {
				t.Errorf("the single load gave %+v", r)
			}
		})
		refused := m.Stats().Refused
		got, err := m.Load(ctx, "first", "foo")
		must(t, err)
		if got["foo"].Value != "v2" || foo.Get() != "v2" {
			t.Errorf("the batch put back %v, Get %q", got["foo"], foo.Get())
		}
		if m.Stats().Refused == refused {
			t.Error("the batch had nothing older in its hand")
		}
	})
}

// Who joins a flight that asked longer ago than the TTL does not take its answer
// for a fresh one.
func TestR51WhoJoinsLateAsksAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		foo := fastopt.Declare(&r, fastopt.Spec[string]{Name: "foo", WaitStale: time.Second}) // as long as may be
		m := w.open(w.config(), &r)
		other, _ := process(w, "foo", "")
		set(t, other, "v1")
		time.Sleep(200 * time.Millisecond)
		w.cache.Cut() // else a push would tell the late one
		settle()
		hookOnce(t, point.FlightSettle, m, "foo", func() {
			time.Sleep(15 * time.Second) // TTL is 10 s
			w.cache.Inject(faults.Load, faults.Fault{Delay: 30 * time.Millisecond})
		})
		go m.Refresh(ctx)
		time.Sleep(2 * time.Second)
		set(t, other, "v2")
		time.Sleep(12800 * time.Millisecond)
		if foo.Get() != "v1" {
			t.Fatalf("%q was read before the flight landed", foo.Get())
		}
		want(t, foo.Load(ctx), "v2", fastopt.Fresh, fastopt.Cache)
	})
}

// A slow batch delays the keys that are in it, and no others.
func TestR54ASlowBatchDelaysNoOtherKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Source = slowFor{w.source}
		var f fleet
		f.add(w, cfg)
		slow := make(chan fastopt.Reading[int])
		w.sql("f/slow", "7")
		go func() { slow <- f.limits[0].Load(ctx, "slow") }()
		settle()
		w.sql("f/x", "5")
		start := time.Now()
		want(t, f.limits[0].Load(ctx, "x"), 5, fastopt.Fresh, fastopt.Source)
		if d := time.Since(start); d > 0 {
			t.Errorf("a Load beside a slow one took %v", d)
		}
		want(t, <-slow, 7, fastopt.Fresh, fastopt.Source)
	})
}

// slowFor answers late if a slow name is asked for.
type slowFor struct{ tiers.Source }

func (s slowFor) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	if strings.HasPrefix(names[0], "f/slow") {
		time.Sleep(200 * time.Millisecond)
	}
	return s.Source.Load(ctx, ns, names)
}
