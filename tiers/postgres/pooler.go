package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fastopt/fastopt-go/tiers"
)

// Poolers. One in transaction mode, such as PgBouncer, lends a server's session
// for a transaction. So what is set for a session is lost: limits travel with
// each statement, in the same implicit transaction. LISTEN and the locks of a
// session would work for a moment and then be deaf (R19): they need an address
// of the server itself, and are refused here.

// sessionSettings are set when a session begins, where there is one. A URL may
// set other limits.
var sessionSettings = map[string]string{
	"statement_timeout": statementLimit,
	"lock_timeout":      lockLimit,
	"search_path":       "pg_catalog",
	// The snapshots of write.go rely on it, whatever the role's default.
	"default_transaction_isolation": "read committed",
}

const limitsSQL = `SELECT set_config('statement_timeout', $1::text, true), set_config('lock_timeout', $2::text, true)`

// limits sets what limitsSQL asks for.
func (a *address) limits() []any {
	return []any{a.RuntimeParams["statement_timeout"], a.RuntimeParams["lock_timeout"]}
}

// greet makes a connection, without settings if a pooler refuses them. hangUp
// ends it.
func (a *address) greet(ctx context.Context) (*pgx.Conn, error) {
	c, err := dial(ctx, a.ConnConfig)
	if refusesSettings(err) {
		bare := a.Copy()
		maps.DeleteFunc(bare.RuntimeParams, func(name, _ string) bool { _, ok := sessionSettings[name]; return ok })
		c, err = dial(ctx, bare)
	}
	return c, err
}

// connect makes a connection and notes whether a pooler stands between: the
// backend that answers is not the one that greeted. hangUp ends it.
func (a *address) connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := a.greet(ctx)
	if err != nil {
		return nil, err
	}
	var pid uint32
	if err := within(ctx, a.ConnectTimeout, func(ctx context.Context) error {
		return c.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid)
	}); err != nil {
		hangUp(c)
		return nil, err
	}
	a.pooled.Store(pid != c.PgConn().PID())
	return c, nil
}

// refusesSettings reports whether a pooler refused to set something for a session.
func refusesSettings(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "08P01" && strings.HasPrefix(strings.ToLower(pe.Message), "unsupported startup parameter")
}

var errPooled = fmt.Errorf("%w: a connection pooler stands between, through which neither LISTEN nor the locks of a session last: set postgres.Config.DirectURL to an address of the server itself", tiers.ErrSetup)

// session makes a connection that keeps its session, to the same database, and
// tells p once it has one. Each of its questions has a limit.
func (s *Source) session(ctx context.Context, p *pace) (*pgx.Conn, error) {
	c, err := s.direct.connect(ctx)
	if err != nil {
		return nil, err
	}
	p.speaks()
	if err := s.fits(ctx, c); err != nil {
		hangUp(c)
		return nil, err
	}
	return c, nil
}

// fits says why a connection of the direct address may not be used.
func (s *Source) fits(ctx context.Context, c *pgx.Conn) error {
	if s.direct.pooled.Load() {
		return errPooled
	}
	if err := within(ctx, s.direct.ConnectTimeout, func(ctx context.Context) error { return s.check(ctx, c) }); err != nil {
		return err
	}
	if s.direct == s.conf {
		return nil
	}
	var home tiers.Identity
	if err := within(ctx, s.direct.ConnectTimeout, func(ctx context.Context) (err error) {
		home, err = s.Identity(ctx) // of a pooler that may be frozen while the server is well
		return err
	}); err != nil {
		return err
	}
	var lineage, database string
	if err := within(ctx, s.direct.ConnectTimeout, func(ctx context.Context) error {
		return c.QueryRow(ctx, `SELECT lineage, database::text FROM fastopt.here`).Scan(&lineage, &database)
	}); err != nil {
		return err
	}
	if lineage != home.Lineage || database != home.Database {
		return fmt.Errorf("%w: Config.DirectURL leads to another database than Config.URL", tiers.ErrSetup)
	}
	return nil
}

// query asks for rows under the limits of s. The rows must be closed.
func (s *Source) query(ctx context.Context, c *pgx.Conn, sql string, args ...any) (pgx.Rows, error) {
	if !s.conf.pooled.Load() {
		return c.Query(ctx, sql, args...)
	}
	queue := &pgx.Batch{}
	queue.Queue(limitsSQL, s.conf.limits()...)
	queue.Queue(sql, args...)
	results := c.SendBatch(ctx, queue)
	if _, err := results.Exec(); err != nil {
		results.Close()
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		results.Close()
		return nil, err
	}
	return &rowsOfBatch{rows, results}, nil
}

// rowsOfBatch end with the batch that they came in.
type rowsOfBatch struct {
	pgx.Rows
	results pgx.BatchResults
}

func (r *rowsOfBatch) Close() {
	r.Rows.Close()
	r.results.Close()
}

// queryRow scans the only row of an answer, or returns pgx.ErrNoRows.
func (s *Source) queryRow(ctx context.Context, c *pgx.Conn, sql string, args []any, dest ...any) error {
	rows, err := s.query(ctx, c, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	return rows.Scan(dest...)
}
