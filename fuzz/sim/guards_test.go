package sim

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Guards that random histories meet too seldom, each entered on purpose: what
// stands between a cache and a process whose knowledge of it is old.

// A guarded is one process over a source and a marked cache in memory.
type guarded struct {
	rows  *memory.Source
	store *memory.Cache
	cache *faults.Marked
	plain *faults.Cache // not nil: taken instead, a cache without marks
	relay fastopt.RelayMode
	m     *fastopt.Manager
	o     *fastopt.Option[int64]
}

const guardedName = "a"

// guard runs f in a bubble. Before a process is opened, prepare may fill the tiers.
func guard(t *testing.T, prepare func(g *guarded), f func(t *testing.T, g *guarded)) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{rows: memory.NewSource(), store: memory.NewCache(), relay: fastopt.Never}
		g.cache = faults.NewMarked(g.store)
		prepare(g)
		var reg fastopt.Registry
		g.o = fastopt.New[int64](&reg, guardedName, fallback)
		cache := tiers.Cache(g.cache)
		if g.plain != nil {
			cache = g.plain
		}
		m, err := fastopt.Open(all, fastopt.Config{Namespace: namespace, Source: g.rows, Cache: cache,
			TTL: time.Minute, Relay: g.relay, Jitter: func() float64 { return 0.5 }}, &reg)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		g.m = m
		synctest.Wait()
		f(t, g)
	})
}

// home is the identity of the source.
func (g *guarded) home() tiers.Identity {
	id, _ := g.rows.Identity(all)
	return id
}

// mark puts a mark into the cache.
func (g *guarded) mark(id tiers.Identity, count uint64) {
	old, _ := g.store.Mark(all, namespace)
	g.store.PutMark(all, namespace, old, tiers.Mark{Identity: id, Fed: count})
}

// put puts a value into the cache, as somebody else would.
func (g *guarded) put(value int64, stamp tiers.Stamp) {
	g.store.Fill(all, namespace, []tiers.Fill{{Record: tiers.Record{Name: guardedName, Kind: tiers.Value, Data: fmt.Append(nil, value), Stamp: stamp}}})
}

func (g *guarded) cached() tiers.Result {
	return g.store.Load(all, namespace, []string{guardedName})[0]
}

// What a later history has put into the cache is left alone by a process of the
// earlier one that cannot read the mark to find out (R28).
func TestARecordOfAHistoryThatNobodyCouldAskForStays(t *testing.T) {
	var later tiers.Stamp
	guard(t, func(g *guarded) { g.mark(g.home(), 1) }, func(t *testing.T, g *guarded) {
		id := g.home()
		id.Epoch++
		later = tiers.Stamp{Epoch: id.Epoch, Revision: 7}
		g.cache.Inject(faults.Mark, faults.Fault{Err: errRefused})
		g.mark(id, 2)
		g.put(7, later)
		time.Sleep(time.Second)
		g.o.Load(all)
		synctest.Wait()
		if r := g.cached(); r.Stamp != later {
			t.Errorf("the cache held %v, and holds %v (%v)", later, r.Stamp, r.Err)
		}
	})
}

// Once a cache is known to be another's, what was read from it is not fresh: it is
// read from the source before its TTL ends.
func TestWhatWasReadFromAnothersCacheDoesNotStayFresh(t *testing.T) {
	guard(t, func(g *guarded) { g.put(7, tiers.Stamp{Epoch: g.home().Epoch, Revision: 7}) }, func(t *testing.T, g *guarded) {
		if got := g.o.Get(); got != 7 {
			t.Fatalf("reads %d of a cache without a mark that holds 7", got)
		}
		id := g.home()
		id.Lineage = "another"
		g.mark(id, 1)
		time.Sleep(5 * time.Second)
		if r := g.o.Inspect(); r.Value != fallback {
			t.Errorf("still reads %d, %v, from %v: the source has nothing", r.Value, r.State, r.Origin)
		}
	})
}

