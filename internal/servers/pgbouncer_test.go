//go:build unix

// A pooler takes sessions away and lives and dies apart from its server.

package servers

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// pooled connects through a pooler, without prepared statements.
func pooled(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	must(t, err)
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func backend(t *testing.T, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (pid int) {
	t.Helper()
	must(t, q.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	return pid
}

func TestTransactionsOfAClientRunOnDifferentBackends(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	b := PrivatePgBouncer(t, p, Options{})
	a := pooled(t, b.URL())
	first := backend(t, a)
	other, err := pooled(t, b.URL()).Begin(t.Context())
	must(t, err)
	if got := backend(t, other); got != first { // the only one, and free
		t.Errorf("another client runs on backend %d, want %d", got, first)
	}
	if got := backend(t, a); got == first { // taken
		t.Errorf("a client keeps backend %d while another one uses it", got)
	}
	must(t, other.Rollback(t.Context()))
}

func TestRolesOfTheServerPassThePooler(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	b := PrivatePgBouncer(t, p, Options{})
	execute(t, p.URL(), "CREATE ROLE reader LOGIN PASSWORD 'x'")
	other, err := p.NewDatabase(t.Context())
	must(t, err)
	url := strings.Replace(strings.Replace(other, p.Addr(), b.Addr(), 1), superuser+"@", "reader@", 1)
	var user, name string
	must(t, pooled(t, url).QueryRow(t.Context(), "SELECT current_user, current_database()").Scan(&user, &name))
	if user != "reader" || !strings.Contains(other, name) {
		t.Errorf("got %s in %s, want reader in %s", user, name, other)
	}
	if _, err := pgx.Connect(t.Context(), strings.Replace(url, "reader@", "nobody@", 1)); err == nil {
		t.Error("a role that does not exist was let in")
	}
}

func TestPoolerLivesApartFromItsServer(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	b := PrivatePgBouncer(t, p, Options{Settings: []string{"server_login_retry=0.1"}})
	backend(t, pooled(t, b.URL()))
	must(t, b.Kill())
	if _, err := pgx.Connect(t.Context(), b.URL()); err == nil {
		t.Error("a killed pooler answers")
	}
	must(t, b.Restart(t.Context()))
	conn := pooled(t, b.URL())
	backend(t, conn)
	must(t, p.Restart(t.Context()))
	if _, err := net.Dial("tcp", b.Addr()); err != nil {
		t.Errorf("the pooler went with its server: %v", err)
	}
	if !eventually(patience, func() bool {
		conn, err := pgx.Connect(t.Context(), b.URL())
		return err == nil && conn.Close(t.Context()) == nil
	}) {
		t.Error("the pooler does not find its server again")
	}
	must(t, b.Freeze())
	pids := family(t, b.handle)
	must(t, b.Stop())
	wantGone(t, pids, b.srv.dir)
}

func TestPoolerSettings(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	url := "?statement_timeout=1000&"
	refused := PrivatePgBouncer(t, p, Options{})
	if _, err := pgx.Connect(t.Context(), strings.Replace(refused.URL(), "?", url, 1)); err == nil {
		t.Error("a session setting at the start was let through")
	}
	ignored := PrivatePgBouncer(t, p, Options{Settings: []string{"ignore_startup_parameters=statement_timeout", "pool_mode=session"}})
	a, b := pooled(t, strings.Replace(ignored.URL(), "?", url, 1)), pooled(t, ignored.URL())
	if first := backend(t, a); backend(t, b) == first || backend(t, a) != first {
		t.Error("clients share a backend in session mode")
	}
	if _, err := StartPgBouncer(t.Context(), p, Options{Settings: []string{"nonsense"}}); err == nil || !strings.Contains(err.Error(), "name=value") {
		t.Errorf("got %v; want an error that shows the form", err)
	}
	external, err := externalPostgres("postgres://127.0.0.1:1/fastopt")
	must(t, err)
	if _, err := StartPgBouncer(t.Context(), external, Options{}); !errors.Is(err, ErrExternal) {
		t.Errorf("got %v, want ErrExternal", err)
	}
}

func TestPoolerOnATakenPortTriesAnother(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	calls := 0
	PrivatePgBouncer(t, PrivatePostgres(t, Options{}), Options{pick: func() (int, error) {
		if calls++; calls == 1 {
			return taken.Addr().(*net.TCPAddr).Port, nil
		}
		return freePort()
	}})
	if calls != 2 {
		t.Errorf("%d ports were tried, want 2", calls)
	}
}

func TestMissingPoolerSaysWhatToInstall(t *testing.T) {
	p := PrivatePostgres(t, Options{})
	t.Setenv("PATH", t.TempDir())
	places := pgBouncerPlaces
	pgBouncerPlaces = nil
	defer func() { pgBouncerPlaces = places }()
	if _, err := StartPgBouncer(t.Context(), p, Options{}); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "install pgbouncer") {
		t.Errorf("got %v, want ErrMissing and what to install", err)
	}
}
