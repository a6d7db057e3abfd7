package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

func TestPlainSQLObeysTheStamps(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	cases := []struct {
		what string
		sql  string
		head uint64 // afterwards
		want string // kind, revision and value of a and b; "-" for no row
	}{
		{"insert without a revision", `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', '1.50')`, 1, "1:1.50 -"},
		{"a revision given is not believed", `INSERT INTO fastopt.options (namespace, name, value, revision) VALUES ('app', 'b', '{"x" : 1}', 99)`, 2, `1:1.50 2:{"x" : 1}`},
		{"update", `UPDATE fastopt.options SET value = '2' WHERE namespace = 'app' AND name = 'a'`, 3, `3:2 2:{"x" : 1}`},
		{"update without a match", `UPDATE fastopt.options SET value = '3' WHERE namespace = 'app' AND name = 'c'`, 3, `3:2 2:{"x" : 1}`},
		{"update of all rows has one revision", `UPDATE fastopt.options SET value = '4'`, 4, "4:4 4:4"},
		{"upsert", `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', '5') ON CONFLICT (namespace, name) DO UPDATE SET value = EXCLUDED.value`, 5, "5:5 4:4"},
		{"several statements in a transaction have one revision", `BEGIN; UPDATE fastopt.options SET value = '6' WHERE name = 'a'; UPDATE fastopt.options SET value = '6' WHERE name = 'b'; COMMIT`, 6, "6:6 6:6"},
		{"a rollback leaves no gap", `BEGIN; UPDATE fastopt.options SET value = '7'; ROLLBACK; UPDATE fastopt.options SET value = '8' WHERE name = 'a'`, 7, "7:8 6:6"},
		{"a savepoint's rollback leaves no gap", `BEGIN; SAVEPOINT p; UPDATE fastopt.options SET value = '9'; ROLLBACK TO p; UPDATE fastopt.options SET value = '10' WHERE name = 'b'; COMMIT`, 8, "7:8 8:10"},
		{"delete", `DELETE FROM fastopt.options WHERE name = 'a'`, 9, "- 8:10"},
		{"delete and insert in one transaction", `BEGIN; DELETE FROM fastopt.options WHERE name = 'b'; INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'b', '11'); COMMIT`, 10, "- 10:11"},
		{"insert after delete counts on", `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', 'null')`, 11, "11:null 10:11"},
		{"another namespace counts for itself", `INSERT INTO fastopt.options (namespace, name, value) VALUES ('other app', 'a', '1')`, 11, "11:null 10:11"},
		{"truncate", `TRUNCATE fastopt.options`, 12, "- -"},
	}
	for _, tc := range cases {
		if _, err := c.PgConn().Exec(t.Context(), tc.sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", tc.what, err)
		}
		if got := describeRows(s, t); got != tc.want {
			t.Errorf("%s: rows are %s, want %s", tc.what, got, tc.want)
		}
		if head := load(t, s, "no such row").Stamp.Revision; head != tc.head {
			t.Errorf("%s: head is %d, want %d", tc.what, head, tc.head)
		}
	}
	if ch, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1, Revision: 11}); err != nil || !ch.Reset {
		t.Errorf("changes over a TRUNCATE: %+v, %v; want a reset", ch, err)
	}
}

func describeRows(s *Source, t *testing.T) string {
	var words []string
	for _, name := range []string{"a", "b"} {
		r := load(t, s, name)
		if r.Kind == tiers.Absent {
			words = append(words, "-")
			continue
		}
		words = append(words, fmt.Sprintf("%d:%s", r.Stamp.Revision, r.Data))
	}
	return strings.Join(words, " ")
}

