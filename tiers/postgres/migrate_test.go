package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

// Versions of the schema: made once, by whoever comes first, and at peace with
// libraries of the version before and after.

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
}

// migratedTo returns the URL of a new database with the schema of a version.
func migratedTo(t *testing.T, version int) string {
	t.Helper()
	url := servers.Database(t)
	c := psql(t, url)
	for range version {
		must(t, pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error {
			_, err := migrateOnce(t.Context(), tx, version)
			return err
		}))
	}
	return url
}

func TestMigrateKeepsWhatIsThere(t *testing.T) {
	url := migratedTo(t, 1)
	old := open(t, url)
	before, err := old.Identity(t.Context())
	must(t, err)
	revision := set(t, old, "a", `{"x" : 1}`)
	set(t, old, "gone", "1")
	_, err = old.Write(t.Context(), "app", []tiers.Write{{Name: "gone", Delete: true}})
	must(t, err)
	must(t, Migrate(t.Context(), url))
	s := open(t, url)
	after, err := s.Identity(t.Context())
	if err != nil || before != after {
		t.Errorf("the migration changed %+v to %+v, %v", before, after, err)
	}
	if got := load(t, s, "a"); got.Stamp.Revision != revision || string(got.Data) != `{"x" : 1}` {
		t.Errorf("the migration left %+v", got)
	}
	if ch, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1}); err != nil || len(ch.Records) != 2 {
		t.Errorf("the migration left the history %+v, %v", ch, err)
	}
}

// A migration waits for nobody who reads or writes, nor does he wait for it:
// services run on, whatever transaction is open.
func TestMigrateAndAnOpenTransactionDoNotWaitForEachOther(t *testing.T) {
	url := migratedTo(t, 1)
	c := psql(t, url)
	exec(t, c, `BEGIN`)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', '1')`)
	must(t, Migrate(t.Context(), url+"&statement_timeout=5000"))
	exec(t, c, `COMMIT`)
	load(t, open(t, url), "a")
}

// A publication of all tables lets no row be changed of a table without a key.
func TestMigrateBesideAPublication(t *testing.T) {
	p := private(t, "wal_level=logical")
	url, err := p.NewDatabase(t.Context())
	must(t, err)
	c := psql(t, url)
	exec(t, c, `CREATE PUBLICATION everything FOR ALL TABLES`)
	must(t, Migrate(t.Context(), url))
	s := open(t, url)
	set(t, s, "a", "1")
	_, err = s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Delete: true}})
	must(t, err)
	removed, err := s.Compact(t.Context(), "app", 0)
	if err != nil || removed != 1 {
		t.Errorf("compacted %d, %v", removed, err)
	}
}

func TestVersionsThatWorkTogether(t *testing.T) {
	for _, tc := range []struct {
		version int
		migrate string // what Migrate says; "" for nothing
		use     string
	}{
		{0, "", "run postgres.Migrate"},
		{oldestVersion, "", ""},
		{schemaVersion, "", ""},
		{newestVersion, "", ""},
		{newestVersion + 1, "use a newer library", "use a newer library"},
		{1000, "use a newer library", "use a newer library"},
	} {
		url := migrated(t)
		exec(t, psql(t, url), `UPDATE fastopt.schema_version SET version = $1`, tc.version)
		s := open(t, url)
		says(t, fmt.Sprintf("identity of version %d", tc.version), identityErr(s, t.Context()), tc.use)
		says(t, fmt.Sprintf("load of version %d", tc.version), s.Load(t.Context(), "app", []string{"a"})[0].Err, tc.use)
		_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("1")}})
		says(t, fmt.Sprintf("write of version %d", tc.version), err, tc.use)
		if tc.version >= schemaVersion { // what is below it here is only in name
			says(t, fmt.Sprintf("migrate of version %d", tc.version), Migrate(t.Context(), url), tc.migrate)
		}
	}
	url := migrated(t)
	exec(t, psql(t, url), `DELETE FROM fastopt.schema_version`)
	says(t, "migrate without a version", Migrate(t.Context(), url), "schema_version is empty")
	says(t, "identity without a version", identityErr(open(t, url), t.Context()), "schema_version is empty")
}

// says checks that err is an ErrSetup with words in it, or none without words.
func says(t *testing.T, what string, err error, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case words == "":
	case !errors.Is(err, tiers.ErrSetup) || errors.Is(err, tiers.ErrUnavailable) || !strings.Contains(err.Error(), words):
		t.Errorf("%s: %v, want ErrSetup that says %q", what, err, words)
	}
}

func identityErr(s *Source, ctx context.Context) error {
	_, err := s.Identity(ctx)
	return err
}

