package main

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// How long until the silence of Redis is noticed, and until all is right after it.

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
