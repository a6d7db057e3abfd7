package fastopt

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// I4: the refresher has found a watched member due, and before it starts the load
// the watch ends, and the working key with it. The load of a key that is forgotten
// would publish beside its successor, past what that knows.
func TestAMemberWhoseWatchEndsIsNotRefreshedPastAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		f := DeclareFamily(&r, FamilySpec[int]{Prefix: "limit", MaxEntries: 10})
		m := openNamedWith(t, Config{Cache: unmarked(), Source: memory.NewSource(), Relay: Never}, &r)
		set := func(v int) {
			if _, err := f.Set(t.Context(), "x", v); err != nil {
				t.Error(err)
			}
		}
		set(1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range f.Watch(ctx, "x") {
			}
		}()
		time.Sleep(1300 * time.Millisecond) // the refresher looks each second
		synctest.Wait()
		k, _ := m.families[0].work.Load("x")
		k.stir() // or it would be renewed without a request
		k.due.Store(0)
		m.refresher.next.Store(0)
		due := m.refresher.due()
		if len(due) != 1 || due[0] != k {
			t.Fatalf("%d keys are due", len(due))
		}
		cancel()
		<-ended
		synctest.Wait()
		var written atomic.Bool
		defer point.Set(func(p point.Point, owner any, name string) {
			if p == point.FlightSettle && owner == m && name == "limit/x" && written.CompareAndSwap(false, true) {
				set(2)
			}
		})()
		m.loader.start(due...)
		for _, k := range due {
			k.release()
		}
		synctest.Wait()
		if v := f.Get("x"); !written.Load() || v != 2 {
			t.Errorf("reads %d after 2 was written (%v)", v, written.Load())
		}
	})
}
