package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// Writes behind a transaction that somebody left open.

// R46: a write that waits in vain is refused within its limits, leaves no trace,
// and says whose session to end.
func TestR46AWriteBehindAForgottenTransactionIsRefused(t *testing.T) {
	url := migrated(t)
	s, root := open(t, url), psql(t, url+"&application_name=forgotten-psql")
	set(t, s, "a", "1")
	revision := set(t, s, "canary", "1")
	stranger := psql(t, member(t, url, "reader", "writer")+"&application_name=stranger")
	known := open(t, member(t, url, "reader", "writer"))
	for _, tc := range []struct{ what, does string }{
		{"an update", `UPDATE fastopt.options SET value = '"canary-value"' WHERE name = 'canary'`},
		{"a row lock", `SELECT FROM fastopt.options WHERE name = 'a' FOR UPDATE`},
		{"a table lock", `LOCK TABLE fastopt.options IN SHARE MODE`},
	} {
		exec(t, root, `BEGIN`)
		exec(t, root, tc.does)
		_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("3")}})
		if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("a write behind %s: %v", tc.what, err)
		}
		for _, words := range []string{"55P03", fmt.Sprintf("pid %d,", root.PgConn().PID()), `application "forgotten-psql"`, "in a transaction since 20"} {
			if !strings.Contains(fmt.Sprint(err), words) {
				t.Errorf("a write behind %s: %v, want it to say %s", tc.what, err, words)
			}
		}
		if strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("the error tells what the session does: %v", err)
		}
		exec(t, root, `ROLLBACK`)
	}
	exec(t, stranger, `BEGIN`)
	exec(t, stranger, `UPDATE fastopt.options SET value = '2' WHERE name = 'canary'`)
	_, err := known.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("3")}})
	if want := fmt.Sprintf(`see the session with pid %d, application "stranger"`, stranger.PgConn().PID()); !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("a write behind another role: %v, want it to say %s", err, want)
	}
	if got := load(t, s, "canary"); got.Stamp.Revision != revision {
		t.Errorf("a reader noticed: %+v", got)
	}
	exec(t, stranger, `COMMIT`)
	if next := set(t, s, "a", "2"); next != revision+2 {
		t.Errorf("afterwards a write has revision %d, want %d: refusals leave no trace", next, revision+2)
	}
}

// The session that is named is the one at the end of the queue, not another
// victim in front.
func TestTheBlockerIsNoVictim(t *testing.T) {
	url := migrated(t)
	s, root, watcher := open(t, url), psql(t, url), psql(t, url)
	victim := open(t, url+"&lock_timeout=20000&statement_timeout=30000")
	set(t, s, "a", "1")
	exec(t, root, `BEGIN`)
	exec(t, root, `SELECT FROM fastopt.options WHERE name = 'a' FOR UPDATE`)
	done := make(chan error, 1)
	go func() { // takes the writer lock and waits for the row
		_, err := victim.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
		done <- err
	}()
	waits(t, watcher, 1)
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "b", Data: []byte("3")}})
	if want := fmt.Sprintf("pid %d,", root.PgConn().PID()); !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("%v, want it to say %s", err, want)
	}
	exec(t, root, `COMMIT`)
	must(t, <-done)
}

// A transaction that wrote no option is in nobody's way, however long it stays
// open, and also if it holds an xid and a snapshot.
func TestATransactionThatWroteNoOptionChangesNothing(t *testing.T) {
	url := migrated(t)
	s, idle := open(t, url), psql(t, url)
	before := set(t, s, "a", "1")
	exec(t, idle, `CREATE TABLE public.theirs (x int)`)
	exec(t, idle, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	exec(t, idle, `SELECT pg_current_xact_id()`)
	exec(t, idle, `INSERT INTO public.theirs VALUES (1)`)
	exec(t, idle, `SELECT count(*) FROM fastopt.options`)
	h := listen(t, s, "app")
	ctx, cancel := context.WithCancel(t.Context())
	seen, polled := make(map[string]uint64), make(chan error, 1)
	go func() { polled <- poll(ctx, s, seen) }()
	for i := range 5 {
		if got := set(t, s, "a", fmt.Sprint(i)); got != before+1+uint64(i) {
			t.Errorf("write %d has revision %d", i, got)
		}
	}
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Delete: true}})
	must(t, err)
	if n, err := s.Compact(t.Context(), "app", 0); err != nil || n != 1 {
		t.Errorf("compacted %d, %v", n, err)
	}
	last := set(t, s, "a", "9")
	h.hears(t, tiers.Changed, "a", 0)
	cancel()
	must(t, <-polled)
	if seen["a"] != last {
		t.Errorf("a poller saw %v, want revision %d", seen, last)
	}
	exec(t, idle, `COMMIT`)
	if got := load(t, s, "a"); got.Stamp.Revision != last {
		t.Errorf("its commit changed %+v", got)
	}
}
