package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

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
	if ch, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1, Revision: 11}); err != nil || ch.Reset || len(ch.Records) != 2 {
		t.Errorf("changes over a TRUNCATE: %+v, %v; want two tombstones", ch, err)
	}
}

// Who feeds a cache learns of each row that a TRUNCATE removed, in every
// namespace; one whose snapshot is older than its lock would pass over some.
func TestTruncateLeavesTombstones(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', '1'), ('app', 'b', '1'), ('other', 'a', '1')`)
	exec(t, c, `DELETE FROM fastopt.options WHERE name = 'b'`)
	old := psql(t, url)
	exec(t, old, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	exec(t, old, `SELECT FROM fastopt.options`)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('late', 'a', '1')`)
	if _, err := old.Exec(t.Context(), `TRUNCATE fastopt.options`); codeOf(err) != stateIsolation {
		t.Errorf("a TRUNCATE with an old snapshot: %v, want SQLSTATE %s", err, stateIsolation)
	}
	exec(t, old, `ROLLBACK`)
	exec(t, c, `TRUNCATE fastopt.options`)
	for namespace, want := range map[string]string{"app": "a:3 b:2 ", "other": "a:2 ", "late": "a:2 "} {
		got := ""
		for r, err := range s.Scan(t.Context(), namespace) {
			must(t, err)
			if r.Kind != tiers.Absent || r.NoRow {
				t.Errorf("after a TRUNCATE, %s in %s is %+v", r.Name, namespace, r)
			}
			got += fmt.Sprintf("%s:%d ", r.Name, r.Stamp.Revision)
		}
		if got != want {
			t.Errorf("the tombstones in %s are %q, want %q", namespace, got, want)
		}
	}
	var by string
	must(t, c.QueryRow(t.Context(), `SELECT min(deleted_by) FROM fastopt.tombstones WHERE revision = 3`).Scan(&by))
	if by == "" {
		t.Error("a TRUNCATE is not signed")
	}
	head := load(t, s, "a").Stamp
	exec(t, c, `TRUNCATE fastopt.options`) // of nothing
	if now := load(t, s, "a").Stamp; now != head {
		t.Errorf("a TRUNCATE of nothing moved the head from %v to %v", head, now)
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

// A page ends between revisions. What fits into none, however it came about, is
// a reset, and Scan tells of it.
func TestAPageOfChangesNeverCutsARevision(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'big.'||i, '1' FROM generate_series(1, 1500) i`)
	for range 3 {
		exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'x.'||gen_random_uuid(), '1' FROM generate_series(1, 400)`)
	}
	exec(t, c, `DELETE FROM fastopt.options WHERE name = 'big.7'`)
	if got := pagesOf(t, s, tiers.Stamp{Epoch: 1}); got != "[1899 801]" || load(t, s, "big.7").Stamp.Revision != 5 {
		t.Errorf("pages hold %s records, want 1899 and 801 with the tombstone", got)
	}
	exec(t, c, `UPDATE fastopt.options SET reason = 'more than a page'`)
	exec(t, c, `UPDATE fastopt.options SET reason = 'one more' WHERE name = 'big.9'`)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'small.'||i, '1' FROM generate_series(1, 2000) i`)
	if got := pagesOf(t, s, tiers.Stamp{Epoch: 1, Revision: 5}); got != "[reset]" {
		t.Errorf("pages over a mass update hold %s records, want a reset", got)
	}
	if got := pagesOf(t, s, tiers.Stamp{Epoch: 1, Revision: 6}); got != "[1 2000]" {
		t.Errorf("pages after a mass update hold %s records, want 1 and 2000", got)
	}
	exec(t, c, `DELETE FROM fastopt.options WHERE name NOT LIKE 'small.%'`)
	if got := pagesOf(t, s, tiers.Stamp{Epoch: 1, Revision: 8}); got != "[reset]" {
		t.Errorf("pages over a mass delete hold %s records, want a reset", got)
	}
	n := 0
	for _, err := range s.Scan(t.Context(), "app") {
		must(t, err)
		n++
	}
	if n != 4700 {
		t.Errorf("scan yields %d records, want 4700", n)
	}
}

