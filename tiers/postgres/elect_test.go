package postgres

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

// Elections under what ends a session: a kill, a silent path, a frozen server.
// What every elector promises is checked by tiertest.

// A leader is one Elect.
type leader struct {
	leads  atomic.Bool
	losses atomic.Int32 // times it ceased to lead
	done   chan error
}

// stand runs Elect until the test ends.
func stand(t *testing.T, s *Source) *leader {
	t.Helper()
	l := &leader{done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		l.done <- s.Elect(ctx, "app", func(ctx context.Context) {
			l.leads.Store(true)
			<-ctx.Done()
			l.losses.Add(1)
			l.leads.Store(false)
		})
	}()
	t.Cleanup(func() { cancel(); <-l.done; l.done <- nil })
	return l
}

// However many stand, three are connected; a place that becomes free is taken.
func TestAFewCandidatesHoldAConnection(t *testing.T) {
	url := migrated(t)
	c := psql(t, url)
	var all []*leader
	var dials atomic.Int32
	for range 8 {
		s := open(t, url)
		s.look = 200 * time.Millisecond
		dial := s.conf.DialFunc
		s.conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, addr)
		}
		all = append(all, stand(t, s))
	}
	locks := func() (n int) {
		must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n))
		return n
	}
	sessions := func() (n int) {
		must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n))
		return n
	}
	leading := func() (n int) {
		for _, l := range all {
			if l.leads.Load() {
				n++
			}
		}
		return n
	}
	for range 3 {
		eventually(t, 5*time.Second, "three have seats, one of them the right", func() bool { return locks() == 4 && leading() == 1 })
		before, fewest := dials.Load(), 100
		for end := time.Now().Add(600 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			fewest = min(fewest, sessions())
			if n := locks(); n != 4 || leading() != 1 {
				t.Fatalf("%d locks are held, %d lead; want 4 and 1", n, leading())
			}
		}
		if fewest != 3 {
			t.Errorf("%d sessions at the least, want 3", fewest)
		}
		if n := dials.Load() - before; n > 5*4 { // 5 spares look every 200 to 400 ms
			t.Errorf("%d dials in 600 ms by 5 that have no seat", n)
		}
		exec(t, c, `SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid HAVING count(*) = 2`)
	}
}

func TestAHolderWhoseSessionIsKilledLosesTheRight(t *testing.T) {
	url := migrated(t)
	c := psql(t, url)
	one := stand(t, open(t, url))
	eventually(t, 5*time.Second, "one leads", one.leads.Load)
	two := stand(t, open(t, url))
	eventually(t, 5*time.Second, "both are connected", func() bool {
		var n int
		must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n))
		return n == 2
	})
	for range 3 {
		first := one
		if two.leads.Load() {
			first = two
		}
		before := first.losses.Load()
		exec(t, c, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		eventually(t, time.Second+slack, "exactly one leads, since the kill", func() bool {
			return first.losses.Load() > before && one.leads.Load() != two.leads.Load()
		})
	}
}

// Candidates of a standby take seats and lead nothing, until it is promoted.
func TestCandidatesOfAStandbyLeadAfterItsPromotion(t *testing.T) {
	p := private(t)
	standby := servers.PrivateStandby(t, p)
	c := psql(t, standby.URL())
	var all []*leader
	for range 5 {
		s := open(t, standby.URL())
		s.look = 200 * time.Millisecond
		all = append(all, stand(t, s))
	}
	leading := func() (n int) {
		for _, l := range all {
			if l.leads.Load() {
				n++
			}
		}
		return n
	}
	eventually(t, 5*time.Second, "three have seats", func() bool {
		var n int
		must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted`).Scan(&n))
		return n == 3
	})
	for end := time.Now().Add(2 * electPoll); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if n := leading(); n > 0 {
			t.Fatalf("%d lead at a standby", n)
		}
	}
	must(t, p.Kill())
	must(t, standby.Promote(t.Context()))
	eventually(t, electPoll+slack, "one leads", func() bool { return leading() == 1 })
}

// A mute connection swallows what is written to it, and does not close: the
// server sees a client that stands still.
type mute struct {
	net.Conn
	on *atomic.Bool
}

func (m mute) Write(p []byte) (int, error) {
	if m.on.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func (m mute) Close() error {
	if m.on.Load() {
		return nil
	}
	return m.Conn.Close()
}

// P12: the server takes the right from a holder that says nothing; one that
// merely cannot be heard has noticed before.
func TestAHolderThatStandsStillLosesTheRight(t *testing.T) {
	url := migrated(t)
	still := open(t, url)
	var on atomic.Bool
	dial := still.conf.DialFunc
	still.conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if on.Load() {
			return nil, errors.New("it stands still")
		}
		c, err := dial(ctx, network, addr)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return mute{c, &on}, err
	}
	one := stand(t, still)
	eventually(t, 5*time.Second, "one leads", one.leads.Load)
	two := stand(t, open(t, url))
	on.Store(true)
	start := time.Now()
	eventually(t, 2*time.Second+slack, "the other leads", two.leads.Load)
	took := time.Since(start)
	if took < 500*time.Millisecond {
		t.Errorf("the right was taken after %v from a holder that spoke a moment ago", took)
	}
	if one.leads.Load() {
		t.Error("two lead: who cannot be heard notices it last")
	}
	t.Logf("taken over after %v", took)
}

func TestAnElectionOutlivesAFrozenAndARestartedServer(t *testing.T) {
	p := private(t, durable)
	s := open(t, p.URL())
	l := stand(t, s)
	eventually(t, 5*time.Second, "it leads", l.leads.Load)
	start := time.Now()
	must(t, p.Freeze())
	eventually(t, 5*time.Second, "it has lost the right", func() bool { return !l.leads.Load() })
	if took := time.Since(start); took > electBeat+electBeatLimit+slack {
		t.Errorf("a frozen server was noticed after %v", took)
	}
	must(t, p.Thaw())
	eventually(t, 3*time.Second, "it leads again", l.leads.Load)
	must(t, p.Restart(t.Context()))
	eventually(t, 3*time.Second, "it leads after the restart", func() bool { return l.losses.Load() >= 2 && l.leads.Load() })
	s.Close()
	if err := <-l.done; !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	l.done <- nil
}

func TestAnElectionSaysWhatWaitingDoesNotChange(t *testing.T) {
	url := migrated(t)
	s := open(t, as(t, url, "nobody_knows", "secretword"))
	err := s.Elect(t.Context(), "app", func(context.Context) { t.Error("it leads") })
	if !errors.Is(err, tiers.ErrSetup) {
		t.Errorf("%v", err)
	}
	if err := s.Elect(t.Context(), "", nil); err == nil {
		t.Error("a namespace without a name")
	}
}
