package main

import (
	"context"
	"errors"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
)

// A row measures one kind of outage, in servers and processes of its own.
type row struct {
	name    string
	says    string
	measure func(context.Context, *lab) ([][]measured.Figure, error)
}

var rows = []row{
	{"redis-killed", "Redis is killed", through(redisKilled)},
	{"redis-frozen", "Redis is frozen", through(redisFrozen)},
	{"redis-black-hole", "nothing reaches Redis, or comes back", through(redisHole)},
	{"redis-slow", "Redis takes 200 ms to answer", through(redisSlow)},
	{"redis-empty", "Redis is killed and comes back empty", through(redisEmpty)},
	{"pg-killed", "Postgres is killed", through(postgresKilled)},
	{"pg-frozen", "Postgres is frozen", through(postgresFrozen)},
	{"pg-black-hole", "nothing reaches Postgres, or comes back", through(postgresHole)},
	{"pg-full", "Postgres has no connection left", through(postgresFull)},
	{"pg-locked", "a forgotten transaction keeps writers waiting", through(postgresLocked)},
	{"pg-failover", "Postgres fails over", through(postgresMoves)},
	{"both-dead", "both are dead for longer than TTL + grace, then come back", bothDead},
	{"storm", "1,000 options of each process expire while Redis is dead", storm},
	{"frozen", "a process stands still for 3 × grace while both are dead", frozen},
	{"twice-the-load", "Redis dies under twice the load, and comes back", twiceTheLoad},
}

// inWorld gives a row a world with so many options.
func inWorld(options int, f func(context.Context, *world) ([][]measured.Figure, error)) func(context.Context, *lab) ([][]measured.Figure, error) {
	return func(ctx context.Context, l *lab) ([][]measured.Figure, error) {
		w, err := newWorld(ctx, l, options)
		if err != nil {
			return nil, err
		}
		figures, err := f(ctx, w)
		return figures, errors.Join(err, w.close())
	}
}
