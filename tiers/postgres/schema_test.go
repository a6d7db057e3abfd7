package postgres

import (
	"fmt"
	"strings"
	"testing"

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
