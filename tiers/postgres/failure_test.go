package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

// slack is what a call may take beyond its context on a machine whose processors
// are all busy; what it guards against takes seconds.
const slack = 500 * time.Millisecond

// private returns a server of the test's own with the schema.
func private(t *testing.T, settings ...string) *servers.PostgresServer {
	t.Helper()
	p := servers.PrivatePostgres(t, servers.Options{Settings: settings})
	must(t, Migrate(t.Context(), p.URL()))
	return p
}

// warm makes s hold all the connections it may.
func warm(t *testing.T, s *Source) {
	t.Helper()
	for range maxConns {
		c, err := s.pool.get(t.Context())
		must(t, err)
		defer s.pool.put(c)
	}
}

// frozen says what happened to calls with contexts of d while nobody answers.
func frozen(t *testing.T, s *Source, calls int, d time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			start := time.Now()
			r := s.Load(ctx, "app", []string{"a"})[0]
			if took := time.Since(start); took > d+slack {
				t.Errorf("a load took %v, its context %v", took, d)
			}
			if !errors.Is(r.Err, tiers.ErrUnavailable) || !errors.Is(r.Err, context.DeadlineExceeded) {
				t.Errorf("a load from a frozen server: %v", r.Err)
			}
		})
	}
	wg.Wait()
}

func TestAFrozenServerHoldsNobodyAndIsUsedAgainAtOnce(t *testing.T) {
	p := private(t)
	s := open(t, p.URL())
	set(t, s, "a", "1")
	warm(t, s)
	before := runtime.NumGoroutine()
	must(t, p.Freeze())

	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := s.Write(ctx, "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
	if tiers.OutcomeOf(err) != tiers.Unknown || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write sent to a frozen server: %v, want an unknown outcome", err)
	}
	if took := time.Since(start); took > 150*time.Millisecond+slack {
		t.Errorf("the write took %v", took)
	}
	for range 6 { // the first four find connections, the others cannot dial
		frozen(t, s, 8, 100*time.Millisecond)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Write(ctx, "app", []tiers.Write{{Name: "a", Data: []byte("3")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied {
		t.Errorf("a write without a connection: %v, want not applied", err)
	}
	if n := runtime.NumGoroutine(); n > before+2*maxConns {
		t.Errorf("%d goroutines have become %d", before, n)
	}

	must(t, p.Thaw())
	thawed := time.Now()
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r := s.Load(ctx, "app", []string{"a"})[0]
	must(t, r.Err)
	took := time.Since(thawed)
	t.Logf("the first load was answered %v after the thaw", took)
	if took > time.Second {
		t.Errorf("the first load after the thaw took %v", took)
	}
	eventually(t, 5*time.Second, "the write of unknown outcome commits after all", func() bool {
		return string(load(t, s, "a").Data) == "2"
	})
}

func TestCloseDoesNotWaitForAFrozenServer(t *testing.T) {
	p := private(t)
	s := open(t, p.URL())
	warm(t, s)
	must(t, p.Freeze())
	loaded := make(chan error, 2*maxConns)
	for range cap(loaded) {
		go func() { loaded <- s.Load(t.Context(), "app", []string{"a"})[0].Err }()
	}
	eventually(t, time.Second, "all connections are in use", func() bool {
		s.pool.mu.Lock()
		defer s.pool.mu.Unlock()
		return len(s.pool.idle) == 0 && len(s.pool.waiters) == maxConns
	})
	start := time.Now()
	s.Close()
	if took := time.Since(start); took > slack {
		t.Errorf("Close took %v", took)
	}
	for range cap(loaded) {
		if err := <-loaded; !errors.Is(err, errClosed) {
			t.Errorf("a load under way when the source is closed: %v", err)
		}
	}
	if left := leftovers(time.Second); left != "" {
		t.Errorf("goroutines after Close:\n%s", left)
	}
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Delete: true}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a write after Close: %v", err)
	}
	s.Close()
	must(t, p.Thaw())
}

// A server that takes connections and says nothing gets one dial at a time.
func TestASilentServerGetsOneDialAtATime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	accepted := make(chan net.Conn, 1000)
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	s := open(t, "postgres://someone@"+silent.Addr().String()+"/app?sslmode=disable")
	end := time.Now().Add(connectTimeout + connectTimeout/2)
	for time.Now().Before(end) {
		frozen(t, s, 20, 100*time.Millisecond)
	}
	s.Close()
	silent.Close()
	n := 0
	for c := range accepted {
		c.Close()
		n++
	}
	if n > maxConns+2 {
		t.Errorf("%d dials in 1.5 s, want the first %d and then one a second", n, maxConns)
	}
}

// durable makes a commit outlive a kill -9 of the server.
const durable = "synchronous_commit=on"

func TestNothingIsSentToAServerThatDied(t *testing.T) {
	p := private(t, durable)
	s := open(t, p.URL())
	set(t, s, "a", "1")
	warm(t, s)
	must(t, p.Kill())
	r := s.Load(t.Context(), "app", []string{"a"})[0]
	if !errors.Is(r.Err, tiers.ErrUnavailable) || errors.Is(r.Err, tiers.ErrSetup) {
		t.Errorf("a load from no server: %v", r.Err)
	}
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a write to no server: %v", err)
	}
	must(t, p.Restart(t.Context()))
	if got := load(t, s, "a"); string(got.Data) != "1" {
		t.Errorf("after the restart: %+v", got)
	}
}

