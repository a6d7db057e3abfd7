package endtoend

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// One fetch for a whole fleet, with the real thing.

// asked counts the loads of a fleet's sources, and stops the first one of a
// name if told to.
type asked struct {
	loads atomic.Int64
	stop  atomic.Pointer[string]
}

type countedSource struct {
	tiers.Source
	*asked
}

func (s countedSource) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	for _, name := range names {
		if name != namespace { // that is the question whether the source is there
			s.loads.Add(1)
			break
		}
	}
	if stop := s.stop.Load(); stop != nil && slices.Contains(names, *stop) && s.stop.CompareAndSwap(stop, nil) {
		<-ctx.Done() // killed with the lease in its hand: nobody fills
	}
	return s.Source.Load(ctx, namespace, names)
}

// fleet starts n processes that count together. One of them is the relay.
func (w *world) fleet(n int) ([]*process, *asked) {
	w.t.Helper()
	var a asked
	fleet := make([]*process, n)
	for i := range fleet {
		cfg := w.config()
		// On a busy machine an answer of the cache takes its time, and one that
		// comes too late is an outage, in which everybody asks.
		cfg.CacheTimeout, cfg.SourceTimeout = 300*time.Millisecond, 500*time.Millisecond
		cfg.TTL = 5 * time.Second // above LeaseTime + LoadTimeout
		source := countedSource{cfg.Source, &a}
		cfg.Source = source
		if elector := w.config().Source.(tiers.Elector); i == 0 {
			cfg.Source = countedElector{source, elector}
		}
		p, err := open(cfg)
		must(w.t, err)
		w.t.Cleanup(func() { must(w.t, p.Close()) })
		fleet[i] = p
	}
	relay(w.t, 2*time.Second, fleet...)
	return fleet, &a
}

type countedElector struct {
	countedSource
	tiers.Elector
}

// cold makes a member that the source has and the cache has not.
func (w *world) cold(key string) {
	w.t.Helper()
	w.sql(fmt.Sprintf(`INSERT INTO fastopt.options (namespace, name, value) VALUES ('shop', 'limit/%s', '42')`, key))
	name := "fastopt:shop:limit/" + key
	within(w.t, 2*time.Second, "the relay fills the member", func() bool {
		n, err := w.redisAsk("DEL", name)
		return err == nil && n == ":1"
	})
}

// miss has 100 goroutines of each process load one member, and returns how many
// did not get it.
func miss(fleet []*process, key string) int64 {
	var work sync.WaitGroup
	var bad atomic.Int64
	for _, p := range fleet {
		for range 100 {
			work.Go(func() {
				if r := p.limit.Load(ctx, key); r.Value != 42 || r.State != fastopt.Fresh {
					bad.Add(1)
				}
			})
		}
	}
	work.Wait()
	return bad.Load()
}

// I8: 8 processes, 100 goroutines each, one cold key: one of them asks.
func TestAFleetThatMissesAsksOnce(t *testing.T) {
	w := newWorld(t)
	fleet, a := w.fleet(8)
	for i := range 10 {
		key := fmt.Sprint("k", i)
		w.cold(key)
		before := a.loads.Load()
		bad := miss(fleet, key)
		if n := a.loads.Load() - before; n > 1 || bad > 0 { // 0: the relay came by and filled it
			t.Errorf("round %d: %d loads of the source, %d callers without the value", i, n, bad)
		}
	}
}

// P15: the process that holds the lease is killed: one more asks.
func TestADeadLeaseHolderCostsOneMoreRequest(t *testing.T) {
	w := newWorld(t)
	fleet, a := w.fleet(8)
	for i := range 3 {
		key := fmt.Sprint("k", i)
		name := "limit/" + key
		w.cold(key)
		before := a.loads.Load()
		a.stop.Store(&name)
		miss(fleet, key) // ends within the bound of a Load, with the default
		within(t, 5*time.Second, "the next one asks", func() bool { return miss(fleet, key) == 0 })
		if n := a.loads.Load() - before; n > 2 { // 1: the relay came by and filled it
			t.Errorf("round %d: %d loads of the source", i, n)
		}
	}
}
