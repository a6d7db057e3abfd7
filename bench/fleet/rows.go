package main

import (
	"context"
	"errors"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
)

// A row measures one promise, in servers and processes of its own.
type row struct {
	name    string
	says    string
	measure func(context.Context, *lab) ([]measured.Figure, error)
}

var rows = []row{
	{"set-to-others", "a Set is acknowledged → every other process has it", setToOthers},
	{"sql-to-others", "a plain UPDATE is acknowledged → every process has it", sqlToOthers},
	{"managers-200", "the same with 200 managers in the processes", manyManagers(200)},
	{"managers-1000", "the same with 1,000 managers", manyManagers(1000)},
	{"orphan", "a commit that its writer could not tell of → all are right", inWorld(20, orphan)},
	{"relay-killed", "the relay is killed → another leads, all are right", inWorld(20, relayKilled)},
	{"relay-frozen", "the relay is frozen → another leads, all are right", inWorld(20, relayFrozen)},
	{"redis-restart", "Redis is killed and comes back empty → all are right", inWorld(100, redisRestart)},
	{"redis-failover", "Redis fails over to a replica that lags → all are right", inWorld(100, redisFailover)},
	{"pg-failover", "Postgres fails over and loses commits → all are right", inWorld(100, postgresFailover)},
	{"silent-redis", "Redis says nothing any more → all have noticed", inWorld(20, silentRedis)},
	{"miss", "all processes miss one key at once → queries", inWorld(20, missOneKey)},
	{"idle", "nobody does anything: what that costs", idle},
	{"one-set", "what one Set costs the servers", inWorld(oneSetOptions, oneSet)},
}

// inWorld gives each run of a row a world with so many options.
func inWorld(options int, f func(context.Context, *world) ([]measured.Figure, error)) func(context.Context, *lab) ([]measured.Figure, error) {
	return func(ctx context.Context, l *lab) ([]measured.Figure, error) {
		w, err := newWorld(ctx, l, options)
		if err != nil {
			return nil, err
		}
		figures, err := f(ctx, w)
		return figures, errors.Join(err, w.close())
	}
}
