package main

import (
	"context"
	"errors"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// What a fleet under load does to its stores: all of its options end at once, or
// it goes on asking as before.

const (
	stormOptions = 1000
	stormTTL     = 2 * time.Second
)

// storm kills Redis, so that each process has to ask Postgres for all options in
// every TTL.
func storm(ctx context.Context, l *lab) ([][]measured.Figure, error) {
	return inWorld(stormOptions, func(ctx context.Context, w *world) ([][]measured.Figure, error) {
		f := redisKilled
		if err := w.ready(ctx, spec{TTL: int64(stormTTL), Grace: int64(time.Minute)}, f); err != nil {
			return nil, err
		}
		before, err := w.passage(ctx, healthyLasts, 1, nil)
		if err != nil {
			return nil, err
		}
		meanwhile, err := w.passage(ctx, w.lab.lasts, w.lab.slices, &f)
		if err != nil {
			return nil, err
		}
		figures := meanwhile.reads()
		figures[0] = append(figures[0], meanwhile.figures(w, f, before)...)
		for i, g := range figures[0] {
			if g.Name == sessionsName {
				figures[0][i].Asked = 4
			}
		}
		back, err := w.afterwards(ctx, f, meanwhile)
		figures[0] = append(figures[0], back...)
		return figures, err
	})(ctx, l)
}

// Nominal is what a worker is asked for in ordinary times, by a row that doubles it.
const (
	nominal    = 250.0 // Loads a second
	members    = 500   // of the family
	loadTTL    = 2 * time.Second
	inOrder    = 5 * time.Second // before the fault
	comingBack = 10 * time.Second
)

// twiceTheLoad offers a load that does not wait, kills Redis, brings it back
// empty, and compares what was answered before, meanwhile and afterwards.
func twiceTheLoad(ctx context.Context, l *lab) ([][]measured.Figure, error) {
	return inWorld(faultOptions, func(ctx context.Context, w *world) ([][]measured.Figure, error) {
		if err := w.exec(ctx, `INSERT INTO fastopt.options (namespace, name, value)
			SELECT $1, 'member/m' || i, '7' FROM generate_series(0, $2::int - 1) i`, namespace, members); err != nil {
			return nil, err
		}
		if err := w.ready(ctx, spec{TTL: int64(loadTTL), Grace: int64(time.Minute)}, fault{}); err != nil {
			return nil, err
		}
		lasts := w.lab.lasts
		a := offer{PerSecond: 2 * nominal, Members: members, Lasts: int64(inOrder + lasts + comingBack)}
		answered := make(chan error, 1)
		var bins [][]bin
		go func() {
			var err error
			bins, err = worker.Each[[]bin](ctx, w.workers, "offer", a)
			answered <- err
		}()
		died, back, reads, err := w.loseRedis(ctx, inOrder, lasts)
		if err = errors.Join(err, <-answered); err != nil {
			return nil, err
		}
		return [][]measured.Figure{append(goodput(bins, died, back), measured.Figure{
			Name: "reads of options that Postgres was sent while Redis was dead", Value: float64(reads.queries), Asked: w.bucket(float64(back-died) / 1e9),
		})}, nil
	})(ctx, l)
}

// loseRedis kills Redis after a while, and restarts it, empty, after lasts. It
// tells when, and what Postgres was asked meanwhile.
func (w *world) loseRedis(ctx context.Context, after, lasts time.Duration) (died, back int64, a asked, err error) {
	worker.Pause(ctx, after)
	before, err := w.asked(ctx)
	if err != nil {
		return 0, 0, a, err
	}
	died = worker.Now()
	if err := redisKilled.begin(ctx, w); err != nil {
		return 0, 0, a, err
	}
	if err := redisKilled.bites(ctx, w); err != nil {
		return 0, 0, a, err
	}
	worker.Pause(ctx, lasts)
	meanwhile, err := w.asked(ctx)
	a = asked{meanwhile.queries - before.queries, meanwhile.names - before.names}
	err = errors.Join(err, redisKilled.end(ctx, w))
	return died, worker.Now(), a, err
}

// goodput compares the share of Loads that were answered well before the fault,
// during it, and after it, and tells since when that is what it was before.
func goodput(workers [][]bin, died, back int64) []measured.Figure {
	share := func(from, to int64) float64 {
		due, good := 0, 0
		for _, bins := range workers {
			for _, b := range bins {
				if b.At >= from && b.At+int64(binEvery) <= to {
					due, good = due+b.Due, good+b.Good
				}
			}
		}
		return 100 * float64(good) / float64(max(due, 1))
	}
	end := back + int64(comingBack) - int64(time.Second)
	before := share(died-int64(3*time.Second), died)
	right := int64(0) // the beginning of the first second from which on all is as before
	for at := end - int64(time.Second); at >= back; at -= int64(binEvery) {
		if share(at, at+int64(time.Second)) < 0.99*before {
			break
		}
		right = at
	}
	lost := measured.Figure{Name: "answered well: lost against before, last seconds", Unit: "%", Value: before - share(end-int64(3*time.Second), end), Asked: 1}
	return []measured.Figure{
		{Name: "answered well, fresh ≤ 300 ms after it was due: before", Unit: "%", Value: before},
		{Name: "answered well: while Redis is dead", Unit: "%", Value: share(died, back)},
		lost,
		measured.Since("Redis is back → 99 % of what was answered before", back, right, 2*time.Second),
	}
}
