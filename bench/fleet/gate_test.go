package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each line with the line, with a word ahead of it.
func echo(t *testing.T, word string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					io.WriteString(c, word+line)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, g *gate) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// hears fails the test unless exactly text comes.
func hears(t *testing.T, c net.Conn, text string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("heard %q, %v; want %q", b[:n], err, text)
	}
}

// silent fails the test if anything comes, an end included.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v from a black hole", n, err)
	}
}

func TestAGateTurnsIntoABlackHole(t *testing.T) {
	g, err := startGate(echo(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	old := dial(t, g)
	say(t, old, "1\n")
	hears(t, old, "a1\n")
	g.swallow()
	say(t, old, "2\n")
	silent(t, old)
	fresh := dial(t, g)
	say(t, fresh, "3\n")
	silent(t, fresh)
	g.pass()
	hears(t, old, "a2\n")
	hears(t, fresh, "a3\n")
}

func TestAGateMovesToAnotherTarget(t *testing.T) {
	g, err := startGate(echo(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	old := dial(t, g)
	say(t, old, "1\n")
	hears(t, old, "a1\n")
	g.turn(echo(t, "b"))
	old.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := old.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v from a connection to the old target", n, err)
	}
	fresh := dial(t, g)
	say(t, fresh, "2\n")
	hears(t, fresh, "b2\n")
}

func TestAGateClosesWhileItIsABlackHole(t *testing.T) {
	g, err := startGate(echo(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, g)
	say(t, c, "1\n")
	hears(t, c, "a1\n")
	g.swallow()
	say(t, c, "2\n")
	fresh := dial(t, g)
	say(t, fresh, "3\n")
	g.close() // which waits for its goroutines: a hang fails the test
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a closed gate: %v", err)
	}
}
