package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// moved makes the database look as after a restore or a promotion: the recorded
// identity is no longer the actual one.
const moved = `UPDATE fastopt.epoch SET timeline = timeline + 7`

func TestADatabaseThatMovedGetsAnEpochOfItsOwn(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	set(t, s, "a", "1")
	first, err := s.Identity(t.Context())
	must(t, err)
	exec(t, c, moved)
	if got := load(t, s, "a"); got.Stamp != (tiers.Stamp{Epoch: 2, Revision: 1}) {
		t.Errorf("read %+v, want epoch 2", got)
	}
	exec(t, c, moved)
	stamp, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
	if err != nil || stamp != (tiers.Stamp{Epoch: 3, Revision: 2}) {
		t.Errorf("wrote %v, %v; want 3.2", stamp, err)
	}
	exec(t, c, moved)
	if ch, err := s.Changes(t.Context(), "app", stamp); err != nil || !ch.Reset || ch.Head.Epoch != 4 {
		t.Errorf("changes: %+v, %v; want a reset to epoch 4", ch, err)
	}
	exec(t, c, moved)
	second, err := s.Identity(t.Context())
	first.Epoch = 5
	if err != nil || second != first {
		t.Errorf("identity %+v, %v; want %+v", second, err, first)
	}
}

func TestManyStepTheEpochOnce(t *testing.T) {
	url := migrated(t)
	exec(t, psql(t, url), moved)
	var wg sync.WaitGroup
	for range 4 {
		s := open(t, url)
		wg.Go(func() {
			if r := s.Load(t.Context(), "app", []string{"a"})[0]; r.Err != nil || r.Stamp.Epoch != 2 {
				t.Errorf("%+v", r)
			}
		})
	}
	wg.Wait()
}

// Who waits for a faster stepper finds nothing left to do.
func TestASecondStepperDoesNotStepAgain(t *testing.T) {
	url := migrated(t)
	s, fast, c := open(t, url), psql(t, url), psql(t, url)
	exec(t, c, moved)
	exec(t, fast, `BEGIN`)
	_, err := stepEpochOn(t.Context(), fast, known{})
	must(t, err)
	loaded := make(chan tiers.Result, 1)
	go func() { loaded <- s.Load(t.Context(), "app", []string{"a"})[0] }()
	eventually(t, 5*time.Second, "the second stepper waits", func() bool {
		var waits bool
		must(t, c.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')`).Scan(&waits))
		return waits
	})
	exec(t, fast, `COMMIT`)
	if r := <-loaded; r.Err != nil || r.Stamp.Epoch != 2 {
		t.Errorf("after both steps: %+v, want epoch 2", r)
	}
}

// Who may not step the epoch gets no answer until somebody who may has done so.
func TestAReaderWaitsForTheStep(t *testing.T) {
	url := migrated(t)
	c := psql(t, url)
	role := newRole(t, c)
	exec(t, c, `GRANT USAGE ON SCHEMA fastopt TO `+role)
	exec(t, c, `GRANT SELECT ON ALL TABLES IN SCHEMA fastopt TO `+role)
	reader, writer := open(t, as(t, url, role, "secret-1")), open(t, url)
	load(t, reader, "a")
	exec(t, c, moved)
	r := reader.Load(t.Context(), "app", []string{"a"})[0]
	if !errors.Is(r.Err, tiers.ErrUnavailable) || errors.Is(r.Err, tiers.ErrSetup) {
		t.Errorf("the reader gets %+v", r)
	}
	for rec, err := range reader.Scan(t.Context(), "app") {
		if !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("the reader scans %+v, %v", rec, err)
		}
	}
	load(t, writer, "a")
	if got := load(t, reader, "a"); got.Stamp.Epoch != 2 {
		t.Errorf("after the step: %+v", got)
	}
}

// A connection to who is no primary is not kept: the next dial may find one.
func TestARefusedConnectionIsClosed(t *testing.T) {
	url := migrated(t)
	s := open(t, url+"&default_transaction_read_only=on")
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("1")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrReadOnly) {
		t.Errorf("a write to a read-only server: %v", err)
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if len(s.pool.idle) != 0 {
		t.Error("the connection is kept")
	}
}

