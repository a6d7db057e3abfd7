package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Refusals: why the server did not apply a batch, and what mends it.

// refusal says why the server refused b, after answered of its statements.
func (s *Source) refusal(ctx context.Context, b *batch, err error, answered int) error {
	class := classOf(err)
	switch codeOf(err) {
	case stateHistory:
		err = errHistory
	case stateConflict:
		err = s.conflict(ctx, b)
	case stateNull:
		class, err = tiers.ErrSetup, s.unstamped(ctx)
	case stateStatement:
		err = errLost
	case stateReadOnly:
		err = fmt.Errorf("%w: %s", tiers.ErrReadOnly, text(err))
	case stateGrant:
		if explained := s.explain(ctx, err); explained != err {
			err = explained
			break
		}
		if answered <= 0 && !s.mayBegin(ctx) {
			err = fmt.Errorf("%w: GRANT EXECUTE ON FUNCTION fastopt.begin_write TO it (SQLSTATE %s)", tiers.ErrReadOnly, stateGrant)
			break
		}
		err = fmt.Errorf("%w: GRANT %s ON fastopt.options to it, as postgres.Roles does (SQLSTATE %s)", tiers.ErrReadOnly, b.rights(answered), stateGrant)
	case "55P03", "57014":
		if who := s.blocker(ctx); who != "" {
			err = fmt.Errorf("%w: %s: %s", class, text(err), who)
		}
	default:
		err = s.explain(ctx, err)
	}
	return wrap("write", class, err)
}

// conflict is the error of a batch of which a stamp is not current. A schema of
// version 1 takes no stamp for a name without a value, however current it is.
func (s *Source) conflict(ctx context.Context, b *batch) error {
	if s.schema.version.Load() >= 2 {
		return tiers.ErrConflict
	}
	s.schema.checked.Store(false) // it may have been migrated since
	var newer bool
	_, err := s.once(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return s.queryRow(ctx, c, absentIfSQL, []any{b.namespace, b.ifNames, b.ifEpochs, b.ifRevisions}, &newer)
	})
	if err == nil && newer && s.schema.version.Load() < 2 {
		return fmt.Errorf("%w: the schema fastopt has version 1, which knows no condition with the stamp of an absent name: run postgres.Migrate", tiers.ErrSetup)
	}
	return tiers.ErrConflict
}

// unstamped says why the triggers gave a row no revision: what is wrong with the schema, or that the triggers are off
// for this session alone. Reads go on meanwhile.
func (s *Source) unstamped(ctx context.Context) error {
	var found []problem
	_, err := s.once(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		found, err = s.problems(ctx, c)
		return err
	})
	found = slices.DeleteFunc(found, func(p problem) bool { return p.since > int(s.schema.version.Load()) })
	if err == nil && len(found) > 0 {
		return setupError(found)
	}
	return fmt.Errorf("%w: the triggers of fastopt.options did not run: SET session_replication_role = origin for this role", tiers.ErrSetup)
}

const mayBeginSQL = `SELECT has_function_privilege('fastopt.begin_write(text, bigint, text[], bigint[], bigint[])', 'EXECUTE')`

// mayBegin reports whether the role may call the first statement of a write, or
// that cannot be told.
func (s *Source) mayBegin(ctx context.Context) (may bool) {
	_, err := s.once(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return s.queryRow(ctx, c, mayBeginSQL, nil, &may)
	})
	return may || err != nil
}
