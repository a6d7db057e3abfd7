package faults_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
)

// patience is how long an answer may take, impatience how long one is waited for
// that must not come.
const (
	patience   = 10 * time.Second
	impatience = 50 * time.Millisecond
)

// echo is a server that answers each line with "name: line", and ends after "bye"
// or, without a word, at "quit".
type echo struct {
	addr string

	mu   sync.Mutex
	told []string // guarded by mu; the lines that arrived
}

func newEcho(t *testing.T, name string) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{addr: l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer conn.Close(); e.serve(conn, name) })
		}
	})
	return e
}

func (e *echo) serve(conn net.Conn, name string) {
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		e.mu.Lock()
		e.told = append(e.told, lines.Text())
		e.mu.Unlock()
		if lines.Text() == "quit" {
			return
		}
		if _, err := fmt.Fprintf(conn, "%s: %s\n", name, lines.Text()); err != nil || lines.Text() == "bye" {
			return
		}
	}
}

func (e *echo) heard(line string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Contains("\n"+strings.Join(e.told, "\n")+"\n", "\n"+line+"\n")
}

// newProxy returns a proxy that ends with the test, as its clients must.
func newProxy(t *testing.T, target string) *faults.Proxy {
	t.Helper()
	p, err := faults.NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

type client struct {
	*testing.T
	net.Conn
	lines *bufio.Reader
}

func dial(t *testing.T, p *faults.Proxy) client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client{t, conn, bufio.NewReader(conn)}
}

func (c client) say(line string) {
	c.Helper()
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		c.Fatal(err)
	}
}

func (c client) read(limit time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(limit))
	line, err := c.lines.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func (c client) wantLine(want string) {
	c.Helper()
	if got, err := c.read(patience); err != nil || got != want {
		c.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func (c client) wantSilence() { c.Helper(); c.wantSilenceAfter("") }

// wantSilenceAfter expects no more than a part of a line.
func (c client) wantSilenceAfter(part string) {
	c.Helper()
	if got, err := c.read(impatience); got != part || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.Fatalf("got %q, %v; want %q and silence", got, err, part)
	}
}

func (c client) wantReset(rest string) {
	c.Helper()
	if got, err := c.read(patience); got != rest || !errors.Is(err, syscall.ECONNRESET) {
		c.Fatalf("got %q, %v; want %q and a reset", got, err, rest)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

func heal(t *testing.T, p *faults.Proxy) {
	t.Helper()
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
}

func TestHealthyProxyPassesEverything(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	c := dial(t, p)
	long := strings.Repeat("x", 1<<15)
	for _, line := range []string{"one", long, "bye"} {
		c.say(line)
		c.wantLine("e: " + line)
	}
	if _, err := c.read(patience); err != io.EOF {
		t.Errorf("got %v; want the orderly end of the server", err)
	}
	want := int64(len("one\nbye\n") + len(long) + 1)
	if got := p.Traffic(faults.ToServer).Passed; got != want || p.Accepted() != 1 {
		t.Errorf("%d bytes, %d connections; want %d and 1", got, p.Accepted(), want)
	}
}

// A client that has said all still hears the answer, to its last byte.
func TestHalfClosedConnectionIsKept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answer := strings.Repeat("a", 1<<20)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := io.Copy(io.Discard, conn); err == nil {
			_, _ = io.WriteString(conn, answer)
		}
	}()
	c := dial(t, newProxy(t, l.Addr().String()))
	c.say("all")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(c.Conn); err != nil || len(got) != len(answer) {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(answer))
	}
}

func TestDelayIsPerDirectionAndKeepsOrder(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	c := dial(t, p)
	took := func() time.Duration {
		begin := time.Now()
		for _, line := range []string{"1", "2", "3"} {
			c.say(line)
		}
		for _, line := range []string{"1", "2", "3"} {
			c.wantLine("e: " + line)
		}
		return time.Since(begin)
	}
	const d = 100 * time.Millisecond
	p.Delay(faults.ToServer, d)
	if got := took(); got < d || got >= 3*d { // three lines at once wait together
		t.Errorf("delayed one way: took %v", got)
	}
	p.Delay(faults.ToClient, d)
	if got := took(); got < 2*d {
		t.Errorf("delayed both ways: took %v", got)
	}
	if p.Traffic(faults.ToServer).Delayed == 0 || p.Traffic(faults.ToClient).Delayed == 0 {
		t.Error("no piece counts as delayed")
	}
	heal(t, p)
	if got := took(); got >= d {
		t.Errorf("healed: took %v", got)
	}
}

