package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Whose session a write has waited for in vain. A forgotten psql in a
// transaction stops all writers: whoever reads the error has to know which one
// to end. What that session runs is not told, for it may hold values.

const blockerLimit = 200 * time.Millisecond

// Of the sessions that hold what a writer needs and wait for nobody themselves,
// the one most likely in the way: the writer lock, a lock of the table, a row.
// Another role's xact_start is seen by members of pg_read_all_stats.
const blockerSQL = `
SELECT a.pid, coalesce(a.application_name, ''), coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), -1)::float8
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.granted AND l.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.locktype = 'advisory' AND l.classid = $1::oid AND l.objid = 'fastopt.options'::regclass::oid AND l.objsubid = 2
        OR l.locktype = 'relation' AND l.relation = 'fastopt.options'::regclass AND l.mode <> 'AccessShareLock')
   AND NOT EXISTS (SELECT FROM pg_locks w WHERE w.pid = l.pid AND NOT w.granted)
 ORDER BY l.locktype = 'advisory' DESC, l.mode IN ('RowShareLock', 'RowExclusiveLock'), a.xact_start
 LIMIT 1`

// blocker tells of the session that is in the way of writers, "" if there is
// none any more.
func (s *Source) blocker(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, blockerLimit)
	defer cancel()
	var pid int32
	var application string
	var age float64
	_, err := s.once(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return s.queryRow(ctx, c, blockerSQL, []any{uint32(lockClass)}, &pid, &application, &age)
	})
	switch {
	case err != nil:
		return ""
	case age < 0:
		return fmt.Sprintf("see the session with pid %d, application %q", pid, application)
	}
	since := time.Duration(age * float64(time.Second))
	return fmt.Sprintf("see the session with pid %d, application %q, in a transaction since %s, for %v",
		pid, application, time.Now().Add(-since).UTC().Format(time.RFC3339), since.Round(100*time.Millisecond))
}