// The library over the schema of the version before does all that the library
// of that version did, and says what it cannot.
func TestTheSchemaOfTheVersionBefore(t *testing.T) {
	s := open(t, migratedTo(t, oldestVersion))
	write := func(name, data string, at *tiers.Stamp) (tiers.Stamp, error) {
		return s.Write(t.Context(), "app", []tiers.Write{{Name: name, Data: []byte(data), Delete: data == "", If: at}})
	}
	absent := load(t, s, "a").Stamp
	first, err := write("a", "1", &tiers.Stamp{})
	must(t, err)
	second, err := write("a", "2", &first)
	must(t, err)
	if _, err := write("a", "3", &first); !errors.Is(err, tiers.ErrConflict) {
		t.Errorf("by an old stamp: %v", err)
	}
	_, err = write("a", "", &second)
	must(t, err)
	for what, at := range map[string]tiers.Stamp{"of the value deleted": second, "of an absence before it": absent} {
		if _, err := write("a", "3", &at); !errors.Is(err, tiers.ErrConflict) {
			t.Errorf("by the stamp %s: %v", what, err)
		}
	}
	now := load(t, s, "a").Stamp
	_, err = write("a", "3", &now)
	says(t, "a write by the stamp of an absence", err, "run postgres.Migrate")
	if tiers.OutcomeOf(err) != tiers.NotApplied {
		t.Errorf("a write by the stamp of an absence: %v", err)
	}
	_, err = s.Compact(t.Context(), "app", 0)
	says(t, "compact", err, "run postgres.Migrate")
	if ch, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1}); err != nil || len(ch.Records) != 1 {
		t.Errorf("changes: %+v, %v", ch, err)
	}
	for _, err := range s.Scan(t.Context(), "app") {
		must(t, err)
	}
	listen(t, s, "app")
	l := stand(t, s)
	eventually(t, 5*time.Second, "it leads", l.leads.Load)
}

// Who runs while the schema is migrated works with what it has become.
func TestASchemaThatIsMigratedMeanwhile(t *testing.T) {
	url := migratedTo(t, 1)
	s := open(t, url)
	first := tiers.Stamp{Epoch: 1, Revision: set(t, s, "a", "1")}
	set(t, s, "a", "2")
	absent := load(t, s, "b").Stamp
	must(t, Migrate(t.Context(), url))
	ifs := []tiers.Write{{Name: "b", Data: []byte("1"), If: &absent}, {Name: "a", Data: []byte("3"), If: &first}}
	if _, err := s.Write(t.Context(), "app", ifs); !errors.Is(err, tiers.ErrConflict) || tiers.OutcomeOf(err) != tiers.NotApplied {
		t.Errorf("by an old stamp, after the migration: %v", err)
	}
	_, err := s.Write(t.Context(), "app", ifs[:1])
	must(t, err)
	_, err = s.Compact(t.Context(), "app", 0)
	must(t, err)
}

// What the library of version 1 asks, word for word: schemas up to version 2
// have to answer it.
var statementsOfV1 = map[string]string{
	"begin": `SELECT fastopt.begin_write($1::text, $2::bigint, $3::text[], $4::bigint[], $5::bigint[])`,
	"upsert": `INSERT INTO fastopt.options AS o (namespace, name, value, updated_by, reason)
SELECT $1::text, w.name, w.value::json, nullif(w.actor, ''), nullif(w.reason, '')
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS w(name, value, actor, reason)
    ON CONFLICT (namespace, name) DO UPDATE SET value = EXCLUDED.value, updated_by = EXCLUDED.updated_by, reason = EXCLUDED.reason`,
	"sign":   `SELECT set_config('fastopt.actor', $1::text, true), set_config('fastopt.reason', $2::text, true)`,
	"delete": `DELETE FROM fastopt.options WHERE namespace = $1::text AND name = ANY($2::text[])`,
	"head": `SELECT h.epoch, h.mine, h.recovering, h.system_identifier, h.timeline, coalesce(n.revision, 0), coalesce(n.compacted, 0)
  FROM fastopt.here h LEFT JOIN fastopt.namespaces n ON n.namespace = $1::text`,
	"load": `WITH h AS MATERIALIZED (SELECT * FROM fastopt.here)
SELECT h.epoch, h.mine, h.recovering, h.system_identifier, h.timeline, coalesce(n.revision, 0), o.name, o.revision, o.size,
       CASE WHEN o.size <= $3 THEN o.value::text END
  FROM h
  LEFT JOIN fastopt.namespaces n ON n.namespace = $1
  LEFT JOIN fastopt.options o ON o.namespace = $1 AND o.name = ANY($2::text[])`,
	"changes": `WITH h AS MATERIALIZED (SELECT * FROM fastopt.here)
SELECT h.epoch, h.mine, h.recovering, h.system_identifier, h.timeline, coalesce(n.revision, 0), coalesce(n.compacted, 0), c.name, c.revision, c.size, c.value
  FROM h
  LEFT JOIN fastopt.namespaces n ON n.namespace = $1
  LEFT JOIN LATERAL (
       SELECT name, revision, size, CASE WHEN size <= $5 THEN value::text END AS value
         FROM fastopt.options WHERE namespace = $1 AND revision > $2 AND h.epoch = $3 AND $2 >= n.compacted
       UNION ALL
       SELECT name, revision, NULL, NULL
         FROM fastopt.tombstones WHERE namespace = $1 AND revision > $2 AND h.epoch = $3 AND $2 >= n.compacted
       ORDER BY revision FETCH FIRST $4 ROWS WITH TIES) c ON true
 ORDER BY c.revision, c.name`,
	"scan": `WITH h AS MATERIALIZED (SELECT * FROM fastopt.here)
SELECT h.epoch, h.mine, h.recovering, h.system_identifier, h.timeline, c.name, c.revision, c.size, c.value
  FROM h
  LEFT JOIN LATERAL (
       SELECT name, revision, size, CASE WHEN size <= $4 THEN value::text END AS value
         FROM fastopt.options WHERE namespace = $1 AND name > $2
       UNION ALL
       SELECT name, revision, NULL, NULL FROM fastopt.tombstones WHERE namespace = $1 AND name > $2
       ORDER BY name FETCH FIRST $3 ROWS ONLY) c ON true
 ORDER BY c.name`,
	"identity": `SELECT epoch, mine, recovering, system_identifier, timeline, database, lineage FROM fastopt.here`,
	"step": `UPDATE fastopt.epoch AS e
	   SET epoch = greatest(e.epoch, $1) + 1, system_identifier = a.system_identifier, timeline = a.timeline, database = a.database
	  FROM fastopt.actual a
	 WHERE NOT pg_is_in_recovery()
	   AND ((e.system_identifier, e.timeline, e.database) IS DISTINCT FROM (a.system_identifier, a.timeline, a.database)
	        OR (e.epoch < $1 AND a.system_identifier = $2 AND a.timeline > $3))`,
	"lead": `SELECT CASE WHEN pg_is_in_recovery() THEN false
			ELSE pg_try_advisory_lock(hashtextextended($1, 0)) END`,
}

