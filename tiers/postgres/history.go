package postgres

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Whose history an answer belongs to. Revisions count within one history of one
// database; a failover, a restore or a copy begins another, in which the same
// numbers mean other commits. The epoch tells histories apart, as long as each
// has one of its own. So every statement returns the whole identity, and its
// answer counts only if that is the newest history known (known.refuses). A
// database that is the later one gets an epoch above all that is known (stepSQL);
// one that was left behind, a zombie, never does.

// history is what every statement tells of the database that answers: the
// recorded epoch, the identity it was given for, and whether that is the actual one.
type history struct {
	epoch      int64
	mine       bool // the recorded identity is the actual one, and it is a primary
	recovering bool
	system     int64
	timeline   int64
	database   int64
	lineage    lineage
}

// lineage is read from every row of an answer, and allocated for the first alone.
type lineage string

// ScanBytes is pgtype.BytesScanner's.
func (l *lineage) ScanBytes(text []byte) error {
	if string(text) != string(*l) {
		*l = lineage(text)
	}
	return nil
}

// historyColumns are read from fastopt.here, named h, in the order of history.into.
const historyColumns = `h.epoch, h.mine, h.recovering, h.system_identifier, h.timeline, h.database, h.lineage`

func (h *history) into(more ...any) []any {
	return append([]any{&h.epoch, &h.mine, &h.recovering, &h.system, &h.timeline, &h.database, &h.lineage}, more...)
}

// withHere evaluates the identity once per statement, not once per row. LIMIT
// tells the planner so: a table of one row is never analyzed by itself, and is
// taken for a thousand, for which a plan is worth half a second of compiling it.
const withHere = `WITH h AS MATERIALIZED (SELECT * FROM fastopt.here LIMIT 1) `

// sameInstallation: a server and its standbys, and what they were promoted to;
// not a database restored from a dump, or upgraded.
func (h history) sameInstallation(o history) bool {
	return h.system == o.system && h.database == o.database
}

func (h history) identity() tiers.Identity {
	return tiers.Identity{Lineage: string(h.lineage), System: strconv.FormatInt(h.system, 10), Timeline: uint32(h.timeline),
		Database: strconv.FormatInt(h.database, 10), Epoch: uint32(h.epoch)}
}

// historyOf is the inverse of identity. ok is false for what no database of this
// package says of itself, or whose epoch leaves none to step to.
func historyOf(id tiers.Identity) (h history, ok bool) {
	system, err1 := strconv.ParseInt(id.System, 10, 64)
	database, err2 := strconv.ParseInt(id.Database, 10, 64)
	if err1 != nil || err2 != nil || id.Lineage == "" || id.Epoch == 0 || id.Epoch == math.MaxUint32 {
		return history{}, false
	}
	return history{epoch: int64(id.Epoch), system: system, timeline: int64(id.Timeline), database: database, lineage: lineage(id.Lineage)}, true
}

var (
	// errHistory: the server answered, but not as the primary of the newest history known.
	errHistory = fmt.Errorf("%w: not the primary of the recorded history", tiers.ErrUnavailable)

	// errLineage: a database answered that is no copy of the one read before.
	errLineage = fmt.Errorf("%w: another database answers", tiers.ErrSetup)
)

// abandonedAfter is how long the known history has to be silent before another
// installation of the same lineage, a restored copy, may be taken for its successor.
const abandonedAfter = 5 * time.Second

// known is the newest history that is known of: the one of the highest epoch
// that was accepted or learned.
type known struct {
	history             // zero: none
	contested bool      // several histories claim its epoch: no answer of that epoch counts
	abandoned bool      // it is another installation's than the one that answers here, and was learned to be over
	confirmed time.Time // when it last answered, or was learned to live
}

// refuses returns why an answer of h is none, nil if it is one.
func (k known) refuses(h history) error {
	switch {
	case h.recovering:
		return fmt.Errorf("%w (a standby answers)", errHistory)
	case !h.mine:
		return fmt.Errorf("%w (restored, promoted or copied; its epoch was not stepped yet)", errHistory)
	case h.epoch < k.epoch && h.sameInstallation(k.history) && h.timeline == k.timeline: // no zombie, nor told from one by who may step
		return fmt.Errorf("%w (epoch %d, but %d was seen of this very database: it was set back; if on purpose, run UPDATE fastopt.epoch SET epoch = %d)",
			errHistory, h.epoch, k.epoch, k.epoch+1)
	case h.epoch < k.epoch:
		return fmt.Errorf("%w (epoch %d, but %d was seen)", errHistory, h.epoch, k.epoch)
	case h.epoch < k.least(), h.epoch == k.epoch && !(h.sameInstallation(k.history) && h.timeline == k.timeline):
		return fmt.Errorf("%w (another history of epoch %d was seen)", errHistory, h.epoch)
	}
	return nil
}

// least is the lowest epoch of an answer that counts.
func (k known) least() int64 {
	if k.contested {
		return k.epoch + 1
	}
	return k.epoch
}

// quiet reports whether the known history was not heard of for long.
func (k known) quiet() bool { return time.Since(k.confirmed) >= abandonedAfter }

// lastHistory is what this process knows of the histories of its database.
type lastHistory struct {
	mu    sync.Mutex
	known known
	home  history // accepted last; its lineage is that of every answer for good. zero: none yet
}

