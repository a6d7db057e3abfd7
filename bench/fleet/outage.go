package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// How long until all is right after Redis was lost or set back, and until its
// silence is noticed.

// redisRestart kills Redis, changes an option while it is away and one when it
// is back, empty.
func redisRestart(ctx context.Context, w *world) ([]figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{Options: 100, Relay: true})
	if err != nil {
		return nil, err
	}
	if _, err := w.settle(ctx, ps); err != nil {
		return nil, err
	}
	if err := w.redis.Kill(); err != nil {
		return nil, err
	}
	pause(ctx, 500*time.Millisecond) // everyone has noticed
	if err := w.update(ctx, update{1, 1}); err != nil {
		return nil, err
	}
	if err := w.redis.Restart(ctx); err != nil {
		return nil, err
	}
	return w.recovers(ctx, ps, now())
}

// redisFailover moves the address of Redis to a replica that was cut off
// before the last changes.
func redisFailover(ctx context.Context, w *world) ([]figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{RedisURL: w.lineURL(), Options: 100, Relay: true})
	if err != nil {
		return nil, err
	}
	if _, err := w.settle(ctx, ps); err != nil {
		return nil, err
	}
	replica, err := w.redis.StartReplica(ctx, servers.Options{})
	if err != nil {
		return nil, err
	}
	defer replica.Stop()
	if err := replica.WithholdReplication(ctx); err != nil {
		return nil, err
	}
	for i := range 10 { // which the replica will never hear of
		if err := w.update(ctx, update{10 + i, 1}); err != nil {
			return nil, err
		}
	}
	at, wrong, err := rightIn(ctx, ps, wish{Want: []update{{19, 1}}, Limit: int64(repairLimit)})
	if err != nil || at == 0 {
		return nil, fmt.Errorf("the last changes did not arrive: %s %w", wrong, err)
	}
	if err := w.redis.Kill(); err != nil {
		return nil, err
	}
	pause(ctx, 500*time.Millisecond)
	if err := w.update(ctx, update{1, 1}); err != nil {
		return nil, err
	}
	if err := replica.Promote(ctx); err != nil {
		return nil, err
	}
	w.line.SetTarget(replica.Addr())
	w.line.Reset()
	return w.recovers(ctx, ps, now())
}

// recovers changes an option by plain SQL and waits until everyone has what
// was changed during the outage (option 1 set to 1) and this, and is whole, and
// until Redis holds every row.
func (w *world) recovers(ctx context.Context, ps []*process, answers int64) ([]figure, error) {
	if err := w.update(ctx, update{2, 2}); err != nil {
		return nil, err
	}
	rows, err := w.rowValues(ctx)
	if err != nil {
		return nil, err
	}
	held := make(chan int64, 1)
	go func() { held <- w.cacheHolds(ctx, rows) }()
	at, wrong, err := rightIn(ctx, ps, wish{Want: []update{{1, 1}, {2, 2}}, Limit: int64(repairLimit)})
	if err != nil {
		return nil, err
	}
	w.complain(at, wrong)
	whole, wrong, err := rightIn(ctx, ps, wish{Want: []update{{1, 1}, {2, 2}}, Limit: int64(repairLimit), Whole: true})
	w.complain(whole, wrong)
	return []figure{
		since("answers again → all processes right", answers, at, 2*time.Second),
		since("→ and every option fresh, pushes arriving, Ready", answers, whole, 2*time.Second),
		since("→ Redis holds every row as Postgres has it", answers, <-held, 2*time.Second),
	}, err
}

// rowValues reads all rows.
func (w *world) rowValues(ctx context.Context) (map[string]string, error) {
	rows, err := w.sql.Query(ctx, `SELECT name, value::text FROM fastopt.options WHERE namespace = $1`, namespace)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		all[name] = value
	}
	return all, rows.Err()
}

// cacheHolds waits until Redis holds all rows; 0: never.
func (w *world) cacheHolds(ctx context.Context, rows map[string]string) int64 {
	cache, err := redis.Open(redis.Config{URL: w.lineURL()})
	if err != nil {
		return 0
	}
	defer cache.Close()
	names := slices.Collect(maps.Keys(rows))
	for end := now() + int64(repairLimit); now() < end && ctx.Err() == nil; pause(ctx, poll) {
		if !slices.ContainsFunc(cache.Load(ctx, namespace, names), func(r tiers.Result) bool {
			return r.Err != nil || string(r.Data) != rows[r.Name]
		}) {
			return now()
		}
	}
	return 0
}

// silentRedis freezes Redis, then cuts the line to it.
func silentRedis(ctx context.Context, w *world) ([]figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{RedisURL: w.lineURL(), Options: 20, Relay: true})
	if err != nil {
		return nil, err
	}
	frozen, err := w.untilNoticed(ctx, ps, w.redis.Freeze, w.redis.Thaw)
	if err != nil {
		return nil, err
	}
	hole, err := w.untilNoticed(ctx, ps,
		func() error { w.line.Drop(); return nil }, w.line.Heal)
	return []figure{
		named(frozen[0], "Redis frozen → all know that pushes are lost", time.Second),
		named(frozen[1], "Redis thawed → all whole", 2*time.Second),
		named(hole[0], "black hole → all know that pushes are lost", time.Second),
		named(hole[1], "black hole gone → all whole", 2*time.Second),
	}, err
}

// untilNoticed silences Redis until all of ps know, then ends it.
func (w *world) untilNoticed(ctx context.Context, ps []*process, silence, end func() error) ([2]figure, error) {
	var f [2]figure
	if _, err := w.settle(ctx, ps); err != nil {
		return f, err
	}
	start := now()
	if err := silence(); err != nil {
		return f, err
	}
	var noticed int64
	for limit := now() + int64(repairLimit); now() < limit && noticed == 0; pause(ctx, poll) {
		all, err := each[status](ctx, ps, "status", nil)
		if err != nil {
			return f, err
		}
		down := 0
		for _, s := range all {
			down += s.PushesDown
		}
		if down == len(ps) {
			noticed = slices.MaxFunc(all, func(a, b status) int { return cmp.Compare(a.At, b.At) }).At
		}
	}
	f[0] = since("", start, noticed, 0)
	pause(ctx, time.Second)
	start = now()
	if err := end(); err != nil {
		return f, err
	}
	at, wrong, err := rightIn(ctx, ps, wish{Limit: int64(repairLimit), Whole: true})
	w.complain(at, wrong)
	f[1] = since("", start, at, 0)
	return f, err
}
