package redis

// Bounds: whatever befalls the server or the way to it, a call returns when its
// context ends, what it left behind is bounded, and it harms nobody when it is
// carried out late.

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

const callTimeout = 50 * time.Millisecond

// A setting is a cache on a server behind a proxy, both to be broken.
type setting struct {
	server *servers.RedisServer
	proxy  *faults.Proxy
	addr   string // of the server, past the proxy
	cache  *Cache
	heard  *listener
}

func staged(t *testing.T) *setting {
	t.Helper()
	r := private(t)
	p := proxy(t, r.Addr())
	c := ready(t, open(t, "redis://"+p.Addr()))
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 1, `1`))
	load(t, c, "x")
	return &setting{r, p, r.Addr(), c, l}
}

// everyCall makes the i-th of all calls that there are, for some names each.
func everyCall(ctx context.Context, c *Cache, i int) error {
	some := names(3)
	switch i % 5 {
	case 0:
		return c.Load(ctx, ns, some)[0].Err
	case 1:
		var fills []tiers.Fill
		for _, name := range some {
			fills = append(fills, tiers.Fill{Record: value(name, 1, 1, `1`)})
		}
		return c.Fill(ctx, ns, fills)[0].Err
	case 2:
		_, err := c.Lease(ctx, ns, some, time.Second)
		return err
	case 3:
		_, err := c.Mark(ctx, ns)
		return err
	}
	_, err := c.PutMark(ctx, ns, tiers.Mark{}, tiers.Mark{Identity: tiers.Identity{Lineage: "a"}, Fed: uint64(i + 1)})
	return err
}

// crowd makes n calls at once and returns by how much the slowest has outlasted
// its context, and by how much somebody beside it who waited for nothing but a
// context did.
func crowd(t *testing.T, c *Cache, n int) (over, lag time.Duration) {
	t.Helper()
	var worst, control atomic.Int64
	raise := func(to *atomic.Int64, d time.Duration) {
		for old := to.Load(); int64(d) > old && !to.CompareAndSwap(old, int64(d)); old = to.Load() {
		}
	}
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			ends, _ := ctx.Deadline()
			err := everyCall(ctx, c, i)
			raise(&worst, time.Since(ends))
			if err != nil && !errors.Is(err, tiers.ErrUnavailable) && !errors.Is(err, tiers.ErrMiss) {
				t.Errorf("call %d: %v", i%5, err)
			}
		})
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			<-ctx.Done()
			ends, _ := ctx.Deadline()
			raise(&control, time.Since(ends))
		})
	}
	callers.Wait()
	return time.Duration(worst.Load()), time.Duration(control.Load())
}

// More callers at once than there are places, three times over, and nobody waits
// longer than it said. What is left behind is at most one goroutine per place.
func TestNoCallOutlastsItsContext(t *testing.T) {
	const callers = maxCalls + 100
	bitten := func(s *setting, f faults.Flow) bool {
		tr := s.proxy.Traffic(f)
		return tr.Dropped+tr.Delayed+tr.Stalled > 0
	}
	for what, k := range map[string]struct {
		impose func(s *setting) error
		bites  func(s *setting) bool
	}{
		"healthy": {func(*setting) error { return nil }, nil},
		"frozen":  {func(s *setting) error { return s.server.Freeze() }, nil},
		"slow by 200 ms": {func(s *setting) error { s.proxy.Delay(faults.ToClient, 200*time.Millisecond); return nil },
			func(s *setting) bool { return bitten(s, faults.ToClient) }},
		"slow by 5 s": {func(s *setting) error { s.proxy.Delay(faults.ToClient, 5*time.Second); return nil },
			func(s *setting) bool { return bitten(s, faults.ToClient) }},
		"black hole": {func(s *setting) error { s.proxy.Drop(); return nil },
			func(s *setting) bool { return bitten(s, faults.ToServer) }},
		"black hole to the server": {func(s *setting) error { s.proxy.Drop(faults.ToServer); return nil },
			func(s *setting) bool { return bitten(s, faults.ToServer) }},
		"black hole to the client": {func(s *setting) error { s.proxy.Drop(faults.ToClient); return nil },
			func(s *setting) bool { return bitten(s, faults.ToClient) }},
		"stalled": {func(s *setting) error { s.proxy.Stall(); return nil },
			func(s *setting) bool { return bitten(s, faults.ToServer) }},
		"refused": {func(s *setting) error { s.proxy.Refuse(); s.proxy.Reset(); return nil }, nil},
	} {
		t.Run(what, func(t *testing.T) {
			const tries = 3 // a busy machine is late now and then, and a bug each time
			for try := 1; ; try++ {
				s := staged(t)
				before := runtime.NumGoroutine()
				if err := k.impose(s); err != nil {
					t.Fatal(err)
				}
				var excess time.Duration
				for range 3 {
					over, lag := crowd(t, s.cache, callers)
					t.Logf("%v too late at most; a mere timer %v", over, lag)
					excess = max(excess, over-lag)
					if n := runtime.NumGoroutine() - before; n > maxCalls+10 {
						t.Errorf("%d goroutines are left", n)
					}
				}
				if k.bites != nil && !k.bites(s) {
					t.Error("the fault has not bitten")
				}
				if err := errors.Join(s.server.Thaw(), s.proxy.Heal()); err != nil {
					t.Fatal(err)
				}
				eventually(t, "an answer", func() bool { return load(t, s.cache, "x").Err == nil })
				eventually(t, "the end of what was left", func() bool { return len(s.cache.calls) == 0 })
				if excess < 25*time.Millisecond {
					return
				}
				if try == tries {
					t.Fatalf("calls outlast their contexts by %v more than a mere timer does", excess)
				}
				s.cache.Close()
			}
		})
	}
}

