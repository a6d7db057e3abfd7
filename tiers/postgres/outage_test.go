package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

// Outages of every kind, and every call in each of them: it returns with its
// context, a write says the truth, and once the cause is gone all works again
// soon, with nothing left behind.

// A site is a server behind a proxy and a source in use, with a watch and an
// election that run beside the calls.
type site struct {
	p     *servers.PostgresServer
	proxy *faults.Proxy
	s     *Source
	g     *gauge
	watch *hearer
	elect *leader
}

func through(t *testing.T, target string) *faults.Proxy {
	t.Helper()
	proxy, err := faults.NewProxy(target)
	must(t, err)
	t.Cleanup(proxy.Close)
	return proxy
}

// url leads through the proxy.
func (at *site) url(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(at.p.URL())
	must(t, err)
	u.Host = at.proxy.Addr()
	return u.String()
}

// newSite has a source whose pool is full, and nothing that runs yet.
func newSite(t *testing.T, p *servers.PostgresServer) *site {
	t.Helper()
	site := &site{p: p, proxy: through(t, p.Addr())}
	site.s = open(t, site.url(t))
	site.g = gauged(site.s)
	set(t, site.s, "a", "1")
	warm(t, site.s)
	return site
}

// runs starts the watch and the election.
func (at *site) runs(t *testing.T) {
	t.Helper()
	at.watch, at.elect = listen(t, at.s, "app"), stand(t, at.s)
	eventually(t, 5*time.Second, "it leads", at.elect.leads.Load)
}

// An outage bites, and heals when the function it returns is called.
type outage struct {
	what  string
	bites func(t *testing.T, at *site) (heal func())

	answered bool          // who needs no place in the pool is answered
	outcome  tiers.Outcome // of a write on a connection that was there before
	late     bool          // the calls may be answered, and may be not
	soon     time.Duration // within which all works again; 0: a second
	settings []string      // of the server
}

