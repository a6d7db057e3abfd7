package postgres

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// The order of revisions is the order of commits, whoever writes and however:
// races of several sessions, entered on purpose and at random.

// waiting returns how many sessions wait for a lock in c's database.
func waiting(t *testing.T, c *pgx.Conn) (n int) {
	t.Helper()
	must(t, c.QueryRow(t.Context(), `SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE NOT l.granted AND a.datname = current_database()`).Scan(&n))
	return n
}

func waits(t *testing.T, c *pgx.Conn, n int) {
	t.Helper()
	eventually(t, 10*time.Second, fmt.Sprint(n, " sessions wait for a lock"), func() bool { return waiting(t, c) == n })
}

// R4: a number drawn before the wait for a lock would be the lowest and commit
// last. Here T1 meets a transaction that holds the row; a third commits meanwhile.
func TestR4TheNumberIsDrawnUnderTheLock(t *testing.T) {
	url := migrated(t) + patient
	s, watcher := open(t, url), psql(t, url)
	set(t, s, "a", "0")
	set(t, s, "b", "0")
	for what, late := range map[string]func(c *pgx.Conn) error{
		"plain SQL": func(c *pgx.Conn) error {
			_, err := c.Exec(t.Context(), `UPDATE fastopt.options SET value = '"late"' WHERE name = 'a'`)
			return err
		},
		"an upsert": func(c *pgx.Conn) error {
			_, err := c.Exec(t.Context(), `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', '"late"')
				ON CONFLICT (namespace, name) DO UPDATE SET value = EXCLUDED.value`)
			return err
		},
		"the library": func(*pgx.Conn) error {
			_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte(`"late"`)}})
			return err
		},
	} {
		first, second := psql(t, url), psql(t, url)
		head := load(t, s, "none").Stamp.Revision
		exec(t, first, `BEGIN`)
		exec(t, first, `UPDATE fastopt.options SET value = '"first"' WHERE name IN ('a', 'b')`)
		done := make(chan error, 2)
		go func() { done <- late(second) }()
		waits(t, watcher, 1)
		go func() {
			_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "b", Data: []byte(`"last"`)}})
			done <- err
		}()
		waits(t, watcher, 2)
		since := load(t, s, "none").Stamp
		exec(t, first, `COMMIT`)
		must(t, <-done)
		must(t, <-done)
		if got := load(t, s, "a"); string(got.Data) != `"late"` || got.Stamp.Revision != head+2 {
			t.Errorf("%s that waited wrote %s as %v, want revision %d", what, got.Data, got.Stamp, head+2)
		}
		if got := load(t, s, "b"); got.Stamp.Revision != head+3 {
			t.Errorf("beside %s: %v, want revision %d", what, got.Stamp, head+3)
		}
		if ch, err := s.Changes(t.Context(), "app", since); err != nil || len(ch.Records) != 2 {
			t.Errorf("beside %s: %d changes, %v", what, len(ch.Records), err)
		}
	}
}

// R20: a poller that looks while a transaction is open finds what it wrote once
// it has committed, however much was committed before and after.
func TestR20APollMissesNothingThatCommitsLate(t *testing.T) {
	url := migrated(t) + patient
	s, slow, watcher := open(t, url), psql(t, url), psql(t, url)
	set(t, s, "other", "0")
	exec(t, slow, `BEGIN`)
	exec(t, slow, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'slow', '1')`)
	done := make(chan error, 1)
	go func() {
		_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "quick", Data: []byte("1")}})
		done <- err
	}()
	eventually(t, 10*time.Second, "the quick one is done, or waits", func() bool { return len(done) > 0 || waiting(t, watcher) == 1 })
	seen := make(map[string]uint64)
	ch, err := s.Changes(t.Context(), "app", tiers.Stamp{Epoch: 1})
	must(t, err)
	for _, r := range ch.Records {
		seen[r.Name] = r.Stamp.Revision
	}
	exec(t, slow, `COMMIT`)
	must(t, <-done)
	after, err := s.Changes(t.Context(), "app", ch.Head)
	must(t, err)
	for _, r := range after.Records {
		seen[r.Name] = r.Stamp.Revision
	}
	if seen["slow"] != 2 || seen["quick"] != 3 {
		t.Errorf("the poller saw %v", seen)
	}
}

// A way of writing is a transaction of the library or of plain SQL.
type way func(ctx context.Context, s *Source, c *pgx.Conn, name string) error

func byUs(writes func(name string) []tiers.Write) way {
	return func(ctx context.Context, s *Source, _ *pgx.Conn, name string) error {
		_, err := s.Write(ctx, "app", writes(name))
		return err
	}
}

// plain runs statements as one transaction. $ stands for the name.
func plain(statements ...string) way {
	return func(ctx context.Context, _ *Source, c *pgx.Conn, name string) error {
		sql := strings.ReplaceAll(strings.Join(statements, "; "), "$", "'"+name+"'")
		_, err := c.PgConn().Exec(ctx, sql).ReadAll()
		return err
	}
}

const (
	upsertOne = `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', $, '4') ON CONFLICT (namespace, name) DO UPDATE SET value = '4'`
	updateOne = `UPDATE fastopt.options SET value = '3' WHERE namespace = 'app' AND name = $`
	updateFew = `UPDATE fastopt.options SET value = '5' WHERE namespace = 'app' AND (name = $ OR name < 'option.3')`
	deleteOne = `DELETE FROM fastopt.options WHERE namespace = 'app' AND name = $`
)

