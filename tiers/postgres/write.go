package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fastopt/fastopt-go/tiers"
)

// Writing: one pipelined batch, which is one implicit transaction and one round
// trip (P1): take the writer lock and check that the stamps named are current;
// write; read the head back, if this is the history that was read before. The
// receipt comes from the read-back, because a statement's own snapshot may be
// older than the lock.
//
// What became of a write that failed is decided here as well (I14, I15). Not
// applied: it was never sent, or the server refused a statement, which aborts
// the transaction. Anything else is unknown.

const (
	beginSQL  = `SELECT fastopt.begin_write($1::text, $2::bigint, $3::text[], $4::bigint[], $5::bigint[])`
	upsertSQL = `INSERT INTO fastopt.options AS o (namespace, name, value, updated_by, reason)
SELECT $1::text, w.name, w.value::json, nullif(w.actor, ''), nullif(w.reason, '')
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS w(name, value, actor, reason)
    ON CONFLICT (namespace, name) DO UPDATE SET value = EXCLUDED.value, updated_by = EXCLUDED.updated_by, reason = EXCLUDED.reason`
	signSQL   = `SELECT set_config('fastopt.actor', $1::text, true), set_config('fastopt.reason', $2::text, true)`
	deleteSQL = `DELETE FROM fastopt.options WHERE namespace = $1::text AND name = ANY($2::text[])`
	headSQL   = `SELECT ` + historyColumns + `, coalesce(n.revision, 0), coalesce(n.compacted, 0)
  FROM fastopt.here h LEFT JOIN fastopt.namespaces n ON n.namespace = $1::text`
	// Whether it is a condition of version 2 alone that holds.
	absentIfSQL = `SELECT EXISTS (
	SELECT FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS want(name, epoch, revision)
	  CROSS JOIN fastopt.here h
	  LEFT JOIN fastopt.options o ON o.namespace = $1::text AND o.name = want.name
	  LEFT JOIN fastopt.tombstones t ON t.namespace = $1::text AND t.name = want.name
	  LEFT JOIN fastopt.namespaces n ON n.namespace = $1::text
	 WHERE o.name IS NULL AND want.epoch = h.epoch
	   AND want.revision BETWEEN greatest(t.revision, n.compacted, 0) AND coalesce(n.revision, 0))`
)

// endSQL reads the head, and refuses the batch unless the history is the known
// one or has a higher epoch: begin_write, which holds the lock since and knows that
// the recorded identity is the actual one, compares epochs alone. With an epoch
// above all it refuses, too. While no history is known, nothing is written.
const endSQL = `SELECT ` + historyColumns + `, coalesce(n.revision, 0),
       CASE WHEN h.lineage <> $2::text
              OR h.epoch = $3::bigint AND (h.system_identifier, h.timeline, h.database) IS DISTINCT FROM ($4::bigint, $5::bigint, $6::bigint)
            THEN fastopt.begin_write($1::text, 4294967296, '{}', '{}', '{}')::text END
  FROM fastopt.here h LEFT JOIN fastopt.namespaces n ON n.namespace = $1::text`

// Write applies writes in one transaction, or none, and returns the head
// revision after them. It waits for other writers, at most for lock_timeout; the
// error then says whose session is in the way.
func (s *Source) Write(ctx context.Context, namespace string, writes []tiers.Write) (tiers.Stamp, error) {
	b, err := plan(namespace, writes)
	if err != nil {
		return tiers.Stamp{}, notApplied(fmt.Errorf("postgres: write: %w", err))
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	stamp, err := s.apply(ctx, b)
	if tiers.OutcomeOf(err) != tiers.NotApplied || ctx.Err() != nil {
		return stamp, err // also success
	}
	switch {
	case errors.Is(err, errUnsent), errors.Is(err, errLost):
		s.pool.reset()
		return s.apply(ctx, b)
	case errors.Is(err, errHistory):
		if _, err := s.identity(ctx, "write"); err != nil { // steps the epoch, or says why not
			return tiers.Stamp{}, notApplied(err)
		}
		return s.apply(ctx, b)
	}
	return stamp, err
}

var (
	// errUnsent: the connection was found dead before a byte was sent.
	errUnsent = fmt.Errorf("%w: the connection was dead", tiers.ErrUnavailable)

	// errLost: the session has lost the statement, so it did nothing (R49).
	errLost = fmt.Errorf("%w: the session lost a statement (SQLSTATE %s)", tiers.ErrUnavailable, stateStatement)
)

// apply makes one attempt. Its errors are *tiers.WriteError.
func (s *Source) apply(ctx context.Context, b *batch) (tiers.Stamp, error) {
	var st tiers.Stamp
	var sent bool
	var answered int
	_, err := s.once(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		if c.IsClosed() {
			return errUnsent
		}
		sent = true
		st, answered, err = s.send(ctx, c, b)
		return err
	})
	switch {
	case err == nil:
		return st, nil
	case !sent:
		return tiers.Stamp{}, notApplied(fault("write", s.orClosed(err)))
	case unsent(err):
		if ctx.Err() != nil {
			return tiers.Stamp{}, notApplied(fault("write", s.orClosed(ctx.Err())))
		}
		return tiers.Stamp{}, notApplied(fault("write", errUnsent))
	}
	if refused(err, answered, b.statements()) {
		return tiers.Stamp{}, notApplied(s.refusal(ctx, b, err, answered))
	}
	return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.Unknown, Err: wrap("write", tiers.ErrUnavailable, err)}
}

// unsent reports whether err, of a connection that was open before, surely came
// before the first byte was sent. That the connection is closed does not say so,
// whatever pgx says: it is what reading the answers of a batch gives, too, once
// the connection has died (R33).
func unsent(err error) bool {
	return pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed)
}

