package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

// Behind PgBouncer in transaction mode: what needs no session works as ever,
// what needs one says so.

// ignored has PgBouncer take the settings of a session, and forget them.
const ignored = "ignore_startup_parameters=statement_timeout,lock_timeout,search_path,default_transaction_isolation"

// bouncer starts a PgBouncer in front of p that has two sessions to lend, and
// returns its URL.
func bouncer(t *testing.T, p *servers.PostgresServer, settings ...string) string {
	t.Helper()
	return servers.PrivatePgBouncer(t, p, servers.Options{Settings: append(settings, "default_pool_size=2")}).URL()
}

func openVia(t *testing.T, pooled, direct string) *Source {
	t.Helper()
	s, err := Open(Config{URL: pooled, DirectURL: direct})
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestBehindAPoolerTheContractIsKept(t *testing.T) {
	tiertest.TestSource(t, func(t *testing.T) tiers.Source {
		p := private(t)
		s := openVia(t, bouncer(t, p)+patient, p.URL()+patient)
		s.look /= 60
		return s
	})
}

// R19: LISTEN through such a pooler would be heard once or never, a lock belong
// to nobody. Both are refused, and the remedy is named.
func TestR19WithoutASessionNobodyListens(t *testing.T) {
	p := private(t)
	direct := p.URL()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	deaf := func(e tiers.Event) { t.Errorf("event %+v", e) }
	idle := func(context.Context) { t.Error("it leads") }
	for what, pooled := range map[string]string{"settings refused": bouncer(t, p), "settings ignored": bouncer(t, p, ignored)} {
		s := open(t, pooled)
		set(t, s, "a", "1")
		says(t, what+": watch", s.Watch(ctx, "app", deaf), "postgres.Config.DirectURL")
		says(t, what+": elect", s.Elect(ctx, "app", idle), "postgres.Config.DirectURL")
		says(t, what+": a direct address that is none", openVia(t, direct, pooled).Watch(ctx, "app", deaf), "postgres.Config.DirectURL")
	}
	other, err := p.NewDatabase(t.Context())
	must(t, err)
	must(t, Migrate(t.Context(), other))
	s := openVia(t, bouncer(t, p), other)
	says(t, "another database: watch", s.Watch(ctx, "app", deaf), "Config.DirectURL leads to another database")
	says(t, "another database: elect", s.Elect(ctx, "app", idle), "Config.DirectURL leads to another database")
	_, err = Open(Config{URL: direct, DirectURL: "postgres://app:canary-word@host:port/db"})
	says(t, "a direct URL that is none", err, "Config.DirectURL does not parse")
	if strings.Contains(fmt.Sprint(err), "canary") {
		t.Errorf("the URL is repeated: %v", err)
	}
}

// What limits a session is gone behind a pooler; each transaction has to bring it.
func TestBehindAPoolerTheLimitsTravelAlong(t *testing.T) {
	p := private(t)
	c := psql(t, p.URL())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for what, pooled := range map[string]string{"settings refused": bouncer(t, p), "settings ignored": bouncer(t, p, ignored)} {
		s := open(t, pooled+"&lock_timeout=150&statement_timeout=300")
		set(t, s, "a", "1")
		exec(t, c, `BEGIN`)
		exec(t, c, `UPDATE fastopt.options SET value = '2'`)
		start := time.Now()
		_, err := s.Write(ctx, "app", []tiers.Write{{Name: "a", Data: []byte("3")}})
		if tiers.OutcomeOf(err) != tiers.NotApplied || !strings.Contains(fmt.Sprint(err), "55P03") || !strings.Contains(err.Error(), fmt.Sprintf("pid %d,", c.PgConn().PID())) {
			t.Errorf("%s: a write behind a lock: %v", what, err)
		}
		if took := time.Since(start); took < 150*time.Millisecond || took > 150*time.Millisecond+slack {
			t.Errorf("%s: it was refused after %v", what, took)
		}
		exec(t, c, `LOCK TABLE fastopt.options`)
		err = s.Load(ctx, "app", []string{"a"})[0].Err
		if !errors.Is(err, tiers.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "55P03") {
			t.Errorf("%s: a load behind a lock: %v", what, err)
		}
		exec(t, c, `ROLLBACK`)
		exec(t, c, `ALTER ROLE CURRENT_USER IN DATABASE `+c.Config().Database+` SET default_transaction_isolation = 'repeatable read'`)
		must(t, simple(t, c, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`))
		eventually(t, 5*time.Second, "the role's isolation is noticed", func() bool {
			_, err = s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("3")}})
			return errors.Is(err, tiers.ErrSetup) && strings.Contains(err.Error(), "default_transaction_isolation")
		})
		exec(t, c, `ALTER ROLE CURRENT_USER IN DATABASE `+c.Config().Database+` RESET default_transaction_isolation`)
		must(t, simple(t, c, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`))
		eventually(t, 5*time.Second, "it is mended", func() bool {
			_, err = s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("3")}})
			return err == nil
		})
	}
}

