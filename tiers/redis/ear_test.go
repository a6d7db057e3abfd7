package redis

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A long answer that is still arriving is no silence.
func TestAnAnswerThatArrivesSlowlyIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		e := newEar(near, 200*time.Millisecond)
		go func() {
			far.Read(make([]byte, 1))
			for range 10 {
				pause(t.Context(), 40*time.Millisecond)
				far.Write([]byte("x"))
			}
		}()
		if err := e.await(func() error {
			if _, err := e.Write([]byte("?")); err != nil {
				return err
			}
			_, err := io.ReadFull(e, make([]byte, 10))
			return err
		}); err != nil {
			t.Errorf("cut after silences of 40 ms: %v", err)
		}
		e.Close()
	})
}

func TestAHeartbeatWithoutAnAnswerCutsTheConnection(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	e := newEar(near, time.Millisecond)
	err := e.await(func() error {
		_, err := near.Read(make([]byte, 1))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "no answer to a heartbeat in 1ms") {
		t.Errorf("got %v", err)
	}
}

// The time between two heartbeats is no silence either.
func TestSilenceBeginsWithTheQuestion(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	e := newEar(near, 50*time.Millisecond)
	for range 3 {
		if err := e.await(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		<-time.After(60 * time.Millisecond)
		e.watch() // as if it came late
	}
	if e.cut.Load() {
		t.Error("cut while nothing was awaited")
	}
}

// Under load a process is late to write its question. The server owes nothing yet.
func TestAQuestionThatGoesOutLateIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		e := newEar(near, 100*time.Millisecond)
		go io.Copy(far, far) // answers at once
		for range 2 {
			if err := e.await(func() error {
				pause(t.Context(), 350*time.Millisecond)
				if _, err := e.Write([]byte("x")); err != nil {
					return err
				}
				_, err := e.Read(make([]byte, 1))
				return err
			}); err != nil {
				t.Errorf("cut for a question that was not sent: %v", err)
			}
		}
		e.Close()
	})
}

// Who is late is excused for so long, and no longer: whatever the reason, a
// heartbeat ends.
func TestALateQuestionIsNotExcusedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		e := newEar(near, 100*time.Millisecond)
		began := time.Now()
		err := e.await(func() error {
			_, err := near.Read(make([]byte, 1))
			return err
		})
		if d := time.Since(began); err == nil || d < 400*time.Millisecond || d > 500*time.Millisecond {
			t.Errorf("cut after %v: %v", d, err)
		}
	})
}

// A write that the network does not take keeps the question back, and that is
// its silence, not ours.
func TestAWriteThatIsNotTakenIsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		e := newEar(near, 100*time.Millisecond)
		go e.Write([]byte("an earlier command")) // nobody takes it
		synctest.Wait()
		began := time.Now()
		err := e.await(func() error {
			_, err := near.Read(make([]byte, 1))
			return err
		})
		if d := time.Since(began); err == nil || d != 100*time.Millisecond {
			t.Errorf("cut after %v: %v", d, err)
		}
	})
}

// Silence begins with the first write after the question was asked, whatever is
// written later: else who goes on asking would never notice.
func TestLaterCommandsDoNotProlongSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		e := newEar(near, 100*time.Millisecond)
		go io.Copy(io.Discard, far)
		began := time.Now()
		err := e.await(func() error {
			for {
				if _, err := e.Write([]byte("x")); err != nil {
					return err
				}
				pause(t.Context(), 10*time.Millisecond)
			}
		})
		if d := time.Since(began); err == nil || d > 110*time.Millisecond {
			t.Errorf("cut after %v: %v", d, err)
		}
	})
}

// connected returns the two ends of a connection of the network.
func connected(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// An answer that has arrived, and that this process is late to read, is one.
func TestAnAnswerThatWaitsToBeReadIsNoSilence(t *testing.T) {
	near, far := connected(t)
	e := newEar(near, 50*time.Millisecond)
	if err := e.await(func() error {
		if _, err := e.Write([]byte("x")); err != nil {
			return err
		}
		if _, err := far.Write([]byte("y")); err != nil {
			return err
		}
		pause(context.Background(), 3*e.limit)
		_, err := e.Read(make([]byte, 1))
		return err
	}); err != nil {
		t.Errorf("cut with an answer at hand: %v", err)
	}
	if unread(near) {
		t.Error("what was read waits to be read")
	}
	far.Write([]byte("z"))
	eventually(t, "something to read", func() bool { return unread(near) })
	if !unread(tls.Client(near, &tls.Config{})) {
		t.Error("not seen below TLS")
	}
	far.Close()
	io.ReadAll(near)
	if unread(near) {
		t.Error("the end of a connection waits to be read")
	}
	near.Close()
	if unread(near) {
		t.Error("something waits to be read from a closed connection")
	}
}
