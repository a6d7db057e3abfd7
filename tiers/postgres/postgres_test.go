package postgres

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

// What the tests share: a database of their own for each, and plain words for
// what they do with it.

// TestMain fails the run if goroutines of this package outlive the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftovers(5 * time.Second); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftovers waits until no goroutine runs code of this package or of pgx, and
// returns the stacks of those that still do after d.
func leftovers(d time.Duration) string {
	for end := time.Now().Add(d); ; {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		var left []string
		for i, g := range strings.Split(string(buf), "\n\n") {
			if i > 0 && (strings.Contains(g, "tiers/postgres.") || strings.Contains(g, "jackc/pgx")) &&
				!strings.Contains(g, "testing.(*T).Run") && !strings.Contains(g, "testing.tRunner") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return ""
		}
		if time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// migrated returns the URL of a new database with the schema.
func migrated(t *testing.T) string {
	t.Helper()
	url := servers.Database(t)
	must(t, Migrate(t.Context(), url))
	return url
}

func open(t *testing.T, url string) *Source {
	t.Helper()
	s, err := Open(Config{URL: url})
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// psql returns a connection for plain SQL, as an operator has it.
func psql(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func exec(t *testing.T, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load returns the record of one name, which must be answered.
func load(t *testing.T, s *Source, name string) tiers.Record {
	t.Helper()
	r := s.Load(t.Context(), "app", []string{name})[0]
	if r.Err != nil {
		t.Fatalf("load %q: %v", name, r.Err)
	}
	return r.Record
}

// set writes one value, which must succeed, and returns its revision.
func set(t *testing.T, s *Source, name, value string) uint64 {
	t.Helper()
	stamp, err := s.Write(t.Context(), "app", []tiers.Write{{Name: name, Data: []byte(value)}})
	must(t, err)
	return stamp.Revision
}

// eventually polls until ok, for at most d.
func eventually(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// as returns databaseURL with another role and password.
func as(t *testing.T, databaseURL, role, password string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	must(t, err)
	u.User = url.UserPassword(role, password)
	return u.String()
}

// The limits of a statement are no part of the contract, and a busy machine
// would meet them.
func TestSourceKeepsTheContract(t *testing.T) {
	tiertest.TestSource(t, func(t *testing.T) tiers.Source {
		s := open(t, migrated(t)+patient)
		s.look /= 60
		return s
	})
}