func TestEndedContexts(t *testing.T) {
	s := open(t, migrated(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := s.Load(ctx, "app", []string{"a"})[0]; !errors.Is(r.Err, context.Canceled) {
		t.Errorf("load: %+v", r)
	}
	if _, err := s.Write(ctx, "app", []tiers.Write{{Name: "a", Delete: true}}); tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, context.Canceled) {
		t.Errorf("write: %v", err)
	}
	if err := s.Watch(ctx, "app", func(tiers.Event) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v", err)
	}
}

func identityOf(t *testing.T, s *Source) tiers.Identity {
	t.Helper()
	id, err := s.Identity(t.Context())
	must(t, err)
	return id
}

// untouched checks that writes of s are refused, surely not applied, and that
// the database still has what it had.
func untouched(t *testing.T, s *Source, url string, class error) {
	t.Helper()
	count := func() (n int) {
		must(t, psql(t, url).QueryRow(t.Context(), `SELECT coalesce(sum(revision), 0) FROM fastopt.namespaces`).Scan(&n))
		return n
	}
	before := count()
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("13")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, class) {
		t.Errorf("a write: %v", err)
	}
	if count() != before {
		t.Error("a refused write was applied")
	}
}

// idle returns how many connections s keeps.
func idle(s *Source) int {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return len(s.pool.idle)
}

// A primary that says mine, but whose epoch was exceeded elsewhere, is a zombie:
// its answers are none, and its writes are refused before they are applied.
func TestR28AZombieIsRefusedByWhoKnowsItsSuccessor(t *testing.T) {
	url := migrated(t)
	s := open(t, url)
	set(t, s, "a", "1")
	id := identityOf(t, s)
	id.Epoch, id.Timeline = 9, id.Timeline+1
	s.Learn(id)
	r := s.Load(t.Context(), "app", []string{"a"})[0]
	if !errors.Is(r.Err, tiers.ErrUnavailable) || errors.Is(r.Err, tiers.ErrSetup) || !strings.Contains(r.Err.Error(), "epoch 1, but 9 was seen") {
		t.Errorf("loaded %+v from a zombie", r)
	}
	if n := idle(s); n != 0 {
		t.Errorf("%d connections to the zombie are kept", n)
	}
	if _, err := s.Identity(t.Context()); !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("identity: %v", err)
	}
	if ch, err := s.Changes(t.Context(), "app", tiers.Stamp{}); !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("changes: %+v, %v", ch, err)
	}
	for rec, err := range s.Scan(t.Context(), "app") {
		if !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("scanned %+v, %v", rec, err)
		}
	}
	untouched(t, s, url, tiers.ErrUnavailable)
	s.seen.known.confirmed = time.Now().Add(-time.Hour)
	untouched(t, s, url, tiers.ErrUnavailable)
	if got := load(t, open(t, url), "a"); got.Stamp.Epoch != 1 {
		t.Errorf("the zombie stepped to %v", got.Stamp)
	}
}

func TestR28ALaterTimelineStepsAboveWhatIsKnown(t *testing.T) {
	s := open(t, migrated(t))
	set(t, s, "a", "1")
	id := identityOf(t, s)
	id.Epoch, id.Timeline = 9, id.Timeline-1
	s.Learn(id)
	if got := load(t, s, "a"); got.Stamp != (tiers.Stamp{Epoch: 10, Revision: 1}) {
		t.Errorf("read %v, want 10.1", got.Stamp)
	}
}

// R27 across histories: one epoch is never of two of them.
func TestAContestedEpochIsLeft(t *testing.T) {
	s := open(t, migrated(t))
	set(t, s, "a", "1")
	id := identityOf(t, s)
	earlier, later := id, id
	earlier.Timeline--
	s.Learn(earlier)
	if got := load(t, s, "a"); got.Stamp.Epoch != 2 {
		t.Errorf("read %v, want epoch 2", got.Stamp)
	}
	later.Epoch, later.Timeline = 2, id.Timeline+1
	s.Learn(later)
	if r := s.Load(t.Context(), "app", []string{"a"})[0]; !errors.Is(r.Err, tiers.ErrUnavailable) {
		t.Errorf("read %+v, though a later timeline has its epoch", r)
	}
}

// A write is never applied to another history of the known epoch, and the refusal
// comes with the write: nothing was read in between.
func TestWritesGoToTheHistoryThatWasRead(t *testing.T) {
	url := migrated(t)
	for what, change := range map[string]func(*history){
		"system":   func(h *history) { h.system++ },
		"database": func(h *history) { h.database++ },
		"timeline": func(h *history) { h.timeline++ },
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t, url)
			identityOf(t, s)
			change(&s.seen.known.history)
			untouched(t, s, url, tiers.ErrUnavailable)
		})
	}
	t.Run("lineage", func(t *testing.T) {
		s := open(t, url)
		identityOf(t, s)
		exec(t, psql(t, url), `UPDATE fastopt.epoch SET lineage = gen_random_uuid()`)
		untouched(t, s, url, tiers.ErrSetup)
	})
}

