package redis

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

func TestADeadServerFailsAtOnceAndIsFoundWhenItStarts(t *testing.T) {
	r := private(t)
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	c := open(t, r.URL())
	l := listen(t, c)
	err := load(t, c, "x").Err
	if !errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup) {
		t.Fatalf("load: %v", err)
	}
	began := time.Now()
	for range 100 {
		load(t, c, "x")
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("100 calls of a dead server took %v", d)
	}
	if err := c.Fill(t.Context(), ns, []tiers.Fill{{Record: value("x", 1, 1, `1`)}})[0].Err; !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("fill: %v", err)
	}
	if _, err := c.Lease(t.Context(), ns, []string{"x"}, time.Second); !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("lease: %v", err)
	}
	if events := l.heard(); len(events) > 0 {
		t.Errorf("a watcher of a dead server heard %v", events)
	}
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	if first := l.heard()[0]; first.Kind != tiers.Alive {
		t.Errorf("heard %d before Alive", first.Kind)
	}
	load(t, c, "x")
	put(t, c, value("x", 1, 1, `1`))
	l.after(t, at, "a push", changed("x"))
}

func TestARestartIsLostAliveAndTrackedAgain(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	for round := range uint64(3) {
		put(t, c, value("x", 1, round+1, `1`))
		if err := load(t, c, "x").Err; err != nil {
			t.Fatal(err)
		}
		at := len(l.heard())
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
		at = l.after(t, at, "Lost", kind(tiers.Lost))
		if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("while dead: %v", err)
		}
		if err := r.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		at = l.after(t, at, "Alive", kind(tiers.Alive))
		if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrMiss) {
			t.Errorf("restarted empty: %v", err)
		}
		put(t, c, value("x", 1, round+1, `1`))
		l.after(t, at, "a push on the new connection", changed("x"))
	}
}

func TestACutConnectionIsLostAndAlive(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 1, `1`))
	load(t, c, "x")
	op.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	op.do("DEL", keyOf("x")) // its push is lost
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	l.after(t, at, "Alive", kind(tiers.Alive))
	eventually(t, "a read of the new connection", func() bool { return errors.Is(load(t, c, "x").Err, tiers.ErrMiss) })
}

// A frozen server is alive to the kernel and silent. No call may wait for it.
func TestAFrozenServerIsNoticedAndHoldsUpNobody(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 1, `1`))
	load(t, c, "x")
	at := len(l.heard())
	if err := r.Freeze(); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	var callers sync.WaitGroup
	for range 2 * maxCalls { // more than there are slots
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			if res := c.Load(ctx, ns, []string{"unread"})[0]; !errors.Is(res.Err, tiers.ErrUnavailable) {
				t.Errorf("a frozen server gave %v", res.Err)
			}
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("a call with 50ms took %v", d)
			}
		})
	}
	callers.Wait()
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	t.Logf("noticed after %v", time.Since(frozen))
	if err := r.Thaw(); err != nil {
		t.Fatal(err)
	}
	at = l.after(t, at, "Alive", kind(tiers.Alive))
	if res := load(t, c, "x"); res.Err != nil {
		t.Errorf("after the thaw: %v", res.Err)
	}
	put(t, c, value("x", 1, 2, `1`))
	l.after(t, at, "a push after the thaw", changed("x"))
}

// A call without a deadline ends with the connection.
func TestACallWithoutDeadlineEndsWithTheConnection(t *testing.T) {
	r := private(t)
	c := ready(t, open(t, r.URL()))
	if err := r.Freeze(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	res := c.Load(context.Background(), ns, []string{"x"})[0]
	if d := time.Since(began); d > 3*time.Second || !errors.Is(res.Err, tiers.ErrUnavailable) {
		t.Errorf("%v after %v", res.Err, d)
	}
}

// A server that accepts and never says a word is unavailable, not misconfigured,
// and the error is no one's deadline.
func TestASilentServerIsUnavailable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := open(t, "redis://"+silent.Addr().String())
	err = load(t, c, "x").Err
	if !errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup) || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("got %v", err)
	}
}

func TestCloseByManyAtOnce(t *testing.T) {
	r := private(t)
	for range 20 {
		c, err := Open(Config{URL: r.URL()})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(c.Close)
		}
		wg.Wait()
	}
}

func TestCloseEndsEverything(t *testing.T) {
	r := private(t)
	for _, state := range []string{"idle", "frozen", "dead"} {
		t.Run(state, func(t *testing.T) {
			c := ready(t, open(t, r.URL()))
			s, err := c.hub.session(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			watched := make(chan error, 1)
			go func() { watched <- c.Watch(context.Background(), ns, func(tiers.Event) {}) }()
			called := make(chan error, 1)
			switch state {
			case "idle":
				called <- errClosed
			case "frozen":
				if err := r.Freeze(); err != nil {
					t.Fatal(err)
				}
				go func() { called <- c.Load(context.Background(), ns, []string{"x"})[0].Err }()
			case "dead":
				if err := r.Kill(); err != nil {
					t.Fatal(err)
				}
				called <- errClosed
			}
			began := time.Now()
			c.Close()
			if err := (*s.nodes.Load())[0].conn.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Close has not waited for the end of the connection: %v", err)
			}
			c.Close()
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("closing took %v", d)
			}
			for what, ended := range map[string]chan error{"watch": watched, "load": called} {
				select {
				case err := <-ended:
					if !errors.Is(err, tiers.ErrUnavailable) {
						t.Errorf("%s: %v", what, err)
					}
				case <-time.After(patience):
					t.Errorf("%s goes on", what)
				}
			}
			if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrUnavailable) {
				t.Errorf("after Close: %v", err)
			}
			eventually(t, "the end of all goroutines", func() bool { return len(ours()) == 0 })
			if err := r.Thaw(); state == "frozen" && err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestASocketIsAServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redis.sock")
	private(t, "unixsocket="+path)
	c := open(t, "unix://"+path)
	put(t, c, value("x", 1, 1, `1`))
	if err := load(t, c, "x").Err; err != nil {
		t.Error(err)
	}
}
