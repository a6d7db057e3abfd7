package main

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// What Postgres says of the fleet itself: how many reads of options it was sent,
// for how many names, and how many sessions each process has.

// asked are reads of options by name.
type asked struct{ queries, names int64 }

const askedSQL = `SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(rows), 0)::bigint FROM pg_stat_statements
	WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query LIKE '%o.name = ANY(%'`

// asked returns what was counted since the server started; one row is one name,
// and one for a query that found none.
func (w *world) asked(ctx context.Context) (a asked, err error) {
	err = w.sql.QueryRow(ctx, askedSQL).Scan(&a.queries, &a.names)
	return a, err
}

// rows reads all options of the fleet.
func (w *world) rows(ctx context.Context) (map[int]int64, error) {
	rows, err := w.sql.Query(ctx, `SELECT substr(name, 3)::int, (value #>> '{}')::bigint FROM fastopt.options
		WHERE namespace = $1 AND name LIKE 'o.%'`, namespace)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[int]int64{}
	for rows.Next() {
		var i int
		var v int64
		if err := rows.Scan(&i, &v); err != nil {
			return nil, err
		}
		all[i] = v
	}
	return all, rows.Err()
}

// update writes one option by plain SQL.
func (w *world) update(ctx context.Context, i int, v int64) error {
	return w.exec(ctx, `UPDATE fastopt.options SET value = to_json($3::bigint) WHERE namespace = $1 AND name = $2`,
		namespace, option(i), v)
}

// sessions counts, until it is stopped, how many sessions a process has at most.
type sessions struct {
	stop context.CancelFunc
	all  sync.WaitGroup
	err  error

	// Only after stopping:
	readers map[int32]bool    // sessions that were seen to read options by name
	most    map[string][2]int // by worker: all, and those of readers
}

const sessionsEvery = 25 * time.Millisecond

func (w *world) countSessions(ctx context.Context) (*sessions, error) {
	conn, err := pgx.Connect(ctx, w.pg.URL())
	if err != nil {
		return nil, err
	}
	s := &sessions{readers: map[int32]bool{}, most: map[string][2]int{}}
	ctx, s.stop = context.WithCancel(ctx)
	s.all.Go(func() {
		defer conn.Close(context.Background())
		for ctx.Err() == nil && s.err == nil {
			s.err = s.sample(ctx, conn)
			worker.Pause(ctx, sessionsEvery)
		}
	})
	return s, nil
}

func (s *sessions) sample(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(context.WithoutCancel(ctx), `SELECT application_name, pid, query LIKE '%o.name = ANY(%'
		FROM pg_stat_activity WHERE application_name LIKE 'worker-%'`)
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	defer rows.Close()
	now := map[string][2]int{}
	for rows.Next() {
		var name string
		var pid int32
		var reads bool
		if err := rows.Scan(&name, &pid, &reads); err != nil {
			return err
		}
		n := now[name]
		if n[0]++; reads || s.readers[pid] {
			s.readers[pid] = true
			n[1]++
		}
		now[name] = n
	}
	for name, n := range now {
		s.most[name] = [2]int{max(s.most[name][0], n[0]), max(s.most[name][1], n[1])}
	}
	return rows.Err()
}

// greatest stops the count and returns the greatest of any process, of all
// sessions and of those that read options.
func (s *sessions) greatest() (all, readers int, err error) {
	s.stop()
	s.all.Wait()
	for _, n := range s.most {
		all, readers = max(all, n[0]), max(readers, n[1])
	}
	return all, readers, s.err
}

// throughLine tries to connect by way of the line.
func (w *world) throughLine(ctx context.Context) error {
	u, err := url.Parse(w.pg.URL())
	if err != nil {
		return err
	}
	u.Host = w.toPostgres.Addr()
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `SELECT 1`)
	return err
}

// probeLimit is how soon a healthy server answers.
const probeLimit = time.Second
