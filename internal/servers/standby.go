// Asynchronous standbys of a postgres: one that lacks the last commits, one that
// takes over, one that follows whoever took over. The old primary goes on as it
// is: left running, it is the zombie that a failover leaves behind.

package servers

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5"
)

// StartStandby copies p, a primary or a standby, and starts a hot standby that
// follows p, and returns when it streams, in about half a second. Its URL names the
// same database. ErrExternal, and as StartPostgres.
func (p *PostgresServer) StartStandby(ctx context.Context, o Options) (*PostgresServer, error) {
	if p.srv == nil {
		return nil, fmt.Errorf("start a standby: %w", ErrExternal)
	}
	srv, err := startStandby(ctx, p, o)
	if err != nil {
		return nil, err
	}
	standby := newPostgresServer(srv)
	if err := standby.awaitStreaming(ctx); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	return standby, nil
}

// WithholdWAL cuts a standby off: when it returns, no later commit reaches the
// standby, until Follow. The cut outlasts a Restart. ErrExternal.
func (p *PostgresServer) WithholdWAL(ctx context.Context) error {
	err := p.setPrimary(ctx, "")
	if err == nil {
		err = p.await(ctx, "the end of streaming", "SELECT count(*) = 0 FROM pg_stat_wal_receiver")
	}
	if err != nil {
		return fmt.Errorf("withhold WAL: %w", err)
	}
	return nil
}

// Follow lets a standby follow a server that has all it has, and returns when it
// streams. After a Promote that is the promoted server, on its new timeline.
// ErrExternal.
func (p *PostgresServer) Follow(ctx context.Context, primary *PostgresServer) error {
	if err := p.setPrimary(ctx, primary.conninfo()); err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	return p.awaitStreaming(ctx)
}

// Promote makes a standby a primary on the next timeline, with the commits it has
// got so far, and returns when it takes writes. Connections to it stay. ErrExternal.
func (p *PostgresServer) Promote(ctx context.Context) error {
	err := ErrExternal
	if p.srv != nil {
		err = p.exec(ctx, "SELECT pg_promote(wait => false)")
	}
	if err == nil {
		err = p.awaitPrimary(ctx)
	}
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	return nil
}

// AwaitReplay waits until the standby p shows every commit that primary, which may
// be a standby itself, shows now. At most 30 s.
func (p *PostgresServer) AwaitReplay(ctx context.Context, primary *PostgresServer) error {
	var position string
	err := primary.query(ctx, &position, `SELECT CASE WHEN pg_is_in_recovery()
		THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text`)
	if err != nil {
		return fmt.Errorf("await replay: %w", err)
	}
	return p.await(ctx, "replay", "SELECT pg_last_wal_replay_lsn() >= '"+position+"'::pg_lsn")
}

func (p *PostgresServer) conninfo() string {
	return p.target() + " user=" + superuser + " sslmode=disable"
}

func (p *PostgresServer) target() string {
	host, port, _ := net.SplitHostPort(p.addr)
	return "host=" + host + " port=" + port
}

// setPrimary says whom a standby is to follow; "" is nobody.
func (p *PostgresServer) setPrimary(ctx context.Context, conninfo string) error {
	if p.srv == nil {
		return ErrExternal
	}
	if err := p.exec(ctx, "ALTER SYSTEM SET primary_conninfo = '"+conninfo+"'"); err != nil {
		return err
	}
	return p.exec(ctx, "SELECT pg_reload_conf()")
}

func (p *PostgresServer) awaitStreaming(ctx context.Context) error {
	return p.await(ctx, "streaming", "SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'")
}

func (p *PostgresServer) awaitPrimary(ctx context.Context) error {
	return p.await(ctx, "the end of recovery", "SELECT NOT pg_is_in_recovery()")
}

// await polls until a query returns true.
func (p *PostgresServer) await(ctx context.Context, what, sql string) error {
	return await(ctx, startLimit, what, func(ctx context.Context) (ok bool, err error) {
		if err = p.query(ctx, &ok, sql); err != nil && p.srv != nil && p.PID() == 0 {
			err = fmt.Errorf("%w; it says:\n%s", ErrNotRunning, tail(p.srv.log()))
		}
		return ok, err
	})
}

// query runs a query that returns one value.
func (p *PostgresServer) query(ctx context.Context, value any, sql string) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	err = conn.QueryRow(ctx, sql).Scan(value)
	return errors.Join(err, conn.Close(ctx))
}