// pagesOf follows the changes of app and returns how many records each page had.
func pagesOf(t *testing.T, s *Source, since tiers.Stamp) string {
	t.Helper()
	var sizes []string
	for {
		ch, err := s.Changes(t.Context(), "app", since)
		must(t, err)
		if ch.Reset {
			sizes = append(sizes, "reset")
		} else {
			sizes = append(sizes, fmt.Sprint(len(ch.Records)))
		}
		if since = ch.Head; !ch.More {
			return fmt.Sprint(sizes)
		}
	}
}

// A page holds few bytes, however large the values: else no page of theirs would
// be read within statement_timeout, and who follows would stand still for ever.
func TestPagesAreBoundedInBytes(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	const mega = `('"'||repeat('x', 1048574)||'"')::json`
	for i := range 9 {
		exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', $1, `+mega+`)`, fmt.Sprint("x.", i))
	}
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'y.'||i, `+mega+` FROM generate_series(1, 5) i`)
	if got := pagesOf(t, s, tiers.Stamp{Epoch: 1}); got != "[4 4 1 reset]" {
		t.Errorf("pages hold %s records of a mebibyte, want 4, 4, 1 and a reset", got)
	}
	records := 0
	for after, more := "", true; more; {
		must(t, s.read(t.Context(), "scan", func(ctx context.Context, c *pgx.Conn) error {
			page, next, err := s.scanOn(ctx, c, "app", after)
			if err != nil {
				return err
			}
			if len(page) > pageBytes>>20 || next != (len(page) > 0 && page[len(page)-1].Name != "y.5") {
				t.Errorf("a page of Scan holds %d records of a mebibyte, the last but one: %v", len(page), next)
			}
			records, more = records+len(page), next
			for _, r := range page {
				if after = r.Name; len(r.Data) != tiers.MaxData {
					t.Errorf("scan: %s has %d bytes", r.Name, len(r.Data))
				}
			}
			return nil
		}))
	}
	if records != 14 {
		t.Errorf("scan yields %d records, want 14", records)
	}
}

// No page costs more the more rows there are: each is read from an index, in its order.
func TestPagesDoNotReadTheTable(t *testing.T) {
	url := migrated(t)
	c := psql(t, url)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'x.'||i, '1' FROM generate_series(1, 20000) i`)
	exec(t, c, `DELETE FROM fastopt.options WHERE substr(name, 3)::int > 10000`)
	for _, sql := range []string{`SELECT`, `ANALYZE fastopt.options, fastopt.tombstones`} { // not known yet, and known, to the planner
		exec(t, c, sql)
		for what, q := range map[string][]any{
			"load":            {loadSQL, "app", []string{"x.1", "x.2"}, tiers.MaxData},
			"first changes":   {changesSQL, "app", 0, 1, changesPage, tiers.MaxData, pageBytes},
			"changed names":   {changesSQL, "app", 0, 1, changesPage, namesOnly, pageBytes},
			"no changes":      {changesSQL, "app", 2, 1, changesPage, tiers.MaxData, pageBytes},
			"start of a scan": {scanSQL, "app", "", scanPage, tiers.MaxData, pageBytes},
			"rest of a scan":  {scanSQL, "app", "x.5", scanPage, tiers.MaxData, pageBytes},
		} {
			rows, err := c.Query(t.Context(), `EXPLAIN `+q[0].(string), append([]any{pgx.QueryExecModeExec}, q[1:]...)...)
			must(t, err)
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			must(t, err)
			text := strings.Join(plan, "\n")
			for _, table := range []string{"options", "tombstones"} {
				if strings.Contains(text, "Seq Scan on "+table) {
					t.Errorf("%s reads all %s:\n%s", what, table, text)
				}
			}
			// From 100,000 on, jit_above_cost, the plan is compiled.
			var least, most float64
			if _, err := fmt.Sscanf(plan[0][strings.Index(plan[0], "cost="):], "cost=%f..%f", &least, &most); err != nil || most >= 100_000 {
				t.Errorf("%s is taken to cost %v, %v:\n%s", what, most, err, text)
			}
		}
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