var outages = []outage{
	{what: "frozen", outcome: tiers.Unknown, bites: func(t *testing.T, at *site) func() {
		must(t, at.p.Freeze())
		return func() { must(t, at.p.Thaw()) }
	}},
	{what: "black hole", outcome: tiers.Unknown, bites: func(t *testing.T, at *site) func() {
		at.proxy.Drop()
		return func() { must(t, at.proxy.Heal()) }
	}},
	{what: "black hole to the server", outcome: tiers.Unknown, bites: func(t *testing.T, at *site) func() {
		at.proxy.Drop(faults.ToServer)
		return func() { must(t, at.proxy.Heal()) }
	}},
	{what: "black hole to the client", outcome: tiers.Unknown, bites: func(t *testing.T, at *site) func() {
		at.proxy.Drop(faults.ToClient)
		return func() { must(t, at.proxy.Heal()) }
	}},
	{what: "slow, 200 ms", late: true, bites: func(t *testing.T, at *site) func() {
		at.proxy.Delay(faults.ToClient, 200*time.Millisecond)
		return func() { must(t, at.proxy.Heal()) }
	}},
	{what: "reset in each answer", outcome: tiers.Unknown, bites: func(t *testing.T, at *site) func() {
		var healed atomic.Bool
		parsed := []byte{'1', 0, 0, 0, 4} // the answer to a statement begins so
		var cut func()
		cut = func() {
			at.proxy.CutWhen(faults.ToClient, func(piece []byte) bool {
				hit := bytes.HasPrefix(piece, parsed) && !healed.Load()
				if hit {
					cut()
				}
				return hit
			})
		}
		cut()
		return func() { healed.Store(true); must(t, at.proxy.Heal()) }
	}},
	{what: "refused", outcome: tiers.NotApplied, bites: func(t *testing.T, at *site) func() {
		at.proxy.Refuse()
		at.proxy.Reset()
		at.ended(t)
		return func() { must(t, at.proxy.Heal()) }
	}},
	{what: "killed", outcome: tiers.NotApplied, settings: []string{durable}, bites: func(t *testing.T, at *site) func() {
		must(t, at.p.Kill())
		at.ended(t)
		return func() { must(t, at.p.Restart(t.Context())) }
	}},
	{what: "pool exhausted", outcome: tiers.NotApplied, answered: true, bites: func(t *testing.T, at *site) func() {
		return exhaust(t, at.s)
	}},
	{what: "table locked", outcome: tiers.Unknown, bites: func(t *testing.T, at *site) func() {
		c := psql(t, at.p.URL())
		exec(t, c, `BEGIN`)
		exec(t, c, `LOCK TABLE fastopt.options`)
		return func() { exec(t, c, `ROLLBACK`) }
	}},
	{what: "too many connections", outcome: tiers.NotApplied, settings: []string{"max_connections=12"}, bites: func(t *testing.T, at *site) func() {
		root := psql(t, at.p.URL())
		var others []*pgx.Conn
		more := func() bool {
			c, err := pgx.Connect(t.Context(), at.p.URL())
			if err == nil {
				others = append(others, c)
			}
			return err == nil
		}
		for more() {
		}
		exec(t, root, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'fastopt'`)
		eventually(t, 5*time.Second, "all places are taken", func() bool { return !more() })
		return func() {
			for _, c := range others {
				c.Close(context.Background())
			}
			root.Close(context.Background())
		}
	}},
	// Who asked the standby just before its promotion comes back after a pause.
	{what: "failing over", outcome: tiers.NotApplied, soon: retrySpoken + retrySpoken/4, bites: func(t *testing.T, at *site) func() {
		standby := servers.PrivateStandby(t, at.p)
		at.proxy.SetTarget(standby.Addr())
		must(t, at.p.Kill())
		at.ended(t)
		at.p = standby
		return func() { must(t, standby.Promote(t.Context())) }
	}},
}

// ended waits until what the pool keeps is known to be dead.
func (at *site) ended(t *testing.T) {
	t.Helper()
	eventually(t, 5*time.Second, "the idle connections have ended", func() bool {
		at.s.pool.mu.Lock()
		defer at.s.pool.mu.Unlock()
		return !slices.ContainsFunc(at.s.pool.idle, func(c idleConn) bool { return alive(c.Conn) })
	})
}

func TestOutages(t *testing.T) {
	for _, o := range outages {
		t.Run(o.what, func(t *testing.T) {
			at := newSite(t, private(t, o.settings...))
			at.runs(t)
			heal := o.bites(t, at)
			at.writes(t, o)
			for range 3 {
				at.returns(t, o)
			}
			heal()
			at.recovers(t, cmp.Or(o.soon, time.Second)+slack)
		})
	}
}

// writes makes a write on a connection that was there before the outage.
func (at *site) writes(t *testing.T, o outage) {
	t.Helper()
	const d = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	_, err := at.s.Write(ctx, "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
	if took := time.Since(start); took > d+slack {
		t.Errorf("a write took %v, its context %v", took, d)
	}
	if o.late {
		return
	}
	if tiers.OutcomeOf(err) != o.outcome || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a write: %v, want %v", err, o.outcome)
	}
}

// returns makes all calls at once, and none may outstay its context.
func (at *site) returns(t *testing.T, o outage) {
	t.Helper()
	const d = 150 * time.Millisecond
	var mu sync.Mutex
	var worst time.Duration
	var wg sync.WaitGroup
	call := func(what string, pooled bool, f func(ctx context.Context) error) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			start := time.Now()
			err := f(ctx)
			took := time.Since(start)
			mu.Lock()
			worst = max(worst, took)
			mu.Unlock()
			switch {
			case took > d+slack:
				t.Errorf("%s took %v, its context %v", what, took, d)
			case o.late, o.answered && !pooled:
			case errors.Is(err, tiers.ErrSetup), !errors.Is(err, tiers.ErrUnavailable):
				t.Errorf("%s: %v, want it unavailable", what, err)
			}
		})
	}
	s := at.s
	call("Load", true, func(ctx context.Context) error { return s.Load(ctx, "app", []string{"a"})[0].Err })
	call("Write", true, func(ctx context.Context) error {
		_, err := s.Write(ctx, "other", []tiers.Write{{Name: "a", Data: []byte("2")}})
		return err
	})
	if o.what != "table locked" { // which is of no interest to it
		call("Identity", true, func(ctx context.Context) error { _, err := s.Identity(ctx); return err })
	}
	call("Changes", true, func(ctx context.Context) error { _, err := s.Changes(ctx, "app", tiers.Stamp{Epoch: 1}); return err })
	call("Scan", true, func(ctx context.Context) (last error) {
		for _, last = range s.Scan(ctx, "app") {
		}
		return last
	})
	call("Probe", false, func(ctx context.Context) error { return s.Probe(ctx, "app") })
	ends := func(err error) error {
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("it returned by itself: %w", err)
		}
		return tiers.ErrUnavailable
	}
	call("Watch", false, func(ctx context.Context) error { return ends(s.Watch(ctx, "app", func(tiers.Event) {})) })
	call("Elect", false, func(ctx context.Context) error {
		return ends(s.Elect(ctx, "other", func(ctx context.Context) { <-ctx.Done() }))
	})
	wg.Wait()
	if o.answered {
		must(t, s.Probe(t.Context(), "app"))
	}
	t.Logf("the slowest call took %v, with a context of %v", worst, d)
}

// recovers: soon after the outage everything works, and no session is left over.
func (at *site) recovers(t *testing.T, soon time.Duration) {
	t.Helper()
	from, healed := at.watch.len(), time.Now()
	works := func(what string, ok func(ctx context.Context) bool) {
		t.Helper()
		eventually(t, soon-time.Since(healed), what, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer cancel()
			return ok(ctx)
		})
		t.Logf("%s after %v", what, time.Since(healed).Round(time.Millisecond))
	}
	works("a probe is answered", func(ctx context.Context) bool { return at.s.Probe(ctx, "app") == nil })
	works("a load is answered", func(ctx context.Context) bool { return at.s.Load(ctx, "app", []string{"a"})[0].Err == nil })
	works("a write succeeds", func(ctx context.Context) bool {
		_, err := at.s.Write(ctx, "app", []tiers.Write{{Name: "b", Data: []byte("1")}})
		return err == nil
	})
	works("the watch is alive", func(context.Context) bool { return at.watch.count(tiers.Alive, "", from) > 0 })
	works("it leads", func(context.Context) bool { return at.elect.leads.Load() })
	c := psql(t, at.p.URL())
	eventually(t, 2*time.Second, "no session is left over", func() bool {
		var n int
		must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fastopt'`).Scan(&n))
		_, open, _ := at.g.get()
		return n == open && n <= maxConns+2
	})
}
