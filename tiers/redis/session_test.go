package redis

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

func TestACallReturnsWhenItsContextEnds(t *testing.T) {
	r := private(t)
	c := ready(t, open(t, r.URL()))
	release, running := make(chan struct{}), make(chan struct{}, maxCalls)
	block := func(*session) { running <- struct{}{}; <-release }
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, maxCalls)
	for range maxCalls {
		go func() { returned <- c.ask(ctx, block) }()
	}
	for range maxCalls {
		<-running
	}
	waiting := make(chan error, 1)
	go func() { waiting <- c.ask(ctx, func(*session) { t.Error("ran beyond the limit") }) }()
	cancel()
	for range maxCalls {
		if err := <-returned; !errors.Is(err, tiers.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("the one without a slot got %v", err)
	}
	// The slots are still taken: what was asked is still on its way.
	ctx, cancel = context.WithCancel(t.Context())
	go cancel()
	if err := c.ask(ctx, func(*session) { t.Error("ran beyond the limit") }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	if err := c.ask(t.Context(), func(*session) {}); err != nil {
		t.Error(err)
	}
}

// Else the pushes lost with one connection and the heartbeats answered on the
// next would be one story.
func TestASessionNeverDialsAgain(t *testing.T) {
	r := private(t)
	set, err := Config{URL: r.URL()}.check()
	if err != nil {
		t.Fatal(err)
	}
	s, err := dial(t.Context(), set, newHub(defaultPrefix))
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	n := (*s.nodes.Load())[0]
	ping := func() error { return n.client.Do(t.Context(), n.client.B().Ping().Build()).Error() }
	if err := ping(); err != nil {
		t.Fatal(err)
	}
	n.conn.Close()
	for range 10 {
		if ping() == nil {
			t.Fatal("answered on a second connection")
		}
	}
	if err := s.wait(); err == nil {
		t.Error("goes on without a reason")
	}
}

// A connection that only asked around may end, and its end be told late.
func TestTheEndOfAConnectionThatDoesNotCountIsNoLoss(t *testing.T) {
	r := private(t)
	c := ready(t, open(t, r.URL()))
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	s, err := c.hub.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.open(r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n.end()
	now := time.Now()
	l.after(t, 0, "Alive", since(now.Add(defaultHeartbeat)))
	if slices.ContainsFunc(l.heard(), kind(tiers.Lost)) {
		t.Error("heard Lost")
	}
}
