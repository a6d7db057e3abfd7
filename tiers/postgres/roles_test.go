package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

// The roles of roles.sql: each does its work and nothing else.

// newRole creates a role that may log in with the password secret-1.
func newRole(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	name := fmt.Sprintf("role_%016x", rand.Uint64())
	exec(t, c, `CREATE ROLE `+name+` LOGIN PASSWORD 'secret-1'`)
	dropLater(t, c, name)
	return name
}

func dropLater(t *testing.T, c *pgx.Conn, role string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, err := c.Exec(ctx, `DROP OWNED BY `+role+`; DROP ROLE `+role, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
}

// enlist makes role a member of groups of Roles, which are named after it here,
// because all tests share a server.
func enlist(t *testing.T, c *pgx.Conn, role string, groups ...string) {
	t.Helper()
	own := strings.ReplaceAll(Roles(), "fastopt_", role+"_")
	for range 2 { // the second time does nothing
		must(t, simple(t, c, own))
	}
	for _, group := range []string{"reader", "writer", "deleter", "relay"} {
		dropLater(t, c, role+"_"+group)
	}
	for _, group := range groups {
		exec(t, c, `GRANT `+role+`_`+group+` TO `+role)
	}
}

// simple runs several statements.
func simple(t *testing.T, c *pgx.Conn, sql string) error {
	t.Helper()
	_, err := c.PgConn().Exec(t.Context(), sql).ReadAll()
	return err
}

// member returns the URL of a new role in groups of Roles.
func member(t *testing.T, url string, groups ...string) string {
	t.Helper()
	c := psql(t, url)
	role := newRole(t, c)
	enlist(t, c, role, groups...)
	return as(t, url, role, "secret-1")
}

func TestRolesKeepTheContract(t *testing.T) {
	tiertest.TestSource(t, func(t *testing.T) tiers.Source {
		s := open(t, member(t, migrated(t)+patient, "writer", "deleter", "relay"))
		s.look /= 60
		return s
	})
}

func TestAReaderKeepsTheContract(t *testing.T) {
	tiertest.TestReadOnlySource(t, func(t *testing.T) (reader, writer tiers.Source) {
		url := migrated(t) + patient
		return open(t, member(t, url, "reader")), open(t, url)
	})
}

func TestAReadOnlyServerKeepsTheContract(t *testing.T) {
	tiertest.TestReadOnlySource(t, func(t *testing.T) (reader, writer tiers.Source) {
		url := migrated(t) + patient
		return open(t, url+"&default_transaction_read_only=on"), open(t, url)
	})
}

// What a role lacks is refused, and the grant is named.
func TestRolesDoNoMoreThanTheirWork(t *testing.T) {
	url := migrated(t)
	set(t, open(t, url), "a", "1")
	setting := tiers.Write{Name: "a", Data: []byte("2")}
	deleting := tiers.Write{Name: "a", Delete: true}
	other := tiers.Write{Name: "b", Data: []byte("2")}
	for _, tc := range []struct {
		role   string
		writes []tiers.Write
		says   string // "": it may
	}{
		{"reader", []tiers.Write{setting}, "GRANT INSERT, UPDATE ON fastopt.options"},
		{"reader", []tiers.Write{deleting}, "GRANT DELETE ON fastopt.options"},
		{"reader", []tiers.Write{deleting, other}, "GRANT INSERT, UPDATE, DELETE ON fastopt.options"},
		{"relay", []tiers.Write{setting}, "GRANT INSERT, UPDATE ON fastopt.options"},
		{"relay", []tiers.Write{deleting}, "GRANT DELETE ON fastopt.options"},
		{"writer", []tiers.Write{setting}, ""},
		{"writer", []tiers.Write{deleting}, "GRANT DELETE ON fastopt.options"},
		{"writer", []tiers.Write{deleting, other}, "GRANT DELETE ON fastopt.options"},
		{"deleter", []tiers.Write{other}, "GRANT INSERT, UPDATE ON fastopt.options"},
		{"deleter", []tiers.Write{deleting}, ""},
	} {
		s := open(t, member(t, url, tc.role))
		_, err := s.Write(t.Context(), "app", tc.writes)
		if tc.says == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.role, err)
			}
			continue
		}
		if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrReadOnly) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want ErrReadOnly that says %q", tc.role, err, tc.says)
		}
	}
	for role, may := range map[string]bool{"reader": false, "writer": false, "deleter": false, "relay": true} {
		s := open(t, member(t, url, role))
		if _, err := s.Compact(t.Context(), "app", 0); errors.Is(err, tiers.ErrReadOnly) == may || may && err != nil {
			t.Errorf("%s compacts: %v", role, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Elect(ctx, "app "+role, func(context.Context) { cancel() })
		if cancel(); errors.Is(err, tiers.ErrReadOnly) == may || may && !errors.Is(err, context.Canceled) {
			t.Errorf("%s stands: %v", role, err)
		}
	}
}

// What a relay's role is told to run it may.
func TestARelayMayStepTheEpochByHand(t *testing.T) {
	url := migrated(t)
	exec(t, psql(t, member(t, url, "relay")), `UPDATE fastopt.epoch SET epoch = epoch + 1`)
	if got := load(t, open(t, member(t, url, "reader")), "a").Stamp.Epoch; got != 2 {
		t.Errorf("the epoch is %d, want 2", got)
	}
}

// Nobody but the owner touches what the triggers keep, nor borrows their rights.
func TestRolesCannotForge(t *testing.T) {
	url := migrated(t)
	set(t, open(t, url), "a", "1")
	c := psql(t, member(t, url, "reader", "writer", "deleter", "relay"))
	exec(t, c, `CREATE TEMP TABLE forged (namespace text, name text)`)
	for _, f := range []string{"tomb", "born", "stamp", "notify", "lock_writers", "truncated"} {
		denied(t, c, `CREATE TRIGGER f AFTER DELETE ON forged FOR EACH ROW EXECUTE FUNCTION fastopt.`+f+`()`)
	}
	for _, sql := range []string{
		`SELECT fastopt.step('app')`,
		`UPDATE fastopt.namespaces SET revision = 1`,
		`DELETE FROM fastopt.tombstones`,
		`INSERT INTO fastopt.tombstones SELECT namespace, name, revision, now() FROM fastopt.options`,
		`TRUNCATE fastopt.options`,
		`DELETE FROM fastopt.epoch`,
		`UPDATE fastopt.epoch SET lineage = gen_random_uuid()`,
		`UPDATE fastopt.schema_version SET version = 1`,
		`ALTER TABLE fastopt.options DISABLE TRIGGER ALL`,
		`CREATE TABLE fastopt.mine (x int)`,
	} {
		denied(t, c, sql)
	}
}

func denied(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql); codeOf(err) != stateGrant {
		t.Errorf("%s: %v, want SQLSTATE 42501", sql, err)
	}
}
