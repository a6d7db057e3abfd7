package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

func TestOpenChecksTheURLWithoutRepeatingIt(t *testing.T) {
	for _, url := range []string{
		"",
		"postgres://app:canary-word@host:port/db",
		"postgres://app:canary-word@[::1/db",
		"postgres://app:canary word@host/db?sslmode=maybe",
		"mysql://app:canary-word@host/db",
		"host=a password=canary-word sslmode",
	} {
		_, err := Open(Config{URL: url})
		if !errors.Is(err, tiers.ErrSetup) || strings.Contains(fmt.Sprintf("%+v", err), "canary") {
			t.Errorf("open %q: %v", url, err)
		}
		if err := Migrate(t.Context(), url); !errors.Is(err, tiers.ErrSetup) || strings.Contains(fmt.Sprintf("%+v", err), "canary") {
			t.Errorf("migrate %q: %v", url, err)
		}
	}
}

// What waiting does not help says what does; what it does help is unavailable.
func TestSetupErrorsSayWhatToDo(t *testing.T) {
	p := private(t, "max_connections=8")
	c := psql(t, p.URL())
	requirePassword(t, c)
	empty, err := p.NewDatabase(t.Context())
	must(t, err)
	bare, err := p.NewDatabase(t.Context())
	must(t, err)
	must(t, Migrate(t.Context(), bare))
	exec(t, psql(t, bare), `DELETE FROM fastopt.epoch`)
	role := newRole(t, c)
	right, wrong := as(t, p.URL(), role, "secret-1"), as(t, p.URL(), role, "canary-word")
	for what, tc := range map[string]struct{ url, says string }{
		"wrong password": {wrong, "wrong password (SQLSTATE 28P01)"},
		"no database":    {strings.Replace(p.URL(), "/fastopt?", "/nowhere?", 1), "the database does not exist (SQLSTATE 3D000)"},
		"no schema":      {empty, "run postgres.Migrate"},
		"no grant":       {right, "a grant is missing"},
		"no epoch":       {bare, "fastopt.epoch is empty"},
		"a pool's word":  {p.URL() + "&pool_max_conns=7", "pool_max_conns? (SQLSTATE 42704)"},
		"no TLS":         {strings.Replace(p.URL(), "sslmode=disable", "sslmode=require", 1), "server refused TLS"},
	} {
		s := open(t, tc.url)
		_, identityErr := s.Identity(t.Context())
		_, changesErr := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1})
		_, writeErr := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("1")}})
		watchErr := s.Watch(t.Context(), "app", func(e tiers.Event) { t.Errorf("%s: event %+v", what, e) })
		for _, err := range []error{identityErr, changesErr, writeErr, watchErr, s.Load(t.Context(), "app", []string{"a"})[0].Err} {
			if !errors.Is(err, tiers.ErrSetup) || errors.Is(err, tiers.ErrUnavailable) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v, want ErrSetup", what, err)
			} else if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s: %v, want it to say %q", what, err, tc.says)
			}
		}
		if tiers.OutcomeOf(writeErr) != tiers.NotApplied {
			t.Errorf("%s: %v, want not applied", what, writeErr)
		}
		s.Close()
	}
	exec(t, c, `GRANT USAGE ON SCHEMA fastopt TO `+role)
	exec(t, c, `ALTER ROLE `+role+` CONNECTION LIMIT 0`)
	crowded := open(t, right)
	if err := crowded.Load(t.Context(), "app", []string{"a"})[0].Err; !errors.Is(err, tiers.ErrUnavailable) || !strings.Contains(err.Error(), "53300") {
		t.Errorf("too many connections: %v, want ErrUnavailable", err)
	}
}

// requirePassword makes the server ask every other role for one.
func requirePassword(t *testing.T, c *pgx.Conn) {
	t.Helper()
	var data string
	must(t, c.QueryRow(t.Context(), `SHOW data_directory`).Scan(&data))
	exec(t, c, `COPY (SELECT unnest(ARRAY['host all fastopt all trust', 'host all all all scram-sha-256'])) TO '`+data+`/pg_hba.conf'`)
	exec(t, c, `SELECT pg_reload_conf()`)
	eventually(t, 5*time.Second, "a password is asked for", func() bool {
		_, err := pgx.Connect(t.Context(), as(t, strings.Replace(c.Config().ConnString(), "fastopt@", "", 1), "somebody", "x"))
		return strings.Contains(fmt.Sprint(err), "28P01")
	})
}

func TestMigrateWithoutTheRight(t *testing.T) {
	url := servers.Database(t)
	c := psql(t, url)
	role := newRole(t, c)
	err := Migrate(t.Context(), as(t, url, role, "secret-1"))
	if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "42501") {
		t.Errorf("migrate without the right to: %v", err)
	}
	exec(t, c, `CREATE SCHEMA fastopt AUTHORIZATION `+role)
	must(t, Migrate(t.Context(), as(t, url, role, "secret-1")))
	if got := load(t, open(t, as(t, url, role, "secret-1")), "a"); got.Kind != tiers.Absent {
		t.Errorf("read %+v", got)
	}
}