func (l *lastHistory) get() known {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known
}

// accept remembers h, or returns an error wrapping errHistory or errLineage if
// an answer with h is none.
func (l *lastHistory) accept(h history) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.lineage != l.known.lineage && !h.recovering {
		if l.home.lineage != "" {
			return fmt.Errorf("%w: its lineage is %s, that of what was read before is %s: restart the process if the database was replaced on purpose, else mend the URL",
				errLineage, h.lineage, l.home.lineage)
		}
		l.known = known{} // learned before anything answered, of another database
	}
	if err := l.known.refuses(h); err != nil {
		return err
	}
	l.home = h
	l.known = known{history: h, confirmed: time.Now()}
	return nil
}

// learn remembers a history that was found elsewhere.
func (l *lastHistory) learn(h history) {
	l.mu.Lock()
	defer l.mu.Unlock()
	accepted := l.home.lineage != ""
	if accepted && h.lineage != l.home.lineage {
		return
	}
	lives := accepted && h.sameInstallation(l.home)
	if lives {
		l.known.confirmed = time.Now()
	}
	k := &l.known
	switch {
	case h.lineage != k.lineage || h.epoch > k.epoch:
		*k = known{history: h, abandoned: !lives, confirmed: time.Now()}
	case h.epoch == k.epoch && !h.sameInstallation(k.history):
		k.contested = true
	case h.epoch == k.epoch && h.timeline != k.timeline:
		k.contested = true
		k.timeline = max(k.timeline, h.timeline)
	}
}

// Learn is tiers.Historian's. An identity that is none of this package is
// ignored. One of the installation that answers here counts as a sign of life
// of it: tell of a mark only when it was seen to move.
func (s *Source) Learn(id tiers.Identity) {
	if h, ok := historyOf(id); ok {
		s.seen.learn(h)
	}
}

var _ tiers.Historian = (*Source)(nil)

// identity asks who answers.
func (s *Source) identity(ctx context.Context, op string) (tiers.Identity, error) {
	var h history
	err := s.read(ctx, op, func(ctx context.Context, c *pgx.Conn) error {
		if err := s.queryRow(ctx, c, `SELECT `+historyColumns+` FROM fastopt.here h`, nil, h.into()...); err != nil {
			return err
		}
		return s.seen.accept(h)
	})
	if err != nil {
		return tiers.Identity{}, err
	}
	return h.identity(), nil
}

// stepEpoch gives the database that answers an epoch of its own, above every
// one known, if its answers are none and it may have one. It reports whether it
// is worth asking again: also if another process was faster.
func (s *Source) stepEpoch(ctx context.Context) bool {
	k := s.seen.get()
	_, err := s.once(ctx, func(ctx context.Context, c *pgx.Conn) error {
		_, err := stepEpochOn(ctx, c, k)
		return err
	})
	return err == nil
}

// stepSQL. $1–$5 are the known epoch (0: none) and its identity, $6 contested, $7 abandoned, $8 quiet.
//
// The recorded columns are compared here and not by fastopt.here: whoever
// waited for a faster stepper compares the new row.
//
// The cases: who answers may step if nothing is known. Another installation: if
// the known one is over. A later timeline of the same: at once. The known
// timeline itself: if what is recorded was given for another identity (a dump
// was restored in place) or others claim its epoch; else the epoch was lowered by hand.
// An earlier timeline that claims its epoch is a zombie, and never may; one
// that was never stepped may be a restore to a point before the promotion, once the
// known one is silent.
const stepSQL = `UPDATE fastopt.epoch AS e
   SET epoch = greatest(e.epoch, $1::bigint) + 1, system_identifier = a.system_identifier, timeline = a.timeline, database = a.database
  FROM fastopt.actual a
 WHERE NOT pg_is_in_recovery()
   AND ($1::bigint = 0 OR e.lineage::text = $2::text)
   AND ((e.system_identifier, e.timeline, e.database) IS DISTINCT FROM (a.system_identifier, a.timeline, a.database)
        OR e.epoch < $1::bigint
        OR e.epoch = $1::bigint AND ($6::boolean OR (a.system_identifier, a.timeline, a.database) IS DISTINCT FROM ($3::bigint, $4::bigint, $5::bigint)))
   AND CASE
        WHEN $1::bigint = 0 THEN true
        WHEN (a.system_identifier, a.database) IS DISTINCT FROM ($3::bigint, $5::bigint) THEN $7::boolean OR $8::boolean
        WHEN a.timeline > $4::bigint THEN true
        WHEN a.timeline = $4::bigint AND $6::boolean THEN true
        WHEN a.timeline < $4::bigint AND NOT $8::boolean THEN false
        ELSE (e.system_identifier, e.timeline, e.database) IS DISTINCT FROM (a.system_identifier, a.timeline, a.database) END`

// stepEpochOn reports whether it was this step that did it.
func stepEpochOn(ctx context.Context, c *pgx.Conn, k known) (stepped bool, err error) {
	tag, err := c.Exec(ctx, stepSQL, k.epoch, k.lineage, k.system, k.timeline, k.database, k.contested, k.abandoned, k.quiet())
	return tag.RowsAffected() > 0, err
}