// A schema made anew, or another database behind the old name, is no successor.
func TestAnotherLineageIsASetupError(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	set(t, s, "a", "1")
	before := identityOf(t, s).Lineage
	exec(t, c, `DROP SCHEMA fastopt CASCADE`)
	must(t, Migrate(t.Context(), url))
	after := identityOf(t, open(t, url)).Lineage
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), before) || !strings.Contains(err.Error(), after) || !strings.Contains(err.Error(), "restart") {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("load", s.Load(t.Context(), "app", []string{"a"})[0].Err)
	if n := idle(s); n != 0 {
		t.Errorf("%d connections to the other database are kept", n)
	}
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
	check("write", err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	check("watch", s.Watch(ctx, "app", func(tiers.Event) {}))
	exec(t, c, moved)
	check("load of what moved", s.Load(t.Context(), "app", []string{"a"})[0].Err)
	untouched(t, s, url, tiers.ErrSetup)
	var epoch int
	must(t, c.QueryRow(t.Context(), `SELECT epoch FROM fastopt.epoch`).Scan(&epoch))
	if epoch != 1 {
		t.Error("who reads another lineage stepped its epoch")
	}
}

// between returns a source whose connections go to both databases in turn.
func between(t *testing.T, a, b string) *Source {
	t.Helper()
	one, two := open(t, a), open(t, b)
	var dials atomic.Int64
	one.pool.dial = func(ctx context.Context) (*pgx.Conn, error) {
		if dials.Add(1)%2 == 1 {
			return two.conf.connect(ctx)
		}
		return one.conf.connect(ctx)
	}
	return one
}

// The first writes of a process, which knows no history yet, go to one all the same.
func TestFirstWritesGoToOneHistory(t *testing.T) {
	a, b := migrated(t), migrated(t)
	for range 5 {
		s := between(t, a, b)
		var writers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() {
				s.Write(t.Context(), "app", []tiers.Write{{Name: fmt.Sprint(i), Data: []byte("1")}})
			})
		}
		writers.Wait()
		wrote := 0
		for _, url := range []string{a, b} {
			c := psql(t, url)
			tag, err := c.Exec(t.Context(), `DELETE FROM fastopt.options`)
			must(t, err)
			wrote += int(min(tag.RowsAffected(), 1))
		}
		if wrote != 1 {
			t.Fatalf("%d databases were written to", wrote)
		}
	}
}

// Another installation of the lineage is taken for the successor once the known
// one has been silent for 5 s, and not before.
func TestARestoredCopySucceedsAQuietHistory(t *testing.T) {
	url := migrated(t)
	s := open(t, url)
	set(t, s, "a", "1")
	id := identityOf(t, s)
	original := id
	original.System = "1" // what was read before, and now this copy answers
	h, _ := historyOf(original)
	h.mine = true
	confirmed := time.Now()
	s.seen = lastHistory{home: h, known: known{history: h, confirmed: confirmed}}
	refused := func() {
		t.Helper()
		if r := s.Load(t.Context(), "app", []string{"a"})[0]; !errors.Is(r.Err, tiers.ErrUnavailable) {
			t.Errorf("read %+v %v after the original answered", r, time.Since(confirmed))
		}
	}
	refused()
	s.seen.known.confirmed = time.Now().Add(-abandonedAfter)
	s.Learn(original) // its mark moves
	refused()
	untouched(t, s, url, tiers.ErrUnavailable)
	s.seen.known.confirmed = confirmed
	eventually(t, 2*abandonedAfter, "the copy is read", func() bool {
		return s.Load(t.Context(), "app", []string{"a"})[0].Err == nil
	})
	if d := time.Since(confirmed); d < abandonedAfter {
		t.Errorf("the copy was taken for the successor after %v", d)
	}
	if got := load(t, s, "a"); got.Stamp.Epoch != 2 {
		t.Errorf("read %v, want epoch 2", got.Stamp)
	}
	// The original, back again, is the one that was left behind.
	h.epoch = 1
	if err := s.seen.accept(h); !errors.Is(err, errHistory) {
		t.Errorf("the original: %v", err)
	}
}

// A mark that the caller found abandoned is stepped above at once.
func TestACopyStepsAboveAnAbandonedMark(t *testing.T) {
	s := open(t, migrated(t))
	set(t, s, "a", "1")
	id := identityOf(t, s)
	id.System, id.Epoch = "1", 7
	s.Learn(id)
	if got := identityOf(t, s); got.Epoch != 8 {
		t.Errorf("identity %+v, want epoch 8", got)
	}
	if got := load(t, s, "a"); got.Stamp != (tiers.Stamp{Epoch: 8, Revision: 1}) {
		t.Errorf("read %v, want 8.1", got.Stamp)
	}
}
