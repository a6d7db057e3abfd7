package postgres

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
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

// After a slow write pgx goes on reading in the background.
func TestAliveDoesNotQueueBehindAReader(t *testing.T) {
	c := psql(t, servers.Database(t))
	reading, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		close(reading)
		socket(c).Read(make([]byte, 1))
	}()
	<-reading
	answer := make(chan bool, 1)
	for range 100 { // the reader is at it at the latest after some of them
		go func() { answer <- alive(c) }()
		select {
		case ok := <-answer:
			if !ok {
				t.Fatal("the connection is said to be dead")
			}
		case <-time.After(5 * time.Second):
			t.Error("alive waits")
			socket(c).SetReadDeadline(time.Now())
			<-answer
		}
		runtime.Gosched()
		if t.Failed() {
			break
		}
	}
	socket(c).SetReadDeadline(time.Now())
	<-read
	socket(c).SetReadDeadline(time.Time{})
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