func TestTheLibraryOfTheVersionBefore(t *testing.T) {
	a, err := parse("url", migrated(t))
	must(t, err)
	c, err := dial(t.Context(), a.ConnConfig)
	must(t, err)
	defer hangUp(c)
	// in runs statements as one implicit transaction and returns the rows of the last.
	type call struct {
		what string
		args []any
	}
	in := func(calls ...call) [][]any {
		t.Helper()
		queue := &pgx.Batch{}
		for _, call := range calls {
			queue.Queue(statementsOfV1[call.what], call.args...)
		}
		results := c.SendBatch(t.Context(), queue)
		for _, call := range calls[:len(calls)-1] {
			if _, err := results.Exec(); err != nil {
				t.Fatalf("%s: %v", call.what, err)
			}
		}
		rows, err := results.Query()
		must(t, err)
		got, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
		if err == nil {
			err = results.Close()
		}
		if err != nil {
			t.Fatalf("%s: %v", calls[len(calls)-1].what, err)
		}
		return got
	}
	begin := func(name string, epoch, revision int64) call {
		return call{"begin", []any{"app", 1, []string{name}, []int64{epoch}, []int64{revision}}}
	}
	upsert := func(value string) call {
		return call{"upsert", []any{"app", []string{"a"}, []string{value}, []string{"alice"}, []string{""}}}
	}
	head := call{"head", []any{"app"}}
	same := func(what string, got [][]any, rows int, column int, want any) {
		t.Helper()
		if len(got) != rows || rows > 0 && fmt.Sprint(got[0][column]) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %d rows and %v in column %d", what, got, rows, want, column)
		}
	}
	same("insert", in(begin("a", 0, 0), upsert("1"), head), 1, 5, 1)
	same("update", in(begin("a", 1, 1), upsert("2"), head), 1, 5, 2)
	same("load", in(call{"load", []any{"app", []string{"a"}, 100}}), 1, 9, "2")
	same("delete", in(begin("a", 1, 2), call{"sign", []any{"bob", ""}}, call{"delete", []any{"app", []string{"a"}}}, head), 1, 5, 3)
	same("insert again", in(begin("a", 0, 0), upsert("3"), head), 1, 5, 4)
	same("changes", in(call{"changes", []any{"app", 2, 1, 100, 100}}), 1, 8, 4)
	same("scan", in(call{"scan", []any{"app", "", 100, 100}}), 1, 5, "a")
	same("identity", in(call{"identity", nil}), 1, 0, 1)
	same("step", in(call{"step", []any{int64(0), int64(0), int64(0)}}), 0, 0, nil)
	same("lead", in(call{"lead", []any{"fastopt relay app"}}), 1, 0, true)
	if _, err := c.Exec(t.Context(), statementsOfV1["begin"], "app", 1, []string{"a"}, []int64{1}, []int64{3}); codeOf(err) != stateConflict {
		t.Errorf("a stamp that is not current: %v", err)
	}
	if _, err := c.Exec(t.Context(), statementsOfV1["begin"], "app", 2, []string{}, []int64{}, []int64{}); codeOf(err) != stateHistory {
		t.Errorf("a lower epoch than was seen: %v", err)
	}
}
