package main

import (
	"context"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// How long until all is right after a failover that has lost the last commits:
// of Redis, whose replica lags, and of Postgres, whose standby does.

// loseSome changes options 10 to 19, which everyone then has, and who is cut off
// has not.
func (w *world) loseSome(ctx context.Context, ps []*worker.Process) ([]update, error) {
	var lost []update
	for i := range 10 {
		lost = append(lost, update{10 + i, 1})
		if err := w.update(ctx, lost[i]); err != nil {
			return nil, err
		}
	}
	return lost, mustBeRight(ctx, ps, wish{Want: lost, Limit: int64(repairLimit)})
}

// redisFailover moves the address of Redis to a replica that was cut off
// before the last changes.
func redisFailover(ctx context.Context, w *world) ([]measured.Figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{RedisURL: w.lineURL(), Options: 100, Relay: true})
	if err != nil {
		return nil, err
	}
	if _, err := w.settle(ctx, ps); err != nil {
		return nil, err
	}
	replica, err := w.redis.StartReplica(ctx, redisOptions)
	if err != nil {
		return nil, err
	}
	defer replica.Stop()
	if err := replica.WithholdReplication(ctx); err != nil {
		return nil, err
	}
	changed, err := w.loseSome(ctx, ps)
	if err != nil {
		return nil, err
	}
	if err := w.redis.Kill(); err != nil {
		return nil, err
	}
	worker.Pause(ctx, 500*time.Millisecond) // everyone has noticed
	away := update{1, 1}
	if err := w.update(ctx, away); err != nil {
		return nil, err
	}
	if err := replica.Promote(ctx); err != nil {
		return nil, err
	}
	w.line.SetTarget(replica.Addr())
	w.line.Reset()
	return w.recovers(ctx, ps, worker.Now(), append(changed, away))
}

// postgresFailover moves the address of Postgres to a standby that was cut off
// before the last commits. They are lost: to be right is to read what was before.
func postgresFailover(ctx context.Context, w *world) ([]measured.Figure, error) {
	line, err := faults.NewProxy(w.pg.Addr())
	if err != nil {
		return nil, err
	}
	defer line.Close()
	u, err := url.Parse(w.pg.URL())
	if err != nil {
		return nil, err
	}
	u.Host = line.Addr()
	ps, err := w.open(ctx, w.lab.processes, spec{PostgresURL: u.String(), Options: 100, Relay: true})
	if err != nil {
		return nil, err
	}
	if _, err := w.settle(ctx, ps); err != nil {
		return nil, err
	}
	standby, err := w.pg.StartStandby(ctx, postgresOptions)
	if err != nil {
		return nil, err
	}
	defer standby.Stop()
	if err := standby.WithholdWAL(ctx); err != nil {
		return nil, err
	}
	lost, err := w.loseSome(ctx, ps)
	if err != nil {
		return nil, err
	}
	if err := w.pg.Kill(); err != nil {
		return nil, err
	}
	if err := standby.Promote(ctx); err != nil {
		return nil, err
	}
	_ = w.sql.Close(ctx) // its server is gone
	if w.sql, err = pgx.Connect(ctx, standby.URL()); err != nil {
		return nil, err
	}
	line.SetTarget(standby.Addr())
	line.Reset()
	for i := range lost {
		lost[i].Value = 0
	}
	return w.recovers(ctx, ps, worker.Now(), lost)
}
