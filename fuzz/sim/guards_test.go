package sim

import (
	"context"
	"fmt"
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
	m     *fastopt.Manager
	o     *fastopt.Option[int64]
}

const guardedName = "a"

// guard runs f in a bubble. Before a process is opened, prepare may fill the tiers.
func guard(t *testing.T, prepare func(g *guarded), f func(t *testing.T, g *guarded)) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{rows: memory.NewSource(), store: memory.NewCache()}
		g.cache = faults.NewMarked(g.store)
		prepare(g)
		var reg fastopt.Registry
		g.o = fastopt.New[int64](&reg, guardedName, fallback)
		m, err := fastopt.Open(all, fastopt.Config{Namespace: namespace, Source: g.rows, Cache: g.cache,
			TTL: time.Minute, Relay: fastopt.Never, Jitter: func() float64 { return 0.5 }}, &reg)
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