func TestPlainSQLIsChecked(t *testing.T) {
	c := psql(t, migrated(t))
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', '1')`)
	for sql, state := range map[string]string{
		`UPDATE fastopt.options SET name = 'b'`:                                                               "23514",
		`UPDATE fastopt.options SET namespace = 'b'`:                                                          "23514",
		`UPDATE fastopt.options SET value = NULL`:                                                             "23502",
		`UPDATE fastopt.options SET value = 'yes'`:                                                            "22P02",
		`INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', '', '1')`:                        "23514",
		`INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', repeat('x', 401), '1')`:          "23514",
		`INSERT INTO fastopt.options (namespace, name, value) VALUES (repeat('ü', 201), 'a', '1')`:            "23514",
		`INSERT INTO fastopt.options (namespace, name, value) SELECT 'x', 'a', '1' FROM generate_series(1,2)`: "23505",
	} {
		if _, err := c.Exec(t.Context(), sql); !strings.Contains(fmt.Sprint(err), "SQLSTATE "+state) {
			t.Errorf("%s: %v, want SQLSTATE %s", sql, err, state)
		}
	}
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES (repeat('n', 400), repeat('x', 400), '1')`)
}

func TestRowsAreSigned(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	signature := func() string {
		var by, reason string
		must(t, c.QueryRow(t.Context(), `SELECT coalesce(updated_by, '-'), coalesce(reason, '-') FROM fastopt.options`).Scan(&by, &reason))
		return by + ": " + reason
	}
	var role string
	must(t, c.QueryRow(t.Context(), `SELECT session_user`).Scan(&role))
	w := []tiers.Write{{Name: "a", Data: []byte("1"), Actor: "alice", Reason: "a test"}}
	for range 2 { // the second time nothing but the revision changes
		if _, err := s.Write(t.Context(), "app", w); err != nil {
			t.Fatal(err)
		}
		if got := signature(); got != "alice: a test" {
			t.Errorf("signed %q by the library", got)
		}
	}
	exec(t, c, `UPDATE fastopt.options SET value = '2'`)
	if got := signature(); got != role+": -" {
		t.Errorf("signed %q by plain SQL, want its role", got)
	}
	exec(t, c, `UPDATE fastopt.options SET value = '3', updated_by = 'bob', reason = 'why'`)
	if got := signature(); got != "bob: why" {
		t.Errorf("signed %q, want what the statement says", got)
	}
	set(t, s, "a", "4")
	if got := signature(); got != "-: -" {
		t.Errorf("signed %q by the library without an actor", got)
	}
}

func TestDeletesAreSigned(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	var role string
	must(t, c.QueryRow(t.Context(), `SELECT session_user`).Scan(&role))
	for _, name := range []string{"a", "b", "c", "d"} {
		set(t, s, name, "1")
	}
	_, err := s.Write(t.Context(), "app", []tiers.Write{
		{Name: "a", Delete: true, Actor: "alice", Reason: "a test"},
		{Name: "b", Delete: true, Actor: "bob"},
		{Name: "c", Delete: true, Actor: "alice", Reason: "a test"},
	})
	must(t, err)
	exec(t, c, `DELETE FROM fastopt.options WHERE name = 'd'`)
	var got string
	must(t, c.QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', name, coalesce(deleted_by, '-'), coalesce(reason, '-'), revision), ', ' ORDER BY name) FROM fastopt.tombstones`).Scan(&got))
	if want := "a alice a test 5, b bob - 5, c alice a test 5, d " + role + " - 6"; got != want {
		t.Errorf("signed %q, want %q", got, want)
	}
}

// patient lets the server find a deadlock (after 1 s) before the wait ends.
const patient = "&lock_timeout=20000&statement_timeout=30000"

