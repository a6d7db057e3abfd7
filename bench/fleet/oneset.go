package main

import (
	"context"
	"math"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/serverstats"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// What one Set costs the servers, and that a fill they refuse costs nobody else
// anything.

// oneSetOptions is small, so that the relay's sweep, which comes now and then and
// offers each of them, hides in what is rounded off.
const oneSetOptions = 2

// oneSet counts what some Sets cost, less what the fleet does at rest, to a tenth.
func oneSet(ctx context.Context, w *world) ([]measured.Figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{Options: oneSetOptions, Relay: true})
	if err != nil {
		return nil, err
	}
	writer, err := w.open(ctx, 1, spec{Options: oneSetOptions})
	if err != nil {
		return nil, err
	}
	all := append(ps, writer...)
	if _, err := w.settle(ctx, ps); err != nil {
		return nil, err
	}
	p := w.pace(w.lab.few(100, 20), 5, oneSetOptions)
	rest, err := w.counted(ctx, all, func() error {
		worker.Pause(ctx, time.Duration(float64(p.Count)/p.PerSecond*1e9))
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	busy, err := w.counted(ctx, all, func() error {
		_, err := worker.Call[[]write](ctx, writer[0], "write", p)
		return err
	})
	if err != nil {
		return nil, err
	}
	refused, err := w.counted(ctx, all, func() error { // offers all rows, which Redis has
		_, err := worker.Call[any](ctx, writer[0], "sync", nil)
		return err
	})
	w.explain(busy.redis, busy.postgres, float64(p.Count))
	share := busy.seconds / rest.seconds
	per := func(name string, asked float64, of func(spent) int64) measured.Figure {
		value := (float64(of(busy)) - share*float64(of(rest))) / float64(p.Count)
		return measured.Figure{Name: "per Set: " + name, Value: math.Round(10*value) / 10, Asked: asked}
	}
	return []measured.Figure{
		per("stored writes of Redis", 1, func(s spent) int64 { return serverstats.Stored(s.redis) }),
		per("refused script calls", 1, func(s spent) int64 { return serverstats.Scripts(s.redis) - serverstats.Stored(s.redis) }),
		per("all commands, reloads of the processes included", 0, func(s spent) int64 { return s.redis.Total(nil) }),
		per("pushes to all processes", 0, func(s spent) int64 { return s.pushes }),
		per("statements of Postgres", 0, func(s spent) int64 { return s.postgres.Total(nil) }),
		per("reads of options in Postgres", 0, func(s spent) int64 { return s.postgres.Total(serverstats.ReadsNames) }),
		{Name: "a Sync of rows that Redis has: scripts refused", Value: float64(serverstats.Scripts(refused.redis) - serverstats.Stored(refused.redis))},
		{Name: "→ pushes to all processes", Value: float64(refused.pushes), Exact: true},
	}, err
}

// What was spent between two counts.
type spent struct {
	seconds  float64
	redis    serverstats.Counts
	postgres serverstats.Counts
	pushes   int64
}

// counted tells what servers and ps did while do ran, and until its last push
// was followed.
func (w *world) counted(ctx context.Context, ps []*worker.Process, do func() error) (s spent, err error) {
	before, err := w.count(ctx, ps)
	if err != nil {
		return s, err
	}
	if err := do(); err != nil {
		return s, err
	}
	worker.Pause(ctx, 200*time.Millisecond)
	after, err := w.count(ctx, ps)
	if err != nil {
		return s, err
	}
	return spent{
		seconds:  float64(after.at-before.at) / 1e9,
		redis:    after.redis.Since(before.redis),
		postgres: after.postgres.Since(before.postgres),
		pushes:   pushes(after) - pushes(before),
	}, nil
}

func pushes(c count) (n int64) {
	for _, s := range c.workers {
		n += int64(s.Pushes)
	}
	return n
}
