//go:build unix

package redis

// Close: a second at most, whatever the servers do, and nothing is left.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// closes closes c while calls and a watch run, and judges how.
func closes(t *testing.T, c *Cache) {
	t.Helper()
	var running sync.WaitGroup
	errs := make(chan error, 100)
	for i := range 50 {
		running.Go(func() {
			for range 3 { // some begin while the cache is being closed
				if err := everyCall(context.Background(), c, i); err != nil && !errors.Is(err, tiers.ErrUnavailable) && !errors.Is(err, tiers.ErrMiss) {
					errs <- fmt.Errorf("call %d: %w", i%5, err)
				}
			}
		})
	}
	running.Go(func() {
		if err := c.Watch(context.Background(), ns, func(tiers.Event) {}); !errors.Is(err, tiers.ErrUnavailable) {
			errs <- fmt.Errorf("watch: %w", err)
		}
	})
	pause(t.Context(), 20*time.Millisecond) // into the middle of what there is
	began := time.Now()
	c.Close()
	if d := time.Since(began); d > time.Second {
		t.Errorf("closing took %v", d)
	} else {
		t.Logf("closed in %v", d)
	}
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Second):
		t.Error("calls or the watch go on")
	}
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	eventually(t, "the end of all goroutines", func() bool { return len(ours()) == 0 })
}

func TestCloseWaitsForNoServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for what, begin := range map[string]func(t *testing.T) *Cache{
		"frozen": func(t *testing.T) *Cache {
			s := staged(t)
			s.server.Freeze()
			return s.cache
		},
		"black hole": func(t *testing.T) *Cache {
			s := staged(t)
			s.proxy.Drop()
			return s.cache
		},
		"black hole to the client": func(t *testing.T) *Cache {
			s := staged(t)
			s.proxy.Drop(faults.ToClient)
			return s.cache
		},
		"refused": func(t *testing.T) *Cache {
			s := staged(t)
			s.proxy.Refuse()
			s.proxy.Reset()
			return s.cache
		},
		"slow": func(t *testing.T) *Cache {
			s := staged(t)
			s.proxy.Delay(faults.ToClient, 5*time.Second)
			return s.cache
		},
		"in the first exchange": func(t *testing.T) *Cache { return open(t, "redis://"+silent.Addr().String()) },
		"in a dial":             func(t *testing.T) *Cache { return open(t, "redis://"+swallowing(t)) },
		"in a TLS handshake":    func(t *testing.T) *Cache { return open(t, "rediss://"+silent.Addr().String()) },
		"in a search by Sentinels": func(t *testing.T) *Cache {
			return open(t, "redis://"+silent.Addr().String()+"?master_set=m&addr="+swallowing(t))
		},
		"in a search for a cluster": func(t *testing.T) *Cache {
			return open(t, "redis://"+silent.Addr().String()+"?cluster=true&addr="+swallowing(t))
		},
	} {
		t.Run(what, func(t *testing.T) { closes(t, begin(t)) })
	}
}

// swallowing is an address where a connection is neither taken nor refused: the
// queue of its listener is full.
func swallowing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return l.Addr().String()
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue of a listener does not fill")
	return ""
}

// The lookouts ask servers that have fallen silent since.
func TestCloseWaitsForNoLookout(t *testing.T) {
	t.Run("cluster", func(t *testing.T) {
		r := startCluster(t, 3, false)
		c := ready(t, open(t, r.url()))
		for _, n := range r.nodes {
			if err := n.Freeze(); err != nil {
				t.Fatal(err)
			}
		}
		s, err := c.hub.session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.lookAgain()
		closes(t, c)
	})
	t.Run("Sentinels", func(t *testing.T) {
		g := startGuarded(t)
		p := proxy(t, g.sentinels[0])
		c := ready(t, open(t, "redis://"+p.Addr()+"?master_set="+masterName))
		s, err := c.hub.session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.Drop()
		s.lookAgain()
		eventually(t, "a look", func() bool { return p.Traffic(faults.ToServer).Dropped > 0 })
		closes(t, c)
	})
	t.Run("polls", func(t *testing.T) {
		r := private(t)
		c := ready(t, opened(t, Config{Poll: 100 * time.Millisecond}, r.URL()))
		load(t, c, "x")
		if err := r.Freeze(); err != nil {
			t.Fatal(err)
		}
		pause(t.Context(), 150*time.Millisecond) // into a poll
		closes(t, c)
	})
}
