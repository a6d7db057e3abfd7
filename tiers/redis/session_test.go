package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
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
	_, opt, err := Config{URL: r.URL()}.options()
	if err != nil {
		t.Fatal(err)
	}
	s, err := dial(t.Context(), opt, newHub(defaultPrefix))
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	ping := func() error { return s.client.Do(t.Context(), s.client.B().Ping().Build()).Error() }
	if err := ping(); err != nil {
		t.Fatal(err)
	}
	s.conn.Close()
	for range 10 {
		if ping() == nil {
			t.Fatal("answered on a second connection")
		}
	}
}

// A long answer that is still arriving is no silence.
func TestAnAnswerThatArrivesSlowlyIsNotCut(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	s := &session{conn: newEar(near)}
	go func() {
		for range 10 {
			time.Sleep(20 * time.Millisecond)
			far.Write([]byte("x"))
		}
	}()
	if err := s.within(100*time.Millisecond, func() error {
		_, err := io.ReadFull(s.conn, make([]byte, 10))
		return err
	}); err != nil {
		t.Errorf("cut after silences of 20 ms: %v", err)
	}
}

func TestAHeartbeatWithoutAnAnswerCutsTheConnection(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	s := &session{conn: newEar(near)}
	err := s.within(time.Millisecond, func() error {
		_, err := near.Read(make([]byte, 1))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "no answer to a heartbeat in 1ms") {
		t.Errorf("got %v", err)
	}
}
