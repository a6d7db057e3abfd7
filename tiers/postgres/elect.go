package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Electing: who holds a session's advisory lock leads. A process that ends or
// is killed loses its session and with it the lock. One that stands still keeps
// its connection, so the server is told to end sessions that say nothing: the
// holder speaks more often than that. A holder that is cut off notices by a
// heartbeat, before the server lets anybody else in.

const (
	electPoll      = 250 * time.Millisecond // between a candidate's questions
	electBeat      = 400 * time.Millisecond // between a holder's heartbeats
	electBeatLimit = 500 * time.Millisecond // for the answer; together less than electIdle
	electIdle      = "1200"                 // ms of silence after which the server ends the session
	standBack      = time.Second            // for who gave up the right
)

var _ tiers.Elector = (*Source)(nil)

// Elect holds a connection of its own as long as it runs, which must not go
// through a transaction pooler, also while another process leads. It needs no
// grant.
func (s *Source) Elect(ctx context.Context, namespace string, lead func(ctx context.Context)) error {
	if err := checkCall(namespace, 0); err != nil {
		return err
	}
	bound, cancel := s.bound(ctx)
	defer cancel()
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		led, err := s.candidacy(bound, namespace, lead)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case bound.Err() != nil:
			return fault("elect", errClosed)
		case led && err == nil: // lead returned by itself
			pause = standBack
		case led:
			pause = retryFirst
		}
		if err := fault("elect", err); errors.Is(err, tiers.ErrSetup) {
			return err
		}
		rest(bound, pause+rand.N(pause))
	}
}

// candidacy connects, waits for the right and leads, until the connection fails
// or lead returns.
func (s *Source) candidacy(ctx context.Context, namespace string, lead func(ctx context.Context)) (led bool, err error) {
	c, err := connect(ctx, s.conf)
	if err != nil {
		return false, err
	}
	defer hangUp(c) // which gives up the right
	if err := within(ctx, electBeatLimit, func(ctx context.Context) error {
		// By way of pg_settings: servers before 14 do not know the setting.
		_, err := c.Exec(ctx, `SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'idle_session_timeout'`, electIdle)
		return err
	}); err != nil {
		return false, err
	}
	for {
		held, err := ask(ctx, c, `SELECT CASE WHEN pg_is_in_recovery() THEN false
			ELSE pg_try_advisory_lock(hashtextextended($1, 0)) END`, "fastopt relay "+namespace)
		if err != nil {
			return false, err
		}
		if held {
			return true, s.holdAndLead(ctx, c, lead)
		}
		if rest(ctx, electPoll); ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

// holdAndLead runs lead while c lives. nil: lead returned by itself.
func (s *Source) holdAndLead(ctx context.Context, c *pgx.Conn, lead func(ctx context.Context)) error {
	ctx, lose := context.WithCancel(ctx)
	held := make(chan error, 1)
	go func() {
		defer lose()
		held <- beatUntil(ctx, c)
	}()
	lead(ctx)
	lost := ctx.Err() != nil
	lose()
	if err := <-held; lost {
		return err
	}
	return nil
}

// beatUntil sends heartbeats until one fails or ctx ends, and says why.
func beatUntil(ctx context.Context, c *pgx.Conn) error {
	for {
		if rest(ctx, electBeat); ctx.Err() != nil {
			return ctx.Err()
		}
		primary, err := ask(ctx, c, `SELECT NOT pg_is_in_recovery()`)
		switch {
		case err != nil:
			return err
		case !primary:
			return errHistory
		}
	}
}

// ask puts a question that is answered by yes or no.
func ask(ctx context.Context, c *pgx.Conn, sql string, args ...any) (yes bool, err error) {
	err = within(ctx, electBeatLimit, func(ctx context.Context) error {
		return c.QueryRow(ctx, sql, args...).Scan(&yes)
	})
	return yes, err
}

// rest waits for d or the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
