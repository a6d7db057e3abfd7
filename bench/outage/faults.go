package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fastopt/fastopt-go/bench/internal/serverstats"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// What befalls a tier, and how it is seen that it did.

type fault struct {
	lasts    time.Duration // 0: as the lab says
	redis    bool          // fails
	postgres bool          // fails
	brief    bool          // begin ends it, too: recovery is timed from there

	prepare func(context.Context, *world) error // nil: nothing
	begin   func(context.Context, *world) error
	bites   func(context.Context, *world) error // what shows that it does not
	end     func(context.Context, *world) error // returns when the tier answers
}

var errNoBite = errors.New("the fault did not bite")

// slow is what a slow Redis takes to answer.
const slow = 200 * time.Millisecond

var (
	redisKilled = fault{redis: true, bites: redisSilent,
		begin: func(_ context.Context, w *world) error { return w.redis.Kill() },
		end:   func(ctx context.Context, w *world) error { return w.redis.Restart(ctx) },
	}
	redisFrozen = fault{redis: true, bites: redisSilent, lasts: 15 * time.Second,
		begin: func(_ context.Context, w *world) error { return w.redis.Freeze() },
		end:   func(_ context.Context, w *world) error { return w.redis.Thaw() },
	}
	redisHole = fault{redis: true, bites: redisSilent,
		begin: func(_ context.Context, w *world) error { w.toRedis.Drop(); return nil },
		end:   func(_ context.Context, w *world) error { return w.toRedis.heal() },
	}
	redisSlow = fault{redis: true, bites: redisTakes(slow),
		begin: func(_ context.Context, w *world) error { w.toRedis.Delay(faults.ToClient, slow); return nil },
		end:   func(_ context.Context, w *world) error { return w.toRedis.heal() },
	}
	redisEmpty = fault{brief: true, begin: restartEmpty, bites: redisIsAnother}

	postgresKilled = fault{postgres: true, bites: postgresSilent,
		begin: func(_ context.Context, w *world) error { return w.pg.Kill() },
		end:   restartPostgres,
	}
	postgresFrozen = fault{postgres: true, bites: postgresSilent, lasts: time.Minute,
		begin: func(_ context.Context, w *world) error { return w.pg.Freeze() },
		end:   func(_ context.Context, w *world) error { return w.pg.Thaw() },
	}
	postgresHole = fault{postgres: true, bites: postgresSilent,
		begin: func(_ context.Context, w *world) error { w.toPostgres.Drop(); return nil },
		end:   func(_ context.Context, w *world) error { return w.toPostgres.heal() },
	}
	postgresFull   = fault{postgres: true, prepare: takeMany, begin: takeAll, bites: postgresIsFull, end: giveBack}
	postgresLocked = fault{begin: lockWriters, bites: writersWait, end: giveBack}
	postgresMoves  = fault{brief: true, prepare: standBy, begin: failOver, bites: primaryIsNew}
)

// pingRedis asks by way of the line, and tells how long that took.
func (w *world) pingRedis() (time.Duration, error) {
	start := time.Now()
	c, err := serverstats.DialRedis(w.toRedis.Addr(), probeLimit)
	if err != nil {
		return time.Since(start), err
	}
	defer c.Close()
	start = time.Now()
	_, err = c.Do("PING")
	return time.Since(start), err
}

func redisSilent(_ context.Context, w *world) error {
	if _, err := w.pingRedis(); err == nil {
		return fmt.Errorf("%w: Redis answers", errNoBite)
	}
	return nil
}

func redisTakes(d time.Duration) func(context.Context, *world) error {
	return func(_ context.Context, w *world) error {
		took, err := w.pingRedis()
		if err == nil && took < d {
			err = fmt.Errorf("%w: Redis answered after %v", errNoBite, took)
		}
		return err
	}
}

// redisRun is what tells one life of the server from the next.
func (w *world) redisRun() (string, error) {
	c, err := serverstats.DialRedis(w.redis.Addr(), probeLimit)
	if err != nil {
		return "", err
	}
	defer c.Close()
	text, err := c.Do("INFO", "server")
	for line := range strings.Lines(text) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "run_id:"); ok {
			return id, nil
		}
	}
	return "", errors.Join(err, errors.New("redis: INFO names no run"))
}

