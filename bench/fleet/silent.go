package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// How long until the silence of Redis is noticed, and until all is right after it.

// silentRedis freezes Redis, then cuts the line to it.
func silentRedis(ctx context.Context, w *world) ([]measured.Figure, error) {
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
	return []measured.Figure{
		named(frozen[0], "Redis frozen → all know that pushes are lost", time.Second),
		named(frozen[1], "Redis thawed → all whole", 2*time.Second),
		named(hole[0], "black hole → all know that pushes are lost", time.Second),
		named(hole[1], "black hole gone → all whole", 2*time.Second),
	}, err
}

// untilNoticed silences Redis until all of ps know, then ends it.
func (w *world) untilNoticed(ctx context.Context, ps []*worker.Process, silence, end func() error) ([2]measured.Figure, error) {
	var f [2]measured.Figure
	if _, err := w.settle(ctx, ps); err != nil {
		return f, err
	}
	start := worker.Now()
	if err := silence(); err != nil {
		return f, err
	}
	var noticed int64
	for limit := worker.Now() + int64(repairLimit); worker.Now() < limit && noticed == 0; worker.Pause(ctx, poll) {
		all, err := worker.Each[status](ctx, ps, "status", nil)
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
	f[0] = measured.Since("", start, noticed, 0)
	worker.Pause(ctx, time.Second)
	start = worker.Now()
	if err := end(); err != nil {
		return f, err
	}
	at, wrong, err := rightIn(ctx, ps, wish{Limit: int64(repairLimit), Whole: true})
	w.complain(at, wrong)
	f[1] = measured.Since("", start, at, 0)
	return f, err
}
