package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Compacting: tombstones end some day. The work is done by a function of the
// schema, in portions that keep writers waiting for a moment only.

var _ tiers.Compacter = (*Source)(nil)

// compactPortion is how many tombstones fastopt.compact forgets at most.
const compactPortion = 2000

// Compact is tiers.Compacter's. It needs the right to execute fastopt.compact
// (fastopt_relay of Roles) and a schema of version 2, and waits for writers, at
// most for lock_timeout at a time. What was removed before it failed is removed.
func (s *Source) Compact(ctx context.Context, namespace string, olderThan time.Duration) (removed int, err error) {
	if err := checkCall(namespace, 0); err != nil {
		return 0, err
	}
	if olderThan < 0 {
		return 0, fmt.Errorf("postgres: compact: olderThan is negative")
	}
	for portion := compactPortion; portion >= compactPortion; {
		err := s.read(ctx, "compact", func(ctx context.Context, c *pgx.Conn) error {
			var h history
			err := s.queryRow(ctx, c, compactSQL, []any{namespace, olderThan.Seconds()}, h.into(&portion)...)
			if codeOf(err) == stateGrant {
				return fmt.Errorf("%w: GRANT EXECUTE ON FUNCTION fastopt.compact(text, interval) to it, as postgres.Roles does (SQLSTATE %s)", tiers.ErrReadOnly, stateGrant)
			}
			if err != nil {
				return err
			}
			return s.seen.accept(h)
		})
		if err != nil {
			return removed, err
		}
		removed += portion
	}
	return removed, nil
}

const compactSQL = `SELECT ` + historyColumns + `, fastopt.compact($1::text, make_interval(secs => $2::float8)) FROM fastopt.here h`
