package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Whose history an answer belongs to. Revisions count within one history of
// one database; a failover, a restore or a copy begins another, in which the
// same numbers mean other commits. The epoch beside the recorded identity tells
// them apart: where the identity is not the actual one, the answer is none until
// the epoch was stepped past every epoch known.

// history is what every statement tells of the database that answers.
type history struct {
	epoch      int64
	mine       bool // the recorded identity is the actual one, and it is a primary
	recovering bool
	system     int64 // recorded
	timeline   int64 // recorded
}

// historyColumns are read from fastopt.here, named h, in the order of history.into.
const historyColumns = `h.epoch, h.mine, h.recovering, h.system_identifier, h.timeline`

func (h *history) into(more ...any) []any {
	return append([]any{&h.epoch, &h.mine, &h.recovering, &h.system, &h.timeline}, more...)
}

// withHere evaluates the identity once per statement, not once per row.
const withHere = `WITH h AS MATERIALIZED (SELECT * FROM fastopt.here) `

// errHistory: the server answered, but not as the primary of the newest history known.
var errHistory = fmt.Errorf("%w: not the primary of the recorded history", tiers.ErrUnavailable)

// lastHistory is the history with the highest epoch that this process has seen.
type lastHistory struct {
	mu sync.Mutex
	h  history // guarded by mu
}

func (l *lastHistory) get() history {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.h
}

// accept remembers h, or returns an error wrapping errHistory if an answer with h is none.
func (l *lastHistory) accept(h history) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case h.recovering:
		return fmt.Errorf("%w (a standby answers)", errHistory)
	case !h.mine:
		return fmt.Errorf("%w (restored, promoted or copied; its epoch was not stepped yet)", errHistory)
	case h.epoch < l.h.epoch:
		return fmt.Errorf("%w (epoch %d, but %d was seen)", errHistory, h.epoch, l.h.epoch)
	}
	l.h = h
	return nil
}

// stepEpoch gives the database that answers an epoch of its own, above every
// one seen, if it is a primary under another identity than the recorded one, or
// a later timeline of the one whose higher epoch was seen. It reports whether
// it is worth asking again: also if another process was faster.
func (s *Source) stepEpoch(ctx context.Context) bool {
	seen := s.seen.get()
	_, err := s.once(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return stepEpochOn(ctx, c, seen)
	})
	return err == nil
}

func stepEpochOn(ctx context.Context, c *pgx.Conn, seen history) error {
	// The recorded columns are compared here and not by fastopt.here: whoever
	// waited for a faster stepper compares the new row.
	_, err := c.Exec(ctx, `UPDATE fastopt.epoch AS e
	   SET epoch = greatest(e.epoch, $1) + 1, system_identifier = a.system_identifier, timeline = a.timeline, database = a.database
	  FROM fastopt.actual a
	 WHERE NOT pg_is_in_recovery()
	   AND ((e.system_identifier, e.timeline, e.database) IS DISTINCT FROM (a.system_identifier, a.timeline, a.database)
	        OR (e.epoch < $1 AND a.system_identifier = $2 AND a.timeline > $3))`,
		seen.epoch, seen.system, seen.timeline)
	return err
}