// Plain UPDATE locks the row first, an upsert the namespace: without the writer
// lock ahead of both they deadlock within milliseconds. And a poller by
// "revision > n" must see every change, whatever commits in between.
func TestMixedWritersNeitherDeadlockNorHideFromAPoller(t *testing.T) {
	const writers, rounds, names = 8, 60, 10
	url := migrated(t) + patient
	s, slow := open(t, url), open(t, url)
	ctx, stop := context.WithCancel(t.Context())
	seen := make(map[string]uint64) // newest revision polled, by name
	polled := make(chan error, 1)
	go func() { polled <- poll(ctx, slow, seen) }()

	var wg sync.WaitGroup
	failures := make(chan error, writers)
	for i := range writers {
		var c *pgx.Conn
		if i%2 == 0 {
			c = psql(t, url)
		}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range rounds {
				name := fmt.Sprintf("option.%d", r.IntN(names))
				if err := change(t.Context(), s, c, r.IntN(3), name); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	truth := make(map[string]uint64)
	for r, err := range s.Scan(t.Context(), "app") {
		must(t, err)
		truth[r.Name] = r.Stamp.Revision
	}
	stop() // poll does a last round
	must(t, <-polled)
	for name, revision := range truth {
		if seen[name] != revision {
			t.Errorf("the poller saw revision %d of %s, want %d", seen[name], name, revision)
		}
	}
}

// TRUNCATE locks the table before its trigger runs; the library has to take the
// locks in that order, too.
func TestTruncateAndWritesDoNotDeadlock(t *testing.T) {
	url := migrated(t) + patient
	s, c := open(t, url), psql(t, url)
	written := make(chan error, 4)
	for i := range cap(written) {
		go func() {
			var err error
			for range 50 {
				if err == nil {
					_, err = s.Write(t.Context(), "app", []tiers.Write{{Name: fmt.Sprint("a", i), Data: []byte("1")}})
				}
			}
			written <- err
		}()
	}
	for range 50 {
		exec(t, c, `TRUNCATE fastopt.options`)
	}
	for range cap(written) {
		must(t, <-written)
	}
}

// change writes name in one of several ways, by the library or by plain SQL.
func change(ctx context.Context, s *Source, c *pgx.Conn, how int, name string) error {
	if c == nil {
		w := tiers.Write{Name: name, Data: []byte("1"), Delete: how == 0}
		_, err := s.Write(ctx, "app", []tiers.Write{w, {Name: name + ".twin", Data: []byte("2")}})
		return err
	}
	sql := []string{
		`DELETE FROM fastopt.options WHERE namespace = 'app' AND name = $1`,
		`UPDATE fastopt.options SET value = '3' WHERE namespace = 'app' AND (name = $1 OR name < 'option.3')`,
		`INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', $1, '4')
		     ON CONFLICT (namespace, name) DO UPDATE SET value = '4'`,
	}[how]
	_, err := c.Exec(ctx, sql, name)
	return err
}

// poll follows the namespace until ctx has ended and nothing is left.
func poll(ctx context.Context, s *Source, seen map[string]uint64) error {
	since := tiers.Stamp{Epoch: 1}
	for {
		ended := ctx.Err() != nil
		ch, err := s.Changes(context.WithoutCancel(ctx), "app", since)
		if err != nil {
			return err
		}
		for _, r := range ch.Records {
			if r.Stamp.Revision <= seen[r.Name] {
				return fmt.Errorf("%s went from revision %d to %d", r.Name, seen[r.Name], r.Stamp.Revision)
			}
			seen[r.Name] = r.Stamp.Revision
		}
		since = ch.Head
		if ended && !ch.More {
			return nil
		}
	}
}

// A page ends between revisions, also where one revision is larger than a page.
func TestAPageOfChangesNeverCutsARevision(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'big.'||i, '1' FROM generate_series(1, 1500) i`)
	for range 3 {
		exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'x.'||gen_random_uuid(), '1' FROM generate_series(1, 400)`)
	}
	exec(t, c, `DELETE FROM fastopt.options WHERE name = 'big.7'`)
	var sizes []int
	for since := (tiers.Stamp{Epoch: 1}); ; {
		ch, err := s.Changes(t.Context(), "app", since)
		must(t, err)
		sizes = append(sizes, len(ch.Records))
		since = ch.Head
		if !ch.More {
			break
		}
	}
	if fmt.Sprint(sizes) != "[1499 1200 1]" || load(t, s, "big.7").Stamp.Revision != 5 {
		t.Errorf("pages hold %v records, want 1499, 1200 and the tombstone", sizes)
	}
	n := 0
	for _, err := range s.Scan(t.Context(), "app") {
		must(t, err)
		n++
	}
	if n != 2700 {
		t.Errorf("scan yields %d records, want 2700", n)
	}
}

