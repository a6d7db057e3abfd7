package postgres

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

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
	must(t, stepEpochOn(t.Context(), fast, history{}))
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

// A primary that says mine, but whose epoch was exceeded elsewhere, is a zombie:
// its answers are none and its writes are refused before they are applied.
func TestALowerEpochIsRefused(t *testing.T) {
	url := migrated(t)
	s := open(t, url)
	set(t, s, "a", "1")
	s.seen.h.epoch = 9 // of the same timeline
	if r := s.Load(t.Context(), "app", []string{"a"})[0]; !errors.Is(r.Err, tiers.ErrUnavailable) {
		t.Errorf("loaded %+v from a zombie", r)
	}
	_, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "a", Data: []byte("2")}})
	if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a write to a zombie: %v", err)
	}
	if got := load(t, open(t, url), "a"); string(got.Data) != "1" {
		t.Errorf("the zombie has %s", got.Data)
	}
	s.seen.h.timeline-- // of an earlier timeline: then this one is its successor
	if got := load(t, s, "a"); got.Stamp.Epoch != 10 {
		t.Errorf("read %+v, want epoch 10", got)
	}
}

func TestAStandbyIsNoAnswer(t *testing.T) {
	var l lastHistory
	if err := l.accept(history{epoch: 1, recovering: true}); !errors.Is(err, errHistory) {
		t.Errorf("a standby: %v", err)
	}
	if err := l.accept(history{epoch: 1, mine: true}); err != nil {
		t.Error(err)
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