var ways = []way{
	byUs(func(name string) []tiers.Write { return []tiers.Write{{Name: name, Data: []byte("1")}} }),
	byUs(func(name string) []tiers.Write { return []tiers.Write{{Name: name, Delete: true}} }),
	byUs(func(name string) []tiers.Write {
		return []tiers.Write{{Name: name + ".twin", Data: []byte("2")}, {Name: name, Delete: true}, {Name: "common", Data: []byte("2")}}
	}),
	plain(upsertOne),
	plain(updateOne),
	plain(updateFew),
	plain(deleteOne),
	plain(`TRUNCATE fastopt.options`),
	plain("BEGIN", upsertOne, deleteOne, upsertOne, updateFew, "COMMIT"),
	plain("BEGIN", upsertOne, "SAVEPOINT p", deleteOne, updateFew, "ROLLBACK TO p", updateOne, "COMMIT"),
	plain("BEGIN", "SAVEPOINT p", updateFew, "RELEASE p", "SAVEPOINT q", deleteOne, "ROLLBACK TO q", "COMMIT"),
	plain("BEGIN", upsertOne, updateFew, deleteOne, "ROLLBACK"),
}

// Plain UPDATE locks the row first, an upsert the namespace: without the writer
// lock ahead of both they deadlock within milliseconds. Each transaction that
// changed something has a revision of its own and none is left out; and a poller by
// "revision > n" sees every change, whatever commits in between.
func TestMixedByEightClients(t *testing.T) {
	const writers, rounds, names = 8, 60, 10
	url := migrated(t) + patient
	s, slow, c := open(t, url), open(t, url), psql(t, url)
	must(t, simple(t, c, `
		CREATE TABLE public.steps (revision bigint, xid xid8 DEFAULT pg_current_xact_id());
		CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO public.steps (revision) VALUES (NEW.revision); RETURN NULL; END $$;
		CREATE TRIGGER note AFTER INSERT OR UPDATE OF revision ON fastopt.namespaces FOR EACH ROW EXECUTE FUNCTION public.note()`))
	ctx, stop := context.WithCancel(t.Context())
	seen := make(map[string]uint64) // newest revision polled, by name
	polled := make(chan error, 1)
	go func() { polled <- poll(ctx, slow, seen) }()

	var wg sync.WaitGroup
	for i := range writers {
		c := psql(t, url)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range rounds {
				w := r.IntN(len(ways))
				if err := ways[w](t.Context(), s, c, fmt.Sprintf("option.%d", r.IntN(names))); err != nil {
					t.Errorf("way %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
	truth := make(map[string]uint64)
	for r, err := range s.Scan(t.Context(), "app") {
		must(t, err)
		truth[r.Name] = r.Stamp.Revision
	}
	stop() // poll does a last round
	must(t, <-polled)
	if !maps.Equal(seen, truth) {
		t.Errorf("the poller saw %v, want %v", seen, truth)
	}
	var steps, revisions, transactions, last uint64
	must(t, c.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT revision), count(DISTINCT xid), max(revision) FROM public.steps`).
		Scan(&steps, &revisions, &transactions, &last))
	if head := load(t, s, "none").Stamp.Revision; head != last || steps != last || revisions != last || transactions != last {
		t.Errorf("%d steps to %d revisions by %d transactions, the last is %d, the head %d; want one number", steps, revisions, transactions, last, head)
	}
	t.Logf("%d revisions", last)
}

// poll follows the namespace until ctx has ended and nothing is left.
func poll(ctx context.Context, s *Source, seen map[string]uint64) error {
	since := tiers.Stamp{Epoch: 1}
	going := context.WithoutCancel(ctx)
	for {
		ended := ctx.Err() != nil
		ch, err := s.Changes(going, "app", since)
		if err != nil {
			return err
		}
		if ch.Reset { // more than a page at once
			clear(seen)
			for r, err := range s.Scan(going, "app") {
				if err != nil {
					return err
				}
				seen[r.Name] = r.Stamp.Revision
			}
		}
		for _, r := range ch.Records {
			if r.Stamp.Revision < seen[r.Name] {
				return fmt.Errorf("%s went from revision %d to %d", r.Name, seen[r.Name], r.Stamp.Revision)
			}
			seen[r.Name] = r.Stamp.Revision
		}
		since = ch.Head
		if ended && !ch.More && !ch.Reset {
			return nil
		}
	}
}
