package fastopt

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The sweep may come between a watcher that makes a lingering member due, and the
// refresher that is to load it.
func TestASweepLeavesToTheRefresherWhatIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		limit := DeclareFamily(&r, FamilySpec[int]{Prefix: "f", MaxEntries: 10})
		m, err := Open(context.Background(), Config{}, &r)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		synctest.Wait()
		f := &limit.current.Load().family
		k, err := f.acquire("x")
		if err != nil {
			t.Fatal(err)
		}
		k.due.Store(m.now() + int64(time.Hour))
		k.release() // it lingers
		if same, _ := f.acquire("x"); same != k {
			t.Fatal("it was forgotten")
		}
		defer k.release()
		w := k.addWatcher()
		defer k.removeWatcher(w)
		k.due.Store(m.now())
		f.sweep(m.now())
		if k.due.Load() == never {
			t.Error("nobody will load it")
		}
	})
}
