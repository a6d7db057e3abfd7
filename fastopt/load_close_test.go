package fastopt

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// A mute source answers nothing any more, once it is told so, until contexts end.
type mute struct {
	tiers.Source
	on atomic.Bool
}

func (s *mute) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	if s.on.Load() {
		<-ctx.Done()
		return failedAll(names, ctx.Err())
	}
	return s.Source.Load(ctx, ns, names)
}

// Close ends the request that a Load waits for. Who looks only then is told of
// Close, as who was woken by it, not of a tier that failed.
func TestWhoWaitsAtCloseIsToldOfItHoweverTheFlightEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &mute{Source: memory.NewSource()}
		var r Registry
		New(&r, "option", 0)
		m := openNamedWith(t, Config{Source: s}, &r)
		s.on.Store(true)
		m.moveAll()
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		all := make([]waiter, 1)
		all[0].come(m.keys[0])
		m.board(t.Context(), all, timer)
		synctest.Wait() // it is sent
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if all[0].landing.landed() == nil {
			t.Fatal("the flight has not ended")
		}
		m.land(t.Context(), &all[0], timer)
		if r := all[0].reading(); !errors.Is(r.Err, ErrClosed) {
			t.Errorf("%+v", r)
		}
	})
}