// R49: no statement is prepared by name, so none is missing in the session that
// the pooler lends next, nor after a failover.
func TestR49NoStatementHasAName(t *testing.T) {
	p := private(t)
	s, c := open(t, bouncer(t, p, "server_reset_query_always=1", "server_reset_query=DISCARD ALL")), psql(t, p.URL())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 25 {
				name := fmt.Sprint("a.", i)
				if _, err := s.Write(t.Context(), "app", []tiers.Write{{Name: name, Data: fmt.Append(nil, j)}}); err != nil {
					t.Errorf("write: %v", err)
				}
				if r := s.Load(t.Context(), "app", []string{name})[0]; r.Err != nil || string(r.Data) != fmt.Sprint(j) {
					t.Errorf("load: %+v", r)
				}
			}
		})
	}
	wg.Wait()
	d := open(t, p.URL())
	set(t, d, "b", "1")
	pc, err := d.pool.get(t.Context())
	must(t, err)
	var named int
	must(t, pc.QueryRow(t.Context(), `SELECT count(*) FROM pg_prepared_statements`).Scan(&named))
	d.pool.put(pc)
	if named != 0 {
		t.Errorf("%d statements have a name", named)
	}
	// And if one is missing all the same, another session is asked, once.
	must(t, simple(t, c, `
		CREATE SEQUENCE public.asked;
		CREATE FUNCTION public.forget() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('public.asked') = 1 THEN RAISE EXCEPTION 'prepared statement does not exist' USING ERRCODE = '26000'; END IF;
			RETURN true; END $$;
		ALTER VIEW fastopt.here RENAME TO there;
		CREATE VIEW fastopt.here AS SELECT * FROM fastopt.there WHERE public.forget()`))
	for what, again := range map[string]func() error{
		"load": func() error { return s.Load(t.Context(), "app", []string{"a.1"})[0].Err },
		"write": func() error {
			_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "headless", Data: []byte("1")}})
			return err
		},
	} {
		exec(t, c, `ALTER SEQUENCE public.asked RESTART`)
		if err := again(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	exec(t, c, `CREATE OR REPLACE FUNCTION public.forget() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION 'prepared statement does not exist' USING ERRCODE = '26000'; END $$`)
	_, err = s.Write(t.Context(), "app", []tiers.Write{{Name: "c", Data: []byte("1")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a statement that is always missing: %v", err)
	}
}

func TestAPoolerThatRefusesAParameterOfTheURL(t *testing.T) {
	s := open(t, bouncer(t, private(t))+"&work_mem=1MB")
	says(t, "load", s.Load(t.Context(), "app", []string{"a"})[0].Err, "ignore_startup_parameters")
}

// Also where the role prefers a snapshot that is older than the lock of migrations.
func TestMigrateThroughAPooler(t *testing.T) {
	p := servers.PrivatePostgres(t, servers.Options{})
	pooled := bouncer(t, p)
	exec(t, psql(t, p.URL()), `ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'repeatable read'`)
	holder := psql(t, p.URL())
	exec(t, holder, `SELECT pg_advisory_lock($1, 0)`, lockClass)
	migrations := make(chan error)
	for range 2 {
		go func() { migrations <- Migrate(t.Context(), pooled) }()
	}
	eventually(t, 5*time.Second, "both wait for the lock", func() bool {
		var waiting int
		must(t, holder.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).Scan(&waiting))
		return waiting == 2
	})
	exec(t, holder, `SELECT pg_advisory_unlock($1, 0)`, lockClass)
	for range 2 {
		must(t, <-migrations)
	}
	must(t, Migrate(t.Context(), pooled))
	set(t, open(t, p.URL()), "a", "1")
}

// A pooler that answers no more keeps nobody from the server: a watch asks it
// whether both lead to one database, and gives up in time to try again.
func TestAFrozenPoolerDoesNotHoldAWatch(t *testing.T) {
	p := private(t)
	b := servers.PrivatePgBouncer(t, p, servers.Options{})
	s := openVia(t, b.URL(), p.URL())
	warm(t, s)
	m := metered(s.direct)
	must(t, b.Freeze())
	h := &hearer{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, "app", h.hear) }()
	eventually(t, 10*time.Second, "it tries again", func() bool { return m.dials.Load() >= 2 })
	must(t, b.Thaw())
	h.hears(t, tiers.Alive, "", 0)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v", err)
	}
}