// A server that takes 200 ms answers its heartbeats in time: no call gets through
// with a deadline of 50 ms, but every change is still announced. One that takes
// 5 s does not.
func TestASlowServerStillTellsOfChanges(t *testing.T) {
	s := staged(t)
	live, err := s.cache.hub.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := len(s.heard.heard())
	s.proxy.Delay(faults.ToClient, 200*time.Millisecond)
	if err := everyCall(limit(t, callTimeout), s.cache, 0); !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a call of 50 ms: %v", err)
	}
	put(t, open(t, "redis://"+s.addr), value("x", 1, 2, `2`))
	at = s.heard.after(t, at, "a push", changed("x"))
	s.heard.after(t, at, "Alive", since(time.Now().Add(time.Second)))
	if !s.cache.hub.lives(live) {
		t.Error("the session has ended")
	}
	s.proxy.Delay(faults.ToClient, 5*time.Second)
	began := time.Now()
	s.heard.after(t, at, "Lost", kind(tiers.Lost))
	noticed(t, began)
}

// What was given up may be carried out when the way is free again, and may not
// undo what came between.
func TestAbandonedCommandsDoNoHarmWhenTheyArrive(t *testing.T) {
	s := staged(t)
	other := ready(t, open(t, "redis://"+s.addr))
	mark := func(fed uint64) tiers.Mark {
		return tiers.Mark{Identity: tiers.Identity{Lineage: "a"}, Fed: fed}
	}
	step := func(c *Cache, ctx context.Context, from, to uint64) error {
		old := mark(from)
		if from == 0 {
			old = tiers.Mark{}
		}
		_, err := c.PutMark(ctx, ns, old, mark(to))
		return err
	}
	if err := step(other, limit(t, patience), 0, 1); err != nil {
		t.Fatal(err)
	}
	s.proxy.Stall(faults.ToServer)
	op := operate(t, s.addr)
	op.do("CONFIG", "RESETSTAT")
	ctx := limit(t, callTimeout)
	late := []func() error{
		func() error { return s.cache.Fill(ctx, ns, []tiers.Fill{{Record: value("x", 1, 2, `"late"`)}})[0].Err },
		func() error { return s.cache.Fill(ctx, ns, []tiers.Fill{{Record: absent("x", 1, 2, true)}})[0].Err },
		func() error { return step(s.cache, ctx, 1, 2) },
		func() error { _, err := s.cache.Lease(ctx, ns, []string{"x"}, 100*time.Millisecond); return err },
	}
	var callers sync.WaitGroup
	for i, call := range late {
		callers.Go(func() {
			if err := call(); !errors.Is(err, tiers.ErrUnavailable) {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	callers.Wait()
	put(t, other, value("x", 1, 3, `"newer"`))
	if err := errors.Join(step(other, limit(t, patience), 1, 5), s.proxy.Heal()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the late commands", func() bool {
		stats, _ := op.do("INFO", "commandstats").ToString()
		return strings.Contains(stats, "cmdstat_evalsha:calls=5,") // two of them are the other's
	})
	if res := load(t, other, "x"); res.Err != nil || string(res.Data) != `"newer"` {
		t.Errorf("x: %v, %v", res.Stamp, res.Err)
	}
	if m, err := other.Mark(limit(t, patience), ns); err != nil || m.Fed != 5 {
		t.Errorf("mark: %v, %v", m.Fed, err)
	}
	eventually(t, "the end of a lease that nobody got", func() bool {
		held, err := other.Lease(limit(t, patience), ns, []string{"x"}, time.Second)
		return err == nil && held[0]
	})
}
