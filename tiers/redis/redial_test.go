package redis

// What a failing server is asked meanwhile, and how soon it is found again.

import (
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Requests of a healthy process and second: four heartbeats, and what the library
// asks once a second. A failing server may get half as many again.
const attemptsPerSecond = 1.5 * 6

func TestAFailingServerIsNotTrampledAndIsFoundWithinASecond(t *testing.T) {
	const fleet = 8
	const lasts = 3 * time.Second
	for what, k := range map[string]struct{ impose, end func(s *setting) error }{
		"dead": {
			func(s *setting) error { return s.server.Kill() },
			func(s *setting) error { return s.server.Restart(t.Context()) }},
		"frozen": {
			func(s *setting) error { return s.server.Freeze() },
			func(s *setting) error { return s.server.Thaw() }},
		"a black hole": {
			func(s *setting) error { s.proxy.Drop(); return nil },
			func(s *setting) error { return s.proxy.Heal() }},
		"a black hole to the client": {
			func(s *setting) error { s.proxy.Drop(faults.ToClient); return nil },
			func(s *setting) error { return s.proxy.Heal() }},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := staged(t)
			caches := []*Cache{s.cache}
			for len(caches) < fleet {
				caches = append(caches, ready(t, open(t, "redis://"+s.proxy.Addr())))
			}
			must(t, k.impose(s))
			s.heard.after(t, 0, "Lost", kind(tiers.Lost))
			before, began := s.proxy.Accepted(), time.Now()
			pause(t.Context(), lasts)
			rate := float64(s.proxy.Accepted()-before) / time.Since(began).Seconds() / fleet
			if t.Logf("%.1f connections a second and process", rate); rate > attemptsPerSecond || rate < 0.5 {
				t.Errorf("%.1f connections a second and process, want at most %v", rate, attemptsPerSecond)
			}
			must(t, k.end(s))
			back := time.Now()
			var up sync.WaitGroup
			for _, c := range caches {
				up.Go(func() {
					eventually(t, "a connection", func() bool {
						_, err := c.hub.session(t.Context())
						return err == nil
					})
				})
			}
			up.Wait()
			if d := time.Since(back); d > time.Second+300*time.Millisecond { // a busy machine
				t.Errorf("all are back after %v", d)
			} else {
				t.Logf("all are back after %v", d)
			}
		})
	}
}

// A fleet that connected at once does not ask at once.
func TestRoundsAreOutOfStep(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		d := phase(defaultHeartbeat)
		least, most = min(least, d), max(most, d)
	}
	if least < defaultHeartbeat/2 || most > defaultHeartbeat || most-least < defaultHeartbeat/3 {
		t.Errorf("first rounds from %v to %v", least, most)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