// On a hardened server not everybody may ask who it is; a view asks with the
// rights of who reads it.
func TestTheRightToAskWhoAnswersIsNamed(t *testing.T) {
	p := private(t)
	empty, err := p.NewDatabase(t.Context())
	must(t, err)
	c := psql(t, p.URL())
	role := newRole(t, c)
	enlist(t, c, role, "reader", "writer")
	exec(t, psql(t, empty), `CREATE SCHEMA fastopt AUTHORIZATION `+role)
	for _, f := range []string{"pg_control_system()", "pg_current_wal_lsn()", "pg_walfile_name(pg_lsn)"} {
		for _, url := range []string{empty, p.URL()} {
			exec(t, psql(t, url), `REVOKE EXECUTE ON FUNCTION `+f+` FROM PUBLIC`)
		}
		grant := "GRANT EXECUTE ON FUNCTION pg_catalog." + f
		s := open(t, as(t, p.URL(), role, "secret-1"))
		says(t, "load", s.Load(t.Context(), "app", []string{"a"})[0].Err, grant)
		_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("1")}})
		says(t, "write", err, grant)
		says(t, "migrate", Migrate(t.Context(), as(t, empty, role, "secret-1")), grant)
		for _, url := range []string{empty, p.URL()} {
			exec(t, psql(t, url), grant+` TO PUBLIC`)
		}
		load(t, s, "a")
	}
	exec(t, psql(t, empty), `DROP SCHEMA fastopt`)
	exec(t, c, `REVOKE SELECT ON fastopt.actual FROM `+role+`_reader, `+role+`_writer, `+role+`_relay`)
	load(t, open(t, as(t, p.URL(), role, "secret-1")), "a") // it steps no epoch
	exec(t, c, `GRANT `+role+`_relay TO `+role)
	says(t, "load", open(t, as(t, p.URL(), role, "secret-1")).Load(t.Context(), "app", []string{"a"})[0].Err, "GRANT SELECT ON fastopt.actual")
}

// Whatever the encoding of the database is, text travels in UTF-8.
func TestEncodings(t *testing.T) {
	p := private(t)
	c := psql(t, p.URL())
	exec(t, c, `CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	url := strings.Replace(p.URL(), "/fastopt?", "/latin?", 1)
	must(t, Migrate(t.Context(), url))
	s := open(t, url)
	exec(t, psql(t, url+"&client_encoding=UTF8"), `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'é', '"ü"')`)
	if got := load(t, s, "é"); string(got.Data) != `"ü"` {
		t.Errorf("loaded %q", got.Data)
	}
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte(`"漢"`)}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !strings.Contains(err.Error(), "UTF8") || strings.Contains(err.Error(), "漢") {
		t.Errorf("a character that the database cannot store: %v", err)
	}
}

func TestRefusedOnlyWhatSurelyIs(t *testing.T) {
	server := func(severity, code string) *pgconn.PgError {
		return &pgconn.PgError{SeverityUnlocalized: severity, Code: code, Routine: "ProcessInterrupts"}
	}
	pooler := server("FATAL", "57P01")
	pooler.Routine = ""
	for _, tc := range []struct {
		what     string
		err      error
		answered int // of 3
		want     bool
	}{
		{"statement timeout", server("ERROR", "57014"), 1, true},
		{"lock timeout", server("ERROR", "55P03"), 0, true},
		{"deadlock", server("ERROR", "40P01"), 1, true},
		{"serialization failure at the commit", server("ERROR", "40001"), 3, true},
		{"read-only", server("ERROR", "25006"), 0, true},
		{"constraint", fmt.Errorf("wrapped: %w", server("ERROR", "23514")), 1, true},
		{"shutdown before the commit", server("FATAL", "57P01"), 2, true},
		{"shutdown instead of the commit's answer", server("FATAL", "57P01"), 3, false},
		{"panic instead of the commit's answer", server("PANIC", "XX000"), 3, false},
		{"a pooler's shutdown", pooler, 0, false},
		{"a pooler's lost server", server("FATAL", "08P01"), 0, false},
		{"cut", io.ErrUnexpectedEOF, 0, false},
		{"timeout", context.DeadlineExceeded, 3, false},
	} {
		if got := refused(tc.err, tc.answered, 3); got != tc.want {
			t.Errorf("%s: refused is %v, want %v", tc.what, got, tc.want)
		}
	}
}

func TestErrorsOfTheServerAreNotRepeated(t *testing.T) {
	pe := &pgconn.PgError{Severity: "ERROR", Code: "XX000", Message: "canary", Detail: "canary", Where: "canary", Hint: "canary"}
	for code, class := range map[string]error{
		"XX000": tiers.ErrUnavailable, "28000": tiers.ErrSetup, "28P01": tiers.ErrSetup, "3D000": tiers.ErrSetup,
		"3F000": tiers.ErrSetup, "42P01": tiers.ErrSetup, "42501": tiers.ErrSetup, "53300": tiers.ErrUnavailable,
		"57P03": tiers.ErrUnavailable, "57014": tiers.ErrUnavailable, "ZF002": tiers.ErrConflict,
	} {
		pe.Code = code
		err := fault("load", fmt.Errorf("x: %w", pe))
		if !errors.Is(err, class) || strings.Contains(fmt.Sprintf("%+v", err), "canary") || !strings.Contains(err.Error(), code) {
			t.Errorf("%s: %+v, want %v", code, err, class)
		}
	}
}