// send sends the batch and reads its answers. answered counts the statements of
// the batch that the server completed; the commit comes after the last of them.
func (s *Source) send(ctx context.Context, c *pgx.Conn, b *batch) (st tiers.Stamp, answered int, err error) {
	queue := &pgx.Batch{}
	if s.conf.pooled.Load() {
		queue.Queue(limitsSQL, s.conf.limits()...)
		answered = -1
	}
	k := s.seen.get()
	queue.Queue(beginSQL, b.namespace, k.least(), b.ifNames, b.ifEpochs, b.ifRevisions)
	if len(b.names) > 0 {
		queue.Queue(upsertSQL, b.namespace, b.names, b.values, b.actors, b.reasons)
	}
	for _, d := range b.deletes {
		queue.Queue(signSQL, d.actor, d.reason)
		queue.Queue(deleteSQL, b.namespace, d.names)
	}
	queue.Queue(endSQL, b.namespace, k.lineage, k.epoch, k.system, k.timeline, k.database)
	results := c.SendBatch(ctx, queue)
	defer results.Close()
	for range queue.Len() - 1 {
		if _, err := results.Exec(); err != nil {
			return st, answered, err
		}
		answered++
	}
	var h history
	var head uint64
	var passed *string
	if err := results.QueryRow().Scan(h.into(&head, &passed)...); err != nil {
		return st, answered, err
	}
	answered++
	if err := results.Close(); err != nil { // reads up to the end of the transaction
		return st, answered, err
	}
	// The batch itself accepted this history; one seen meanwhile elsewhere does not undo the commit.
	_ = s.seen.accept(h)
	return stamp(h, head), answered, nil
}

// refused reports whether err surely means that the transaction was not
// committed: the server reported a failed statement. If it ended the session
// instead (57P01 at a shutdown), that is sure only before the last statement
// was answered, because the commit follows: it may have ended the session after
// it. A pooler in between that speaks in the server's name cannot know at all;
// it gives no routine of the server's source, or class 08.
func refused(err error, answered, statements int) bool {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Routine == "" || strings.HasPrefix(pe.Code, "08") {
		return false
	}
	return pe.SeverityUnlocalized == "ERROR" || answered < statements
}

func notApplied(err error) error {
	return &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
}

// A batch is the arguments of the statements of one Write.
type batch struct {
	namespace string

	ifNames     []string
	ifEpochs    []int64
	ifRevisions []int64

	names, values, actors, reasons []string // what is set

	deletes []deletion
}

// A deletion is what one actor deletes for one reason: a DELETE has no columns
// to sign each row with.
type deletion struct {
	actor, reason string
	names         []string
}

// statements returns how many statements the batch takes.
func (b *batch) statements() int {
	n := 2 // the first and the last
	if len(b.names) > 0 {
		n++
	}
	return n + 2*len(b.deletes)
}

// rights names what the batch needs of fastopt.options, after the statements
// that had what they need.
func (b *batch) rights(answered int) string {
	var rights []string
	if len(b.names) > 0 && answered < 2 {
		rights = append(rights, "INSERT, UPDATE")
	}
	if len(b.deletes) > 0 && (answered != 1 || len(b.names) == 0) {
		rights = append(rights, "DELETE")
	}
	return strings.Join(rights, ", ")
}

// plan checks writes and arranges them. It does no I/O.
func plan(namespace string, writes []tiers.Write) (*batch, error) {
	if err := checkCall(namespace, len(writes)); err != nil {
		return nil, err
	}
	b := &batch{namespace: namespace}
	known := make(map[string]bool, len(writes))
	for _, w := range writes {
		if err := checkWrite(w); err != nil {
			return nil, err
		}
		if known[w.Name] {
			return nil, fmt.Errorf("%q is written twice in one batch", w.Name)
		}
		known[w.Name] = true
		b.add(w)
	}
	return b, nil
}

func (b *batch) add(w tiers.Write) {
	if w.If != nil {
		revision := int64(-1) // no stamp of this database is that high
		if w.If.Revision <= math.MaxInt64 {
			revision = int64(w.If.Revision)
		}
		b.ifNames = append(b.ifNames, w.Name)
		b.ifEpochs = append(b.ifEpochs, int64(w.If.Epoch))
		b.ifRevisions = append(b.ifRevisions, revision)
	}
	if w.Delete {
		i := slices.IndexFunc(b.deletes, func(d deletion) bool { return d.actor == w.Actor && d.reason == w.Reason })
		if i < 0 {
			i = len(b.deletes)
			b.deletes = append(b.deletes, deletion{actor: w.Actor, reason: w.Reason})
		}
		b.deletes[i].names = append(b.deletes[i].names, w.Name)
		return
	}
	b.names = append(b.names, w.Name)
	b.values = append(b.values, string(w.Data))
	b.actors = append(b.actors, w.Actor)
	b.reasons = append(b.reasons, w.Reason)
}

func checkWrite(w tiers.Write) error {
	if err := tiers.CheckName(w.Name); err != nil {
		return err
	}
	for what, text := range map[string]string{"actor": w.Actor, "reason": w.Reason} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return fmt.Errorf("%s of %q is not valid UTF-8 without NUL", what, w.Name)
		}
	}
	switch {
	case w.Delete:
	case len(w.Data) > tiers.MaxData:
		return fmt.Errorf("value of %q has %d bytes, the limit is %d", w.Name, len(w.Data), tiers.MaxData)
	case !utf8.Valid(w.Data) || !json.Valid(w.Data):
		return fmt.Errorf("value of %q is not valid JSON in UTF-8", w.Name)
	}
	return nil
}
