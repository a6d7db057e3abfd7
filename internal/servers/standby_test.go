//go:build unix

// Failovers and moves of a database: who has which commits, and who is who.

package servers

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// who is what tells one database from another.
type who struct {
	system   string
	timeline string
	database uint32
}

func identityOf(t *testing.T, p *PostgresServer) (w who) {
	t.Helper()
	err := connect(t, p.URL()).QueryRow(t.Context(), `SELECT system_identifier::text,
		substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), (SELECT oid FROM pg_database WHERE datname = current_database())
		FROM pg_control_system()`).Scan(&w.system, &w.timeline, &w.database)
	must(t, err)
	return w
}

// postgresWith returns a server with a table that holds n.
func postgresWith(t *testing.T, n int) *PostgresServer {
	t.Helper()
	p := PrivatePostgres(t, Options{})
	execute(t, p.URL(), "CREATE TABLE kept (n int)")
	keep(t, p, n)
	return p
}

func keep(t *testing.T, p *PostgresServer, n int) {
	t.Helper()
	_, err := connect(t, p.URL()).Exec(t.Context(), "INSERT INTO kept VALUES ($1)", n)
	must(t, err)
}

// wantKept compares the numbers in the table, written together as digits.
func wantKept(t *testing.T, p *PostgresServer, want int) {
	t.Helper()
	if got := number(t, p.URL(), "SELECT string_agg(n::text, '' ORDER BY n)::int FROM kept"); got != want {
		t.Errorf("%s has %d, want %d", p.Addr(), got, want)
	}
}

func started(t *testing.T, p *PostgresServer, err error) *PostgresServer {
	t.Helper()
	must(t, err)
	StopLater(t, p)
	return p
}

func TestPromotedStandbyLacksWhatWasWithheld(t *testing.T) {
	primary := postgresWith(t, 1)
	standby := PrivateStandby(t, primary)
	if number(t, standby.URL(), "SELECT pg_is_in_recovery()::int") != 1 {
		t.Fatal("the standby is none")
	}
	keep(t, primary, 2)
	must(t, standby.AwaitReplay(t.Context(), primary))
	receiver := number(t, standby.URL(), "SELECT pid FROM pg_stat_wal_receiver")
	must(t, syscall.Kill(receiver, syscall.SIGSTOP)) // it cannot end yet
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	if err := standby.WithholdWAL(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want to wait for the end of streaming", err)
	}
	must(t, syscall.Kill(receiver, syscall.SIGCONT))
	must(t, standby.WithholdWAL(t.Context()))
	keep(t, primary, 3)
	ctx, cancel = context.WithTimeout(t.Context(), impatience)
	defer cancel()
	if err := standby.AwaitReplay(ctx, primary); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want to wait for a commit that does not come", err)
	}
	must(t, standby.Restart(t.Context())) // the cut outlasts it
	must(t, standby.Promote(t.Context()))
	wantKept(t, standby, 12)
	keep(t, standby, 4)
	keep(t, primary, 5) // a zombie does not know
	wantKept(t, standby, 124)
	wantKept(t, primary, 1235)

	before, after := identityOf(t, primary), identityOf(t, standby)
	if before.timeline != "00000001" || after.timeline != "00000002" || before.system != after.system || before.database != after.database {
		t.Errorf("the primary was %v, is %v; want the same on the next timeline", before, after)
	}
}

func TestPromotionTwiceInSequence(t *testing.T) {
	first := postgresWith(t, 1)
	second := PrivateStandby(t, first)
	third := PrivateStandby(t, second) // of a standby
	keep(t, first, 2)
	must(t, third.AwaitReplay(t.Context(), first))
	must(t, first.Kill())
	must(t, second.Promote(t.Context()))
	keep(t, second, 3)
	must(t, third.AwaitReplay(t.Context(), second)) // across the change of timelines
	must(t, third.WithholdWAL(t.Context()))
	keep(t, second, 4)
	must(t, third.Follow(t.Context(), second))
	must(t, third.AwaitReplay(t.Context(), second))
	must(t, third.Promote(t.Context()))
	wantKept(t, third, 1234)
	if got := identityOf(t, third).timeline; got != "00000003" {
		t.Errorf("timeline %s after two promotions, want 3", got)
	}
	fourth := PrivateStandby(t, third)
	must(t, fourth.Promote(t.Context()))
	if got := identityOf(t, fourth).timeline; got != "00000004" {
		t.Errorf("timeline %s after three promotions, want 4", got)
	}
}

