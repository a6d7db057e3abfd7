package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Close in the middle of everything, while nobody answers.

func TestCloseWaitsForNoAnswer(t *testing.T) {
	for what, silence := range map[string]func(at *site) error{
		"frozen":                   func(at *site) error { return at.p.Freeze() },
		"black hole":               func(at *site) error { at.proxy.Drop(); return nil },
		"black hole to the server": func(at *site) error { at.proxy.Drop(faults.ToServer); return nil },
		"black hole to the client": func(at *site) error { at.proxy.Drop(faults.ToClient); return nil },
	} {
		t.Run(what, func(t *testing.T) {
			at := newSite(t, private(t))
			at.s.conf.ConnectTimeout = time.Minute // which Close does not wait for
			calls := make(chan error, 3*maxConns+4)
			connected := func(n int) {
				t.Helper()
				eventually(t, 5*time.Second, "all are connected", func() bool { _, open, _ := at.g.get(); return open == n })
			}
			settle := func() {
				go func() { calls <- at.s.Watch(t.Context(), "app", func(tiers.Event) {}) }()
				go func() { calls <- at.s.Elect(t.Context(), "app", func(ctx context.Context) { <-ctx.Done() }) }()
			}
			settle()
			connected(maxConns + 2)
			for range 2 { // whose places the pool will be dialling for
				c, err := at.s.pool.get(t.Context())
				must(t, err)
				hangUp(c)
				at.s.pool.put(c)
			}
			must(t, silence(at))
			settle() // these will be dialling
			for range maxConns {
				go func() { calls <- at.s.Load(t.Context(), "app", []string{"a"})[0].Err }()
				go func() {
					_, err := at.s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
					calls <- err
				}()
				go func() { calls <- at.s.Probe(t.Context(), "app") }()
			}
			connected(maxConns + 5)
			start := time.Now()
			at.s.Close()
			closed := time.Since(start)
			for range cap(calls) {
				if err := <-calls; !errors.Is(err, errClosed) && tiers.OutcomeOf(err) != tiers.Unknown {
					t.Errorf("a call under way when the source is closed: %v", err)
				}
			}
			if left := leftovers(time.Second); left != "" {
				t.Errorf("goroutines after Close:\n%s", left)
			}
			if all := time.Since(start); closed > slack || all > 2*slack {
				t.Errorf("Close took %v, the calls %v", closed, all)
			}
			if _, open, _ := at.g.get(); open != 0 {
				t.Errorf("%d connections are open", open)
			}
			t.Logf("Close took %v, the calls %v", closed, time.Since(start))
			if what == "frozen" {
				must(t, at.p.Thaw())
			}
		})
	}
}