// An answer that waits to be offered is judged by the mark as it is when it is
// sent: a history that began meanwhile keeps it out.
func TestAnAnswerIsOfferedByTheMarkOfThatMoment(t *testing.T) {
	wait := time.Duration(0)
	defer point.Set(func(p point.Point, _ any, _ string) {
		if p == point.FillSend {
			time.Sleep(wait)
		}
	})()
	guard(t, func(g *guarded) { g.mark(g.home(), 1) }, func(t *testing.T, g *guarded) {
		wait = 3 * time.Second
		set := make(chan error, 1)
		go func() {
			_, err := g.o.Set(context.Background(), 8)
			set <- err
		}()
		synctest.Wait()
		id := g.home()
		id.Epoch++
		g.mark(id, 2)
		if err := <-set; err != nil {
			t.Fatal(err)
		}
		if r := g.cached(); r.Kind == tiers.Value {
			t.Errorf("the cache, whose mark is of epoch %d, was given %s of epoch %d", id.Epoch, r.Data, r.Stamp.Epoch)
		}
	})
}

// A history that begins between the source's answer and the patrol's look at the
// cache is left alone, though the mark named the patrol's own a moment ago (R28).
func TestThePatrolLeavesAHistoryOfAMomentAgoAlone(t *testing.T) {
	var enter atomic.Pointer[func()] // called once
	defer point.Set(func(p point.Point, _ any, _ string) {
		if p != point.RelayFill {
			return
		}
		if f := enter.Swap(nil); f != nil {
			(*f)()
		}
	})()
	guard(t, func(g *guarded) { g.relay = fastopt.Auto }, func(t *testing.T, g *guarded) {
		if _, err := g.o.Set(all, 8); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second) // marked, and all is carried
		id := g.home()
		id.Epoch++
		later := tiers.Stamp{Epoch: id.Epoch, Revision: 1}
		var entered atomic.Bool
		begin := func() {
			g.mark(id, 1000)
			g.put(9, later)
			entered.Store(true)
		}
		enter.Store(&begin)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if was, r := entered.Load(), g.cached(); was && r.Stamp != later {
				t.Fatalf("the cache held %v, and holds %v (%v)", later, r.Stamp, r.Err)
			}
		}
		if !entered.Load() {
			t.Error("no patrol came")
		}
	})
}

// Where no mark tells of histories, a source of an earlier one than is known does
// not contradict what is: it may be one that was replaced (P5).
func TestASourceOfAnEarlierHistoryContradictsNothing(t *testing.T) {
	guard(t, func(g *guarded) {
		g.plain = faults.NewCache(g.store)
		g.put(7, tiers.Stamp{Epoch: g.home().Epoch + 1, Revision: 7})
	}, func(t *testing.T, g *guarded) {
		if got := g.o.Get(); got != 7 {
			t.Fatalf("reads %d of a cache that holds 7", got)
		}
		g.plain.Inject(faults.Load, faults.Fault{Err: errRefused})
		g.plain.Cut() // or it would vouch for what it told
		for range 10 {
			time.Sleep(10 * time.Second)
			if got := g.o.Get(); got != 7 {
				t.Fatalf("reads %d: the source is of an earlier history than 7", got)
			}
		}
	})
}

// Nor does it replace what the cache holds, though that is of no use here.
func TestAnAnswerOfAnEarlierHistoryReplacesNoRecord(t *testing.T) {
	var later tiers.Stamp
	guard(t, func(g *guarded) {
		g.plain = faults.NewCache(g.store)
		later = tiers.Stamp{Epoch: g.home().Epoch + 1, Revision: 7}
		g.store.Fill(all, namespace, []tiers.Fill{{Record: tiers.Record{Name: guardedName, Kind: tiers.Value, Data: []byte(`"seven"`), Stamp: later}}})
	}, func(t *testing.T, g *guarded) {
		g.m.Refresh(all)
		time.Sleep(time.Second)
		if r := g.cached(); r.Stamp != later {
			t.Errorf("the cache held %v, and holds %v (%v)", later, r.Stamp, r.Err)
		}
	})
}
