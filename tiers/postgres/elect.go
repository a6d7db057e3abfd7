package postgres

import (
	"context"
	"errors"
	"fmt"
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
//
// A fleet would fill the server with candidates that wait. So there are a few
// seats, locks of the same kind: who has one stays connected and asks for the
// right all the time, the others come by now and then and hold nothing.

const (
	electPoll      = 400 * time.Millisecond // between a candidate's questions
	electBeat      = 400 * time.Millisecond // between a holder's heartbeats
	electBeatLimit = 500 * time.Millisecond // for the answer; together less than electIdle
	electIdle      = "1200"                 // ms of silence after which the server ends the session
	standBack      = time.Second            // for who gave up the right
	seatLook       = 30 * time.Second       // between looks for a seat, which cost a connection; twice that at most
)

var _ tiers.Elector = (*Source)(nil)

// errNoSeat: three candidates wait already.
var errNoSeat = fmt.Errorf("%w: enough candidates wait", tiers.ErrUnavailable)

// Elect needs the right to update fastopt.epoch (fastopt_relay of Roles), else it
// returns an error wrapping tiers.ErrReadOnly at once. Three candidates of a
// namespace, the holder among them, have a connection each, to Config.DirectURL
// if that is set; the others look every 30 to 60 s whether one is gone.
func (s *Source) Elect(ctx context.Context, namespace string, lead func(ctx context.Context)) error {
	if err := checkCall(namespace, 0); err != nil {
		return err
	}
	bound, cancel := s.bound(ctx)
	defer cancel()
	var p pace
	spare := false // what was heard last of seats is that there is none
	for {
		seated, err := s.candidacy(bound, namespace, lead, &p)
		pause := p.over()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case bound.Err() != nil:
			return fault("elect", errClosed)
		case seated && err == nil: // lead returned by itself
			pause = standBack + rand.N(standBack)
		}
		_ = within(bound, s.direct.ConnectTimeout, func(ctx context.Context) error {
			err = fault("elect", s.explain(ctx, err)) // by the pool, which may be stuck
			return nil
		})
		if errors.Is(err, tiers.ErrSetup) || errors.Is(err, tiers.ErrReadOnly) {
			return err
		}
		// A server that fails hears no more of the others than one that does not.
		if spare = !seated && (spare || errors.Is(err, errNoSeat)); spare {
			rest(bound, s.look+rand.N(s.look))
			continue
		}
		rest(bound, pause)
	}
}

// candidacy connects, takes a seat, waits for the right and leads, until the
// connection fails or, with a nil error, lead has returned by itself.
func (s *Source) candidacy(ctx context.Context, namespace string, lead func(ctx context.Context), p *pace) (seated bool, err error) {
	c, err := s.session(ctx, p)
	if err != nil {
		return false, err
	}
	defer hangUp(c) // which gives up right and seat
	if err := sit(ctx, c, namespace); err != nil {
		return false, err
	}
	p.works()
	for {
		held, err := ask(ctx, c, `SELECT CASE WHEN pg_is_in_recovery() THEN false
			ELSE pg_try_advisory_lock(hashtextextended($1, 0)) END`, "fastopt relay "+namespace)
		if err != nil {
			return true, err
		}
		if held {
			return true, s.holdAndLead(ctx, c, lead)
		}
		if rest(ctx, electPoll); ctx.Err() != nil {
			return true, ctx.Err()
		}
	}
}

// sit takes a seat, or returns errNoSeat, or an error wrapping tiers.ErrReadOnly if
// the role cannot give the database an epoch of its own, as who leads must.
func sit(ctx context.Context, c *pgx.Conn, namespace string) error {
	if err := within(ctx, electBeatLimit, func(ctx context.Context) error {
		// By way of pg_settings: servers before 14 do not know the setting.
		_, err := c.Exec(ctx, `SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'idle_session_timeout'`, electIdle)
		return err
	}); err != nil {
		return err
	}
	may, err := ask(ctx, c, `SELECT has_column_privilege('fastopt.epoch', 'epoch', 'UPDATE')
		AND (pg_is_in_recovery() OR current_setting('transaction_read_only') = 'off')`)
	switch {
	case err != nil:
		return err
	case !may:
		return fmt.Errorf("%w: who leads must be able to step the epoch: GRANT UPDATE ON fastopt.epoch to it, as postgres.Roles does", tiers.ErrReadOnly)
	}
	seated, err := ask(ctx, c, `SELECT CASE
		WHEN pg_try_advisory_lock(hashtextextended('fastopt seat 1 ' || $1::text, 0)) THEN true
		WHEN pg_try_advisory_lock(hashtextextended('fastopt seat 2 ' || $1::text, 0)) THEN true
		ELSE pg_try_advisory_lock(hashtextextended('fastopt seat 3 ' || $1::text, 0)) END`, namespace)
	if err == nil && !seated {
		err = errNoSeat
	}
	return err
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
