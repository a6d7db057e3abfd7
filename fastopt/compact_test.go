package fastopt_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// compacting is a source that counts how often it is to forget.
type compacting struct {
	tiers.Source
	tiers.Elector
	calls   atomic.Int32
	refuses atomic.Bool
	age     atomic.Int64
}

func (c *compacting) Compact(_ context.Context, _ string, olderThan time.Duration) (int, error) {
	c.calls.Add(1)
	c.age.Store(int64(olderThan))
	if c.refuses.Load() {
		return 0, tiers.ErrReadOnly
	}
	return 3, nil
}

// The relay has old deletes forgotten about once an hour; nobody else does, and
// who may not gives up.
func TestTheRelayCompacts(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		sources := []*compacting{{Source: w.source, Elector: w.source}, {Source: w.source, Elector: w.source}}
		for _, s := range sources {
			cfg := w.config()
			cfg.Source = s
			w.open(cfg)
		}
		time.Sleep(10*time.Hour + time.Minute)
		total := sources[0].calls.Load() + sources[1].calls.Load()
		if total < 10 || total > 14 {
			t.Errorf("%d times in ten hours", total)
		}
		if sources[0].calls.Load() > 0 && sources[1].calls.Load() > 0 {
			t.Error("two of them did")
		}
		for _, s := range sources {
			if s.calls.Load() > 0 && time.Duration(s.age.Load()) < 24*time.Hour {
				t.Errorf("forgets after %v", time.Duration(s.age.Load()))
			}
			s.refuses.Store(true)
		}
		time.Sleep(5 * time.Hour)
		if more := sources[0].calls.Load() + sources[1].calls.Load() - total; more != 1 {
			t.Errorf("asked %d times without the right", more)
		}
	})
}