// restartEmpty kills Redis and starts it a second later without what it held.
func restartEmpty(ctx context.Context, w *world) (err error) {
	if w.run, err = w.redisRun(); err != nil {
		return err
	}
	if err := w.redis.Kill(); err != nil {
		return err
	}
	worker.Pause(ctx, time.Second)
	return w.redis.Restart(ctx)
}

func redisIsAnother(_ context.Context, w *world) error {
	run, err := w.redisRun()
	if err == nil && run == w.run {
		err = fmt.Errorf("%w: Redis was not restarted", errNoBite)
	}
	return err
}

func postgresSilent(ctx context.Context, w *world) error {
	if err := w.throughLine(ctx); err == nil {
		return fmt.Errorf("%w: Postgres answers", errNoBite)
	}
	return nil
}

func restartPostgres(ctx context.Context, w *world) error {
	if err := w.pg.Restart(ctx); err != nil {
		return err
	}
	return w.reconnect(ctx, w.pg.URL())
}

// reconnect gives the operator a connection to the server of that URL.
func (w *world) reconnect(ctx context.Context, url string) (err error) {
	closing, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = w.sql.Close(closing) // its server is gone
	w.sql, err = pgx.Connect(ctx, url)
	return err
}

// takeMany takes half of the connections that Postgres has, so that taking the
// others is quick.
func takeMany(ctx context.Context, w *world) error {
	for range 50 {
		conn, err := pgx.Connect(ctx, w.pg.URL())
		if err != nil {
			return err
		}
		w.held = append(w.held, conn)
	}
	return nil
}

// takeAll takes every connection that Postgres has, those of the fleet included,
// which cannot come back meanwhile.
func takeAll(ctx context.Context, w *world) error {
	w.toPostgres.Refuse()
	if err := w.exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'worker-%'`); err != nil {
		return err
	}
	for full := false; !full; {
		conn, err := pgx.Connect(ctx, w.pg.URL())
		if full = err != nil; !full {
			w.held = append(w.held, conn)
			continue
		}
		// Sessions that are ending still count.
		var left int
		if err := w.sql.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'worker-%'`).Scan(&left); err != nil {
			return err
		}
		full = left == 0
	}
	return w.toPostgres.heal()
}

func postgresIsFull(ctx context.Context, w *world) error {
	err := w.throughLine(ctx)
	if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Code != "53300" {
		return fmt.Errorf("%w: a new connection meets %v", errNoBite, err)
	}
	return nil
}

func giveBack(ctx context.Context, w *world) error {
	w.release(ctx)
	return nil
}

// lockWriters changes a row and leaves the transaction open.
func lockWriters(ctx context.Context, w *world) error {
	conn, err := pgx.Connect(ctx, w.pg.URL())
	if err != nil {
		return err
	}
	w.held = append(w.held, conn)
	for _, sql := range []string{`BEGIN`, `UPDATE fastopt.options SET value = value WHERE name = 'o.0001'`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func writersWait(ctx context.Context, w *world) error {
	err := w.exec(ctx, `SET lock_timeout = '100ms'`)
	if err == nil {
		err = w.update(ctx, 2, 0)
	}
	if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Code != "55P03" {
		return fmt.Errorf("%w: a writer meets %v", errNoBite, err)
	}
	return w.exec(ctx, `RESET lock_timeout`)
}

func standBy(ctx context.Context, w *world) (err error) {
	w.standby, err = w.pg.StartStandby(ctx, postgresOptions)
	return err
}

// failOver kills the primary and moves its address to the standby.
func failOver(ctx context.Context, w *world) error {
	if err := w.pg.Kill(); err != nil {
		return err
	}
	if err := w.standby.Promote(ctx); err != nil {
		return err
	}
	w.toPostgres.SetTarget(w.standby.Addr())
	w.toPostgres.Reset()
	return w.reconnect(ctx, w.standby.URL())
}

func primaryIsNew(ctx context.Context, w *world) error {
	var recovering bool
	err := w.sql.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&recovering)
	if err == nil && recovering {
		err = fmt.Errorf("%w: the standby was not promoted", errNoBite)
	}
	return err
}