func TestBlackHoleSwallowsBothWays(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	old := dial(t, p)
	old.say("before")
	old.wantLine("e: before")
	p.Drop()
	old.say("old")
	fresh := dial(t, p)
	fresh.say("fresh")
	mute := dial(t, p)
	old.wantSilence()
	fresh.wantSilence()
	if e.heard("old") || e.heard("fresh") {
		t.Error("something came through")
	}
	eventually(t, "bytes were dropped", func() bool { return p.Traffic(faults.ToServer).Dropped == int64(len("old\nfresh\n")) })
	eventually(t, "all are accepted", func() bool { return p.Accepted() == 3 })
	heal(t, p)
	old.wantReset("") // its stream has a gap
	fresh.wantReset("")
	mute.wantReset("") // it never had a server
	again := dial(t, p)
	again.say("again")
	again.wantLine("e: again")
}

func TestBlackHoleIsSilentAlsoIfTheServerIsGone(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	p := newProxy(t, gone.Addr().String())
	if conn, err := net.Dial("tcp", p.Addr()); err == nil { // no fault but the server's: reset, perhaps at once
		client{t, conn, bufio.NewReader(conn)}.wantReset("")
		_ = conn.Close()
	}
	p.Drop()
	c := dial(t, p)
	c.say("anyone?")
	c.wantSilence()
}

func TestOneWayBlackHole(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	c := dial(t, p)
	p.Drop(faults.ToClient)
	c.say("bye") // the answer is lost, and so is the server's end
	eventually(t, "the server hears", func() bool { return e.heard("bye") })
	c.wantSilence()
	heal(t, p)
	c.wantReset("")
	c = dial(t, p)
	p.Drop(faults.ToClient)
	c.say("quit")
	c.wantSilence()
	heal(t, p)
	c.wantReset("")
	c = dial(t, p)
	p.Drop(faults.ToServer)
	c.say("lost")
	c.wantSilence()
	if e.heard("lost") {
		t.Error("the server heard what was dropped")
	}
}

func TestStalledBytesArriveLate(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	c := dial(t, p)
	p.Stall()
	c.say("late")
	c.wantSilence()
	eventually(t, "a piece counts as stalled", func() bool { return p.Traffic(faults.ToServer).Stalled == 1 })
	if e.heard("late") {
		t.Error("the server heard what was stalled")
	}
	heal(t, p)
	c.wantLine("e: late")
}

func TestResetEndsAllConnections(t *testing.T) {
	p := newProxy(t, newEcho(t, "e").addr)
	a, b := dial(t, p), dial(t, p)
	for _, c := range []client{a, b} {
		c.say("x")
		c.wantLine("e: x")
	}
	if n := p.Reset(); n != 2 {
		t.Errorf("%d connections reset, want 2", n)
	}
	a.wantReset("")
	b.wantReset("")
	eventually(t, "the tunnels are forgotten", func() bool { return p.Reset() == 0 })
}

func TestRefuseIsForNewConnections(t *testing.T) {
	p := newProxy(t, newEcho(t, "e").addr)
	c := dial(t, p)
	c.say("x")
	c.wantLine("e: x")
	p.Refuse()
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refusal", err)
	}
	c.say("y")
	c.wantLine("e: y")
	heal(t, p)
	c = dial(t, p)
	c.say("z")
	c.wantLine("e: z")
}

func TestSetTargetIsForNewConnections(t *testing.T) {
	p := newProxy(t, newEcho(t, "one").addr)
	old := dial(t, p)
	old.say("x")
	old.wantLine("one: x")
	p.SetTarget(newEcho(t, "two").addr)
	c := dial(t, p)
	c.say("x")
	c.wantLine("two: x")
	old.say("x")
	old.wantLine("one: x")
}

