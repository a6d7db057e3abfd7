package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// How long until all is right after Redis was away.

// redisRestart kills Redis, changes an option while it is away and one when it
// is back, empty.
func redisRestart(ctx context.Context, w *world) ([]measured.Figure, error) {
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
	worker.Pause(ctx, 500*time.Millisecond) // everyone has noticed
	if err := w.update(ctx, update{1, 1}); err != nil {
		return nil, err
	}
	if err := w.redis.Restart(ctx); err != nil {
		return nil, err
	}
	return w.recovers(ctx, ps, worker.Now(), []update{{1, 1}})
}

// recovers changes one more option by plain SQL and waits until everyone has this
// and what was changed before, and is whole, and until Redis holds every row.
func (w *world) recovers(ctx context.Context, ps []*worker.Process, answers int64, changed []update) ([]measured.Figure, error) {
	last := update{2, 2}
	if err := w.update(ctx, last); err != nil {
		return nil, err
	}
	rows, err := w.rowValues(ctx)
	if err != nil {
		return nil, err
	}
	held := make(chan int64, 1)
	go func() { held <- w.cacheHolds(ctx, rows) }()
	a := wish{Want: append(changed, last), Limit: int64(repairLimit)}
	at, wrong, err := rightIn(ctx, ps, a)
	if err != nil {
		return nil, err
	}
	w.complain(at, wrong)
	a.Whole = true
	whole, wrong, err := rightIn(ctx, ps, a)
	w.complain(whole, wrong)
	return []measured.Figure{
		measured.Since("answers again → all processes right", answers, at, 2*time.Second),
		measured.Since("→ and every option fresh, pushes arriving, Ready", answers, whole, 2*time.Second),
		measured.Since("→ Redis holds every row as Postgres has it", answers, <-held, 2*time.Second),
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
	for end := worker.Now() + int64(repairLimit); worker.Now() < end && ctx.Err() == nil; worker.Pause(ctx, poll) {
		if !slices.ContainsFunc(cache.Load(ctx, namespace, names), func(r tiers.Result) bool {
			return r.Err != nil || string(r.Data) != rows[r.Name]
		}) {
			return worker.Now()
		}
	}
	return 0
}
