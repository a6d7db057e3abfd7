package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

// Probes tell what a Load would, past a pool that is stuck, and leave nothing.

// A gauge counts the connections of a source: those made, and open at once.
type gauge struct {
	mu               sync.Mutex
	made, open, most int
}

// gauged makes s tell g of its connections.
func gauged(s *Source) *gauge {
	g := &gauge{}
	dial := s.conf.DialFunc
	s.conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.made++
		g.open++
		g.most = max(g.most, g.open)
		return &gaugedConn{TCPConn: c.(*net.TCPConn), g: g}, nil
	}
	return g
}

func (g *gauge) get() (made, open, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.made, g.open, g.most
}

type gaugedConn struct {
	*net.TCPConn
	g    *gauge
	once sync.Once
}

func (c *gaugedConn) Close() error {
	c.once.Do(func() {
		c.g.mu.Lock()
		defer c.g.mu.Unlock()
		c.g.open--
	})
	return c.TCPConn.Close()
}

// exhaust takes all connections of the pool until the test or give ends it.
func exhaust(t *testing.T, s *Source) (give func()) {
	t.Helper()
	var puts []func()
	for range maxConns {
		c, err := s.pool.get(t.Context())
		must(t, err)
		puts = append(puts, func() { s.pool.put(c) })
	}
	give = sync.OnceFunc(func() {
		for _, put := range puts {
			put()
		}
	})
	t.Cleanup(give)
	return give
}

func TestAProbeNeedsNoPlaceInThePool(t *testing.T) {
	s := open(t, migrated(t))
	exhaust(t, s)
	g := gauged(s)
	for range 3 {
		must(t, s.Probe(t.Context(), "app"))
	}
	if made, open, _ := g.get(); made != 3 || open != 0 {
		t.Errorf("three probes made %d connections, %d are open", made, open)
	}
}

// One connection at a time, whoever asks, and none once the contexts have ended.
func TestProbesOfASilentServerTakeTurns(t *testing.T) {
	p := private(t)
	s := open(t, p.URL())
	must(t, s.Probe(t.Context(), "app"))
	g := gauged(s)
	must(t, p.Freeze())
	var wg sync.WaitGroup
	for range 3 {
		for range 4 {
			wg.Go(func() {
				const d = 100 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				start := time.Now()
				err := s.Probe(ctx, "app")
				if took := time.Since(start); took > d+slack {
					t.Errorf("a probe took %v, its context %v", took, d)
				}
				if !errors.Is(err, tiers.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a probe of a frozen server: %v", err)
				}
			})
		}
		wg.Wait()
		if _, open, most := g.get(); open != 0 || most != 1 {
			t.Errorf("%d connections are open, %d were at once; want none and one", open, most)
		}
	}
	must(t, p.Thaw())
	start := time.Now()
	must(t, s.Probe(t.Context(), "app"))
	t.Logf("answered %v after the thaw", time.Since(start))
	c := psql(t, p.URL())
	eventually(t, time.Second, "no probe has left a session", func() bool {
		var n int
		must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fastopt'`).Scan(&n))
		return n == 0
	})
}

func TestCloseEndsAProbe(t *testing.T) {
	p := private(t)
	s := open(t, p.URL())
	must(t, p.Freeze())
	g := gauged(s)
	probed := make(chan error, 2)
	for range cap(probed) {
		go func() { probed <- s.Probe(t.Context(), "app") }()
	}
	eventually(t, 5*time.Second, "one is connected", func() bool { _, open, _ := g.get(); return open == 1 })
	start := time.Now()
	s.Close()
	for range cap(probed) {
		if err := <-probed; !errors.Is(err, errClosed) {
			t.Errorf("a probe under way when the source is closed: %v", err)
		}
	}
	if took := time.Since(start); took > slack {
		t.Errorf("Close and the probes took %v", took)
	}
	if err := s.Probe(t.Context(), "app"); !errors.Is(err, errClosed) {
		t.Errorf("a probe after Close: %v", err)
	}
	if _, open, _ := g.get(); open != 0 {
		t.Errorf("%d connections are open", open)
	}
	must(t, p.Thaw())
}