func TestCutAfterBytes(t *testing.T) {
	p := newProxy(t, newEcho(t, "e").addr)
	c := dial(t, p)
	p.CutAfter(faults.ToClient, 8)
	c.say("1") // "e: 1\n" are five bytes
	c.wantLine("e: 1")
	c.say("2")
	c.wantReset("e: ")
	wantOneCut(t, p)
}

func TestCutAtPatterns(t *testing.T) {
	p := newProxy(t, newEcho(t, "e").addr)
	a, b := dial(t, p), dial(t, p)
	p.CutAt(faults.ToClient, []byte("done\n"), []byte("end\n"))
	a.say("end")
	a.wantLine("e: end") // not yet: the first pattern has to come before
	a.say("not-done")
	a.say("between")
	a.wantSilenceAfter("e: not-") // what the first pattern began is withheld
	b.say("end")
	b.wantLine("e: end") // another connection is another stream
	a.say("end")
	a.wantReset("")
	wantOneCut(t, p)
	b.say("done")
	b.wantLine("e: done")
}

// Each byte comes in a piece of its own.
func TestCutAtFindsSplitPatterns(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	c := dial(t, p)
	_ = c.Conn.(*net.TCPConn).SetNoDelay(true)
	p.CutAt(faults.ToServer, []byte("ab\n"))
	for i, b := range []byte("aab\n") {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		if i < 3 {
			eventually(t, "the byte has passed", func() bool { return p.Traffic(faults.ToServer).Passed == int64(i+1) })
		}
	}
	c.wantReset("")
	if n := p.Traffic(faults.ToServer); n.Cuts != 1 || n.Dropped != 1 {
		t.Errorf("%+v, want one cut that drops the last byte", n)
	}
}

func TestHealEndsAConnectionWhoseReplyIsWithheld(t *testing.T) {
	p := newProxy(t, newEcho(t, "e").addr)
	c := dial(t, p)
	p.CutAt(faults.ToClient, []byte("done"), []byte("never"))
	c.say("done")
	c.wantSilenceAfter("e: ")
	p.CutAfter(faults.ToClient, 1000) // another order does not mend the gap
	c.say("more")
	c.wantSilence()
	heal(t, p)
	c.wantReset("")
}

func TestCutWhenLosesThePiece(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	c := dial(t, p)
	p.CutWhen(faults.ToClient, func(piece []byte) bool { return strings.Contains(string(piece), "2") })
	c.say("1")
	c.wantLine("e: 1")
	c.say("2")
	c.wantReset("")
	if !e.heard("2") {
		t.Error("the server did not hear what it answered")
	}
	wantOneCut(t, p)
	c = dial(t, p)
	c.say("2") // the order is done
	c.wantLine("e: 2")
}

func wantOneCut(t *testing.T, p *faults.Proxy) {
	t.Helper()
	if n := p.Traffic(faults.ToClient); n.Cuts != 1 || n.Dropped == 0 {
		t.Errorf("%+v, want one cut, and bytes that it lost", n)
	}
}

func TestCloseEndsEveryGoroutine(t *testing.T) {
	running := func() int {
		stacks := make([]byte, 1<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "internal/faults.(*")
	}
	for name, order := range map[string]func(*faults.Proxy){
		"healthy": func(*faults.Proxy) {},
		"delayed": func(p *faults.Proxy) { p.Delay(faults.ToServer, time.Hour) },
		"dropped": func(p *faults.Proxy) { p.Drop() },
		"stalled": func(p *faults.Proxy) { p.Stall() },
		"refused": func(p *faults.Proxy) { p.Refuse() },
	} {
		p := newProxy(t, newEcho(t, "e").addr)
		old := dial(t, p)
		old.say("x")
		old.wantLine("e: x")
		order(p)
		if name != "refused" {
			dial(t, p).say("fresh")
		}
		old.say("y")
		if running() == 0 {
			t.Fatal("the goroutines to look for have another name")
		}
		p.Close()
		if n := running(); n != 0 {
			t.Errorf("%s: %d goroutines after Close", name, n)
		}
		if err := p.Heal(); err != nil {
			t.Errorf("%s: heal after Close: %v", name, err)
		}
		if _, err := net.Dial("tcp", p.Addr()); err == nil {
			t.Errorf("%s: a closed proxy takes connections", name)
		}
	}
}
