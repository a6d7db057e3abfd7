package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// A schema that someone altered: what is wrong is said by name, before an answer
// is built on it.

var alterations = []struct{ sql, says string }{
	{`ALTER TABLE fastopt.options RENAME COLUMN value TO val`, "column value of fastopt.options is missing"},
	{`ALTER TABLE fastopt.tombstones DROP COLUMN deleted_by`, "column deleted_by of fastopt.tombstones is missing"},
	{`ALTER TABLE fastopt.options ALTER COLUMN value TYPE text`, "column value of fastopt.options has type text instead of json"},
	{`ALTER TABLE fastopt.tombstones RENAME TO graves`, "table fastopt.tombstones is missing"},
	{`DROP VIEW fastopt.here CASCADE`, "view fastopt.here is missing"},
	{`DROP TRIGGER c_tomb ON fastopt.options`, "trigger c_tomb of fastopt.options is missing"},
	{`ALTER TABLE fastopt.options DISABLE TRIGGER b_stamp`, "ALTER TABLE fastopt.options ENABLE TRIGGER b_stamp"},
	{`ALTER TABLE fastopt.options DISABLE TRIGGER ALL`, "trigger a_lock of fastopt.options is disabled"},
	{`ALTER TABLE fastopt.options ENABLE REPLICA TRIGGER c_born`, "trigger c_born of fastopt.options is disabled"},
	{`DROP FUNCTION fastopt.begin_write`, "function fastopt.begin_write(text, bigint, text[], bigint[], bigint[]) is missing"},
	{`DROP FUNCTION fastopt.compact`, "function fastopt.compact(text, interval) is missing"},
	{`DROP FUNCTION fastopt.notify CASCADE`, "function fastopt.notify() is missing"},
	{`DROP TABLE fastopt.schema_version`, "table fastopt.schema_version is missing"},
	{`DROP SCHEMA fastopt CASCADE`, "the schema fastopt is missing: run postgres.Migrate"},
}

func TestAnAlteredSchemaIsNamed(t *testing.T) {
	for _, tc := range alterations {
		t.Run(tc.sql, func(t *testing.T) {
			url := migrated(t)
			exec(t, psql(t, url), tc.sql)
			s := open(t, url)
			says(t, "identity", identityErr(s, t.Context()), tc.says)
			says(t, "load", s.Load(t.Context(), "app", []string{"a"})[0].Err, tc.says)
			_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("1")}})
			says(t, "write", err, tc.says)
			if tiers.OutcomeOf(err) != tiers.NotApplied {
				t.Errorf("write: %v", err)
			}
			says(t, "watch", s.Watch(t.Context(), "app", func(e tiers.Event) { t.Errorf("event %+v", e) }), tc.says)
			says(t, "elect", s.Elect(t.Context(), "app", nil), tc.says)
		})
	}
}

// What is altered under a running source is named by the first answer that
// fails for it, and good again without a restart.
func TestASchemaThatIsAlteredLater(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	set(t, s, "a", "1")
	exec(t, c, `ALTER TABLE fastopt.options RENAME COLUMN value TO val`)
	says(t, "load", s.Load(t.Context(), "app", []string{"a"})[0].Err, "column value of fastopt.options is missing")
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("1")}})
	says(t, "write", err, "column value of fastopt.options is missing")
	exec(t, c, `ALTER TABLE fastopt.options RENAME COLUMN val TO value`)
	if got := load(t, s, "a"); string(got.Data) != "1" {
		t.Errorf("mended, it reads %+v", got)
	}
}

// R48: a table that is missing, a right that was revoked, a server that is full:
// an error, never the answer that nothing is there.
func TestR48AFailureIsNoAbsence(t *testing.T) {
	url := migrated(t)
	c := psql(t, url)
	role := newRole(t, c)
	enlist(t, c, role, "reader", "writer")
	s := open(t, as(t, url, role, "secret-1"))
	set(t, s, "a", "1")
	for _, tc := range []struct{ breaks, mends, says string }{
		{`ALTER TABLE fastopt.options RENAME TO option`, `ALTER TABLE fastopt.option RENAME TO options`, "table fastopt.options is missing"},
		{`ALTER SCHEMA fastopt RENAME TO away`, `ALTER SCHEMA away RENAME TO fastopt`, "the schema fastopt is missing"},
	} {
		must(t, simple(t, c, tc.breaks))
		for what, r := range map[string]tiers.Result{"a": s.Load(t.Context(), "app", []string{"a"})[0], "none": s.Load(t.Context(), "app", []string{"none"})[0]} {
			says(t, tc.breaks+": load "+what, r.Err, tc.says)
			if r.Kind != 0 {
				t.Errorf("%s: %+v", tc.breaks, r)
			}
		}
		for r, err := range s.Scan(t.Context(), "app") {
			says(t, tc.breaks+": scan "+r.Name, err, tc.says)
		}
		_, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1})
		says(t, tc.breaks+": changes", err, tc.says)
		must(t, simple(t, c, tc.mends))
	}
	for _, table := range []string{"options", "tombstones", "namespaces", "epoch", "here"} {
		exec(t, c, `REVOKE SELECT ON fastopt.`+table+` FROM `+role+`_reader, `+role+`_writer`)
		words := "GRANT SELECT ON fastopt." + table
		_, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1})
		says(t, "changes without "+table, err, words)
		says(t, "a new source without "+table, identityErr(open(t, as(t, url, role, "secret-1")), t.Context()), words)
		exec(t, c, `GRANT SELECT ON fastopt.`+table+` TO `+role+`_reader`)
	}
	exec(t, c, `REVOKE USAGE ON SCHEMA fastopt FROM `+role+`_reader, `+role+`_writer`)
	says(t, "load without the schema", s.Load(t.Context(), "app", []string{"a"})[0].Err, "GRANT USAGE ON SCHEMA fastopt")
	exec(t, c, `GRANT USAGE ON SCHEMA fastopt TO `+role+`_reader`)
	exec(t, c, `ALTER TABLE fastopt.options ENABLE ROW LEVEL SECURITY`)
	says(t, "rows that are hidden", identityErr(open(t, as(t, url, role, "secret-1")), t.Context()), "row level security hides rows of fastopt.options")
	exec(t, c, `ALTER TABLE fastopt.options DISABLE ROW LEVEL SECURITY`)
	exec(t, c, `ALTER ROLE `+role+` CONNECTION LIMIT 0`)
	s.pool.reset()
	err := s.Load(t.Context(), "app", []string{"a"})[0].Err
	if !errors.Is(err, tiers.ErrUnavailable) || !strings.Contains(err.Error(), "53300") {
		t.Errorf("too many connections: %v", err)
	}
	exec(t, c, `ALTER ROLE `+role+` CONNECTION LIMIT -1`)
	if got := load(t, s, "a"); string(got.Data) != "1" {
		t.Errorf("afterwards: %+v", got)
	}
}
