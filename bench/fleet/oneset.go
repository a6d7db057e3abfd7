package main

import (
	"context"
	"math"
	"time"
)

// What one Set costs the servers, and that a fill they refuse costs nobody else
// anything.

// oneSetOptions is small, so that the relay's sweep, which comes now and then and
// offers each of them, hides in what is rounded off.
const oneSetOptions = 2

// oneSet counts what some Sets cost, less what the fleet does at rest, to a tenth.
func oneSet(ctx context.Context, w *world) ([]figure, error) {
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
		pause(ctx, time.Duration(float64(p.Count)/p.PerSecond*1e9))
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	busy, err := w.counted(ctx, all, func() error {
		_, err := call[[]write](ctx, writer[0], "write", p)
		return err
	})
	if err != nil {
		return nil, err
	}
	refused, err := w.counted(ctx, all, func() error { // offers all rows, which Redis has
		_, err := call[any](ctx, writer[0], "sync", nil)
		return err
	})
	w.explain(busy.redis, busy.postgres, float64(p.Count))
	share := busy.seconds / rest.seconds
	per := func(name string, asked float64, of func(spent) int64) figure {
		value := (float64(of(busy)) - share*float64(of(rest))) / float64(p.Count)
		return figure{name: "per Set: " + name, value: math.Round(10*value) / 10, asked: asked}
	}
	return []figure{
		per("stored writes of Redis", 1, func(s spent) int64 { return stored(s.redis) }),
		per("refused script calls", 1, func(s spent) int64 { return scripts(s.redis) - stored(s.redis) }),
		per("all commands, reloads of the processes included", 0, func(s spent) int64 { return s.redis.total(nil) }),
		per("pushes to all processes", 0, func(s spent) int64 { return s.pushes }),
		per("statements of Postgres", 0, func(s spent) int64 { return s.postgres.total(nil) }),
		per("reads of options in Postgres", 0, func(s spent) int64 { return s.postgres.total(readsNames) }),
		{name: "a Sync of rows that Redis has: scripts refused", value: float64(scripts(refused.redis) - stored(refused.redis))},
		{name: "→ pushes to all processes", value: float64(refused.pushes), exact: true},
	}, err
}

// What was spent between two counts.
type spent struct {
	seconds  float64
	redis    counts
	postgres counts
	pushes   int64
}

// counted tells what servers and ps did while do ran, and until its last push
// was followed.
func (w *world) counted(ctx context.Context, ps []*process, do func() error) (s spent, err error) {
	before, err := w.count(ctx, ps)
	if err != nil {
		return s, err
	}
	if err := do(); err != nil {
		return s, err
	}
	pause(ctx, 200*time.Millisecond)
	after, err := w.count(ctx, ps)
	if err != nil {
		return s, err
	}
	return spent{
		seconds:  float64(after.at-before.at) / 1e9,
		redis:    after.redis.since(before.redis),
		postgres: after.postgres.since(before.postgres),
		pushes:   pushes(after) - pushes(before),
	}, nil
}

func pushes(c count) (n int64) {
	for _, s := range c.workers {
		n += int64(s.Pushes)
	}
	return n
}