// A value that is too large for the contract stays on the server and is told.
func TestLargeValuesAreWithheld(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value)
	     SELECT 'app', n, ('"'||repeat('x', l - 2)||'"')::json FROM (VALUES ('fits', $1::int), ('large', $1 + 1)) v (n, l)`, tiers.MaxData)
	check := func(how string, r tiers.Record) {
		t.Helper()
		whole := r.Name == "fits" && len(r.Data) == tiers.MaxData && r.Oversize == 0
		told := r.Name == "large" && r.Data == nil && r.Oversize == tiers.MaxData+1
		if r.Kind != tiers.Value || !whole && !told {
			t.Errorf("%s: %s is of kind %v, has %d bytes, oversize %d", how, r.Name, r.Kind, len(r.Data), r.Oversize)
		}
	}
	check("load", load(t, s, "fits"))
	check("load", load(t, s, "large"))
	ch, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1})
	must(t, err)
	for _, r := range ch.Records {
		check("changes", r)
	}
	for r, err := range s.Scan(t.Context(), "app") {
		must(t, err)
		check("scan", r)
	}
}

func TestMigrateIsIdempotentAndSafeAtOnce(t *testing.T) {
	url := servers.Database(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := Migrate(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := open(t, url)
	before, err := s.Identity(t.Context())
	must(t, err)
	set(t, s, "a", "1")
	must(t, Migrate(t.Context(), url))
	after, err := s.Identity(t.Context())
	must(t, err)
	if before != after || load(t, s, "a").Stamp.Revision != 1 {
		t.Errorf("a second migration changed %+v to %+v", before, after)
	}
	exec(t, psql(t, url), `UPDATE fastopt.schema_version SET version = 1000`)
	if err := Migrate(t.Context(), url); !errors.Is(err, tiers.ErrSetup) {
		t.Errorf("a schema of the future: %v, want ErrSetup", err)
	}
}

// A reader needs SELECT, a writer the options; neither can step the revision.
func TestLeastPrivilege(t *testing.T) {
	url := migrated(t)
	c := psql(t, url)
	reader, writer := newRole(t, c), newRole(t, c)
	exec(t, c, `GRANT USAGE ON SCHEMA fastopt TO `+reader+`, `+writer)
	exec(t, c, `GRANT SELECT ON ALL TABLES IN SCHEMA fastopt TO `+reader+`, `+writer)
	exec(t, c, `GRANT INSERT, UPDATE, DELETE ON fastopt.options TO `+writer)
	w := open(t, as(t, url, writer, "secret-1"))
	set(t, w, "a", "1")
	if _, err := w.Write(t.Context(), "app", []tiers.Write{{Name: "a", Delete: true}, {Name: "b", Data: []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	r := open(t, as(t, url, reader, "secret-1"))
	if got := load(t, r, "b"); string(got.Data) != "2" {
		t.Errorf("the reader reads %+v", got)
	}
	if _, err := r.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1}); err != nil {
		t.Error(err)
	}
	for _, err := range r.Scan(t.Context(), "app") {
		must(t, err)
	}
	// Nor can it borrow the rights of the functions behind the triggers.
	forger := psql(t, as(t, url, reader, "secret-1"))
	exec(t, forger, `CREATE TEMP TABLE forged (namespace text, name text)`)
	for _, f := range []string{"tomb", "born", "stamp", "notify", "lock_writers"} {
		_, err := forger.Exec(t.Context(), `CREATE TRIGGER f AFTER DELETE ON forged FOR EACH ROW EXECUTE FUNCTION fastopt.`+f+`()`)
		if err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("a reader made a trigger of %s: %v", f, err)
		}
	}
	_, err := r.Write(t.Context(), "app", []tiers.Write{{Name: "b", Data: []byte("3")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "grant") {
		t.Errorf("the reader writes: %v", err)
	}
	cr := psql(t, as(t, url, reader, "secret-1"))
	if _, err := cr.Exec(t.Context(), `SELECT fastopt.step('app')`); !strings.Contains(fmt.Sprint(err), "42501") {
		t.Errorf("the reader steps the revision: %v", err)
	}
}

// newRole creates a role that may log in with the password secret-1.
func newRole(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	name := fmt.Sprintf("role_%016x", rand.Uint64())
	exec(t, c, `CREATE ROLE `+name+` LOGIN PASSWORD 'secret-1'`)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, err := c.Exec(ctx, `DROP OWNED BY `+name+`; DROP ROLE `+name, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	return name
}