// A server that answers, and no Load, does not answer a probe either.
func TestAProbeFailsAsALoadDoes(t *testing.T) {
	for _, tc := range []struct {
		what, does, undo string
		class            error
	}{
		{"table locked", `BEGIN; LOCK TABLE fastopt.options`, `ROLLBACK`, tiers.ErrUnavailable},
		{"table gone", `ALTER TABLE fastopt.options RENAME TO others`, `ALTER TABLE fastopt.others RENAME TO options`, tiers.ErrSetup},
		{"schema gone", `ALTER SCHEMA fastopt RENAME TO others`, `ALTER SCHEMA others RENAME TO fastopt`, tiers.ErrSetup},
		{"no epoch", `CREATE TABLE public.kept AS SELECT * FROM fastopt.epoch; DELETE FROM fastopt.epoch`,
			`INSERT INTO fastopt.epoch SELECT * FROM public.kept`, tiers.ErrSetup},
		{"set back", `UPDATE fastopt.epoch SET epoch = 7`, `UPDATE fastopt.epoch SET epoch = 9`, tiers.ErrUnavailable},
		{"another lineage", `UPDATE fastopt.epoch SET lineage = '11111111-2222-3333-4444-555555555555'`, `UPDATE fastopt.epoch SET lineage = (SELECT lineage FROM public.home)`, tiers.ErrSetup},
	} {
		t.Run(tc.what, func(t *testing.T) {
			url := migrated(t)
			c := psql(t, url)
			must(t, simple(t, c, `UPDATE fastopt.epoch SET epoch = 8; CREATE TABLE public.home AS SELECT * FROM fastopt.epoch`))
			probed, loaded := open(t, url), open(t, url)
			load(t, probed, "a")
			load(t, loaded, "a")
			must(t, probed.Probe(t.Context(), "app"))
			must(t, simple(t, c, tc.does))
			ask := func() (probe, load error) {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				return probed.Probe(ctx, "app"), loaded.Load(ctx, "app", []string{"a"})[0].Err
			}
			probe, plain := ask()
			if !errors.Is(probe, tc.class) || !errors.Is(plain, tc.class) || errors.Is(probe, tiers.ErrSetup) != errors.Is(plain, tiers.ErrSetup) {
				t.Errorf("a probe says %v, a load %v", probe, plain)
			}
			if says := strings.Replace(fmt.Sprint(probe), "probe", "load", 1); tc.class == tiers.ErrSetup && says != fmt.Sprint(plain) {
				t.Errorf("a probe says %v, a load %v", probe, plain)
			}
			must(t, simple(t, c, tc.undo))
			eventually(t, 3*time.Second, "both are answered", func() bool {
				probe, plain = ask()
				return probe == nil && plain == nil
			})
		})
	}
}

// Where Load would step the epoch of a database that was restored, so does a
// probe: while a breaker lets nothing else through, nobody else may be there to.
func TestAProbeStepsTheEpochThatIsDue(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	before := load(t, s, "a").Stamp.Epoch
	exec(t, c, moved)
	exhaust(t, s)
	must(t, s.Probe(t.Context(), "app"))
	if got := s.seen.get().epoch; got <= int64(before) {
		t.Errorf("epoch %d, before it was %d", got, before)
	}
}

