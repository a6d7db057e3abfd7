package fastopt

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// A strict cache counts what it is asked for, and notices requests that tiers
// need not take: of too many names, or of one twice.
type strict struct {
	tiers.Cache
	t     *testing.T
	names atomic.Int64
}

func (c *strict) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	c.names.Add(int64(len(names)))
	if len(names) > tiers.MaxBatch {
		c.t.Errorf("asked for %d names at once", len(names))
	}
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			c.t.Errorf("asked for %s twice at once", name)
			break
		}
		seen[name] = true
	}
	return c.Cache.Load(ctx, ns, names)
}

// What has gathered before a source when its breaker opens may be more than fits
// one request, and two flights of one key: the cache is asked in batches for what
// it is to keep alive.
func TestWhatGatheredBeforeABrokenSourceIsAskedOfTheCacheInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &strict{Cache: memory.NewCache(), t: t}
		var r Registry
		for i := range tiers.MaxBatch + 100 {
			New(&r, fmt.Sprintf("n.%d", i), i)
		}
		m := openNamedWith(t, Config{Cache: c, Source: memory.NewSource(), Relay: Never, TTL: time.Minute}, &r)
		time.Sleep(5 * time.Second)
		l, n := &m.loader, &m.loader.options
		busy := func(by int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			n.underway += by
			n.pumpLocked()
		}
		busy(n.atOnce)
		for range 2 {
			for _, k := range m.keys {
				k.dirtied.Add(1) // by a write in doubt
				k.stir()
			}
			l.start(m.keys...)
			synctest.Wait()
		}
		if got := len(n.queue); got != 2*len(m.keys) {
			t.Fatalf("%d questions wait", got)
		}
		c.names.Store(0)
		m.source.broken.Store(true)
		busy(-n.atOnce)
		synctest.Wait()
		if got := c.names.Load(); got != int64(len(m.keys)) {
			t.Errorf("the cache was asked for %d names of %d", got, len(m.keys))
		}
		if len(l.flights) > 0 {
			t.Errorf("%d flights have not landed", len(l.flights))
		}
		m.source.broken.Store(false)
	})
}