// Connections that died while idle are told apart from living ones before use.
func TestIdleConnectionsThatDiedAreNotUsed(t *testing.T) {
	p := private(t, durable)
	reader, writer := open(t, p.URL()), open(t, p.URL())
	for _, again := range []func() error{
		func() error { return p.Restart(t.Context()) },
		func() error { return errors.Join(p.Kill(), p.Restart(t.Context())) },
	} {
		warm(t, reader)
		warm(t, writer)
		must(t, again())
		revision := set(t, writer, "a", "1")
		if got := load(t, reader, "a"); got.Stamp.Revision != revision {
			t.Errorf("after the restart: %+v", got)
		}
	}
}

// If such a connection is used all the same, a read tries another one, and a
// write says the truth.
func TestDeadConnectionsInUse(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	s.pool.alive = func(*pgx.Conn) bool { return true }
	set(t, s, "a", "1")
	warm(t, s)
	exec(t, c, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied {
		t.Errorf("a write to a session that had ended: %v, want not applied", err)
	}
	if got := load(t, s, "a"); string(got.Data) != "1" {
		t.Errorf("read %+v", got)
	}
}

// The pool's places are taken by statements that wait for a lock: who waits for
// a place leaves on time, and who has one, too.
func TestAcquiringCountsAgainstTheContext(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	exec(t, c, `BEGIN`)
	exec(t, c, `LOCK TABLE fastopt.options`)
	frozen(t, s, 3*maxConns, 100*time.Millisecond)
	exec(t, c, `ROLLBACK`)
	load(t, s, "a")
}

// A server that ends the session during a statement has not committed; one that
// does so in place of the commit's answer may have.
func TestOutcomes(t *testing.T) {
	const (
		failing  = `RAISE EXCEPTION 'no' USING ERRCODE = '40001'`
		checking = `RAISE EXCEPTION 'no' USING ERRCODE = '23514', DETAIL = 'canary-value'`
		dying    = `PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5)`
	)
	for _, tc := range []struct {
		what, when, does string
		outcome          tiers.Outcome
		unavailable      bool
	}{
		{"a statement is refused", "BEFORE", failing, tiers.NotApplied, true},
		{"the value is refused", "BEFORE", checking, tiers.NotApplied, false},
		{"the commit is refused", "CONSTRAINT", failing, tiers.NotApplied, true},
		{"the session ends in a statement", "BEFORE", dying, tiers.NotApplied, true},
		{"the session ends in the commit", "CONSTRAINT", dying, tiers.Unknown, true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			url := migrated(t)
			s, c := open(t, url), psql(t, url)
			exec(t, c, `CREATE FUNCTION public.break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN `+tc.does+`; RETURN NEW; END $$`)
			when := `TRIGGER z BEFORE INSERT ON fastopt.options`
			if tc.when == "CONSTRAINT" {
				when = `CONSTRAINT TRIGGER z AFTER INSERT ON fastopt.options DEFERRABLE INITIALLY DEFERRED`
			}
			exec(t, c, `CREATE `+when+` FOR EACH ROW EXECUTE FUNCTION public.break()`)
			_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte(`"canary-value"`)}})
			var we *tiers.WriteError
			if !errors.As(err, &we) || we.Outcome != tc.outcome || errors.Is(err, tiers.ErrUnavailable) != tc.unavailable {
				t.Errorf("%v, want %v, unavailable %v", err, tc.outcome, tc.unavailable)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), "canary") {
				t.Errorf("the error repeats the value: %v", err)
			}
			if got := load(t, s, "a"); got.Kind != tiers.Absent || got.Stamp.Revision != 0 {
				t.Errorf("afterwards: %+v", got)
			}
		})
	}
}

func TestWritesAreCheckedBeforeIO(t *testing.T) {
	s := open(t, "postgres://nobody@127.0.0.1:1/none")
	good := tiers.Write{Name: "a", Data: []byte("1")}
	for what, ws := range map[string][]tiers.Write{
		"no name":         {{Data: []byte("1")}},
		"long name":       {{Name: strings.Repeat("x", 401), Data: []byte("1")}},
		"no value":        {{Name: "a"}},
		"no JSON":         {{Name: "a", Data: []byte("yes")}},
		"two values":      {{Name: "a", Data: []byte("1 2")}},
		"invalid UTF-8":   {{Name: "a", Data: []byte("\"\xff\"")}},
		"large value":     {{Name: "a", Data: []byte(`"` + strings.Repeat("x", tiers.MaxData) + `"`)}},
		"NUL in reason":   {{Name: "a", Data: []byte("1"), Reason: "a\x00b"}},
		"a name twice":    {good, {Name: "a", Delete: true}},
		"too many writes": make([]tiers.Write, tiers.MaxBatch+1),
	} {
		_, err := s.Write(t.Context(), "app", ws)
		if tiers.OutcomeOf(err) != tiers.NotApplied || errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Write(t.Context(), "", []tiers.Write{good}); tiers.OutcomeOf(err) != tiers.NotApplied {
		t.Errorf("no namespace: %v", err)
	}
	if _, err := s.Write(t.Context(), "app", []tiers.Write{good}); !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a good write to a closed port: %v", err)
	}
}
