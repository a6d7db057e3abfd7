package postgres

import (
	"context"
	"testing"
	"time"
)

// A connection granted to a waiter whose context has just ended is not lost.
func TestAGrantAtTheLastMomentIsGivenBack(t *testing.T) {
	s := open(t, migrated(t))
	s.pool.limit = 1
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	left := 0
	for range 40 { // select takes either way
		s.pool.reset()
		c, wait, err := s.pool.takeOrQueue()
		must(t, err)
		if wait == nil {
			s.pool.put(c)
			continue
		}
		eventually(t, 5*time.Second, "the connection is granted", func() bool { return len(wait) == 1 })
		if c, err := s.pool.await(ended, wait); err == nil {
			s.pool.put(c)
		} else {
			left++
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		c, err = s.pool.get(ctx)
		cancel()
		must(t, err)
		s.pool.put(c)
	}
	if left == 0 {
		t.Error("no waiter left")
	}
}

// Idle connections are closed after a while, and only those.
func TestIdleConnectionsAreReaped(t *testing.T) {
	s := open(t, migrated(t))
	warm(t, s)
	s.pool.mu.Lock()
	for i := range s.pool.idle[:maxConns-1] {
		s.pool.idle[i].since = time.Now().Add(-idleTime)
	}
	s.pool.reaper.Stop()
	s.pool.mu.Unlock()
	s.pool.reap()
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if len(s.pool.idle) != 1 || s.pool.open != 1 || s.pool.reaper == nil {
		t.Errorf("%d idle and %d open connections are left, want the fresh one", len(s.pool.idle), s.pool.open)
	}
}