func TestFreshPostgresIsAnotherSystem(t *testing.T) {
	a, b := PrivatePostgres(t, Options{}), PrivatePostgres(t, Options{})
	fresh := PrivatePostgres(t, Options{Fresh: true})
	if identityOf(t, a) != identityOf(t, b) {
		t.Error("two servers from one template differ")
	}
	if identityOf(t, fresh).system == identityOf(t, a).system {
		t.Error("a fresh server has the system identifier of others")
	}
}

func TestDumpCopiesDataAndRoles(t *testing.T) {
	from := postgresWith(t, 1)
	execute(t, from.URL(), "CREATE ROLE reader")
	execute(t, from.URL(), "GRANT SELECT ON kept TO reader")
	to := PrivatePostgres(t, Options{Fresh: true})
	must(t, from.DumpInto(t.Context(), to))
	wantKept(t, to, 1)
	if number(t, to.URL(), "SELECT has_table_privilege('reader', 'kept', 'SELECT')::int") != 1 {
		t.Error("the grant was not copied")
	}
	if err := from.DumpInto(t.Context(), to); err == nil {
		t.Error("a dump into a database that has the table succeeded")
	}
}

func TestUpgradeMovesDataToAnotherSystem(t *testing.T) {
	old := postgresWith(t, 1)
	was := identityOf(t, old)
	must(t, old.Kill()) // pg_upgrade recovers what has crashed
	upgraded, err := old.Upgrade(t.Context(), Options{})
	started(t, upgraded, err)
	if old.PID() != 0 {
		t.Error("the old server runs")
	}
	wantKept(t, upgraded, 1)
	keep(t, upgraded, 2)
	is := identityOf(t, upgraded)
	if is.system == was.system || is.timeline != "00000001" {
		t.Errorf("was %v, is %v; want another system, timeline 1", was, is)
	}
	must(t, old.Restart(t.Context()))
	keep(t, old, 3)
	wantKept(t, old, 13)
	wantKept(t, upgraded, 12)
}

func TestRestoreGoesBackToAPoint(t *testing.T) {
	p := postgresWith(t, 1)
	backup, err := p.Backup(t.Context())
	must(t, err)
	keep(t, p, 2)
	point, err := p.RestorePoint(t.Context())
	must(t, err)
	keep(t, p, 3)
	last, err := p.RestorePoint(t.Context())
	must(t, err)
	must(t, p.Kill()) // what was marked is written
	whole, err := backup.Restore(t.Context(), last, Options{})
	started(t, whole, err)
	wantKept(t, whole, 123)
	restored, err := backup.Restore(t.Context(), point, Options{})
	started(t, restored, err)
	wantKept(t, restored, 12)
	keep(t, restored, 4)
	must(t, restored.Restart(t.Context())) // and no recovery again
	wantKept(t, restored, 124)

	must(t, p.Restart(t.Context()))
	was, is := identityOf(t, p), identityOf(t, restored)
	if is.system != was.system || is.timeline != "00000002" {
		t.Errorf("was %v, is %v; want the same system on timeline 2", was, is)
	}
	if _, err := backup.Restore(t.Context(), "no_such_point", Options{}); err == nil || !strings.Contains(err.Error(), "target was reached") {
		t.Errorf("got %v; want what the server says of a point that does not exist", err)
	}
}

func TestFailoversNeedAServerOfOnesOwn(t *testing.T) {
	p, err := externalPostgres("postgres://127.0.0.1:1/fastopt")
	must(t, err)
	_, standby := p.StartStandby(t.Context(), Options{})
	_, backup := p.Backup(t.Context())
	_, upgrade := p.Upgrade(t.Context(), Options{})
	for name, err := range map[string]error{
		"StartStandby": standby, "Backup": backup, "Upgrade": upgrade, "WithholdWAL": p.WithholdWAL(t.Context()),
		"Follow": p.Follow(t.Context(), p), "Promote": p.Promote(t.Context()),
	} {
		if !errors.Is(err, ErrExternal) {
			t.Errorf("%s: got %v, want ErrExternal", name, err)
		}
	}
}