func TestAProbeThroughAPooler(t *testing.T) {
	p := private(t)
	for what, pooled := range map[string]string{"settings refused": bouncer(t, p), "settings ignored": bouncer(t, p, ignored)} {
		s := open(t, pooled)
		if err := s.Probe(t.Context(), "app"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		load(t, s, "a")
		exhaust(t, s)
		if err := s.Probe(t.Context(), "app"); err != nil {
			t.Errorf("%s: the pool exhausted: %v", what, err)
		}
	}
	b := servers.PrivatePgBouncer(t, p, servers.Options{})
	s := open(t, b.URL())
	must(t, s.Probe(t.Context(), "app"))
	must(t, b.Freeze())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := s.Probe(ctx, "app"); !errors.Is(err, tiers.ErrUnavailable) || time.Since(start) > 100*time.Millisecond+slack {
		t.Errorf("a frozen pooler: %v after %v", err, time.Since(start))
	}
	must(t, b.Thaw())
	must(t, s.Probe(t.Context(), "app"))
}

// A path that is no more swallows what is sent, and ends nothing.
type path struct {
	net.Conn
	gone *atomic.Bool
}

func (p path) Write(b []byte) (int, error) {
	if p.gone.Load() {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

// What the pool has dialled and kept on such a path is nobody's burden once a
// probe was answered: the next Load is, too.
func TestAfterAProbeTheNextLoadIsAnswered(t *testing.T) {
	for what, stick := range map[string]func(t *testing.T, s *Source, vanish func()){
		"a dial": func(t *testing.T, s *Source, vanish func()) {
			vanish()
			frozen(t, s, 1, 100*time.Millisecond)
		},
		"idle connections": func(t *testing.T, s *Source, vanish func()) {
			warm(t, s)
			vanish()
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t, migrated(t)+"&connect_timeout=60")
			var now atomic.Pointer[atomic.Bool] // whether the paths that are made now are gone
			now.Store(new(atomic.Bool))
			dial := s.conf.DialFunc
			s.conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dial(ctx, network, addr)
				return path{c, now.Load()}, err
			}
			stick(t, s, func() { now.Load().Store(true) })
			now.Store(new(atomic.Bool))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			must(t, s.Probe(ctx, "app"))
			start := time.Now()
			ctx, cancel = context.WithTimeout(t.Context(), slack)
			defer cancel()
			if r := s.Load(ctx, "app", []string{"a"})[0]; r.Err != nil {
				t.Errorf("the load after the probe: %v", r.Err)
			}
			t.Logf("answered after %v", time.Since(start))
		})
	}
}

// A probe that is answered ends dials and drops idle connections while others load:
// none of them fails by that, and no connection is lost or too many.
func TestLoadsGoOnWhileProbesRenewThePool(t *testing.T) {
	s := open(t, migrated(t))
	load(t, s, "a")
	g := gauged(s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var loads, probes sync.WaitGroup
	over := make(chan struct{})
	for range 3 { // fewer than the pool holds, so that some are idle
		loads.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				if i%3 == 0 {
					s.pool.reset() // so that there are dials
				}
				if r := s.Load(ctx, "app", []string{"a"})[0]; r.Err != nil {
					t.Errorf("a load: %v", r.Err)
					return
				}
			}
		})
	}
	for range 2 {
		probes.Go(func() {
			for range 20 {
				if err := s.Probe(ctx, "app"); err != nil {
					t.Errorf("a probe: %v", err)
					return
				}
			}
		})
	}
	probes.Wait()
	close(over)
	loads.Wait()
	eventually(t, 5*time.Second, "dials that nobody waits for any more end", func() bool {
		s.pool.mu.Lock()
		defer s.pool.mu.Unlock()
		return len(s.pool.dials) == 0
	})
	s.pool.mu.Lock()
	if len(s.pool.idle) != s.pool.open || s.pool.open > maxConns || len(s.pool.waiters) > 0 {
		t.Errorf("%d idle of %d open connections, %d wait", len(s.pool.idle), s.pool.open, len(s.pool.waiters))
	}
	s.pool.mu.Unlock()
	s.Close()
	made, left, most := g.get()
	if t.Logf("%d connections were made", made); left != 0 || most > maxConns+1 {
		t.Errorf("%d connections are left, %d were open at once", left, most)
	}
}
