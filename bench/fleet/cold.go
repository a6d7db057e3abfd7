package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/serverstats"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/internal/point"
)

// What it costs Postgres when every process misses one key at once: a row that
// Redis has lost.

const missers = 100 // goroutines of each process

func missOneKey(ctx context.Context, w *world) ([]measured.Figure, error) {
	if err := w.exec(ctx, `INSERT INTO fastopt.options (namespace, name, value)
		VALUES ($1, $2 || '/lost', '7'), ($1, $2 || '/holder-dies', '7')`, namespace, family); err != nil {
		return nil, err
	}
	ps, err := w.open(ctx, w.lab.processes, spec{Options: 20, Relay: true})
	if err != nil {
		return nil, err
	}
	dying, err := w.open(ctx, 1, spec{Options: 20})
	if err != nil {
		return nil, err
	}
	if _, err := w.settle(ctx, ps); err != nil {
		return nil, err
	}
	lost, err := w.miss(ctx, ps, "lost", nil)
	if err != nil {
		return nil, err
	}
	// Who asks first dies 50 ms after Postgres has answered it.
	d := death{Point: string(point.FillSend), After: int64(50 * time.Millisecond)}
	if _, err := worker.Call[any](ctx, dying[0], "die", d); err != nil {
		return nil, err
	}
	orphaned, err := w.miss(ctx, ps, "holder-dies", func(key string, at int64) error {
		err := dying[0].Send("miss", miss{Key: key, Goroutines: 1, At: at - int64(20*time.Millisecond)})
		return err
	})
	if err != nil {
		return nil, err
	}
	return append(lost.figures("all miss a key", 1), orphaned.figures("who asks first dies before it fills", 2)...), nil
}

// A missing is what a key missed by everyone cost.
type missing struct {
	queries  float64
	returned measured.Figure // the last of the goroutines
	had      measured.Figure // the last of the processes
	wrong    float64         // goroutines that got something else than the value
}

func (m missing) figures(what string, queries float64) []measured.Figure {
	m.returned.Name = what + " → the last goroutine has an answer"
	m.had.Name = what + " → the last process has the value"
	return []measured.Figure{
		{Name: what + ": queries of Postgres", Value: m.queries, Asked: queries},
		m.returned,
		{Name: fmt.Sprintf("%s → goroutines, of %d each, that got the default", what, missers), Value: m.wrong},
		m.had,
	}
}

// miss takes a member out of Redis and lets each of ps load it by many
// goroutines at one instant. ahead, if not nil, is told of that instant before.
func (w *world) miss(ctx context.Context, ps []*worker.Process, key string, ahead func(key string, at int64) error) (m missing, err error) {
	gone, err := w.stats.Do("DEL", "fastopt:"+namespace+":"+family+"/"+key)
	if err == nil && gone != "1" {
		err = fmt.Errorf("the relay had not filled %s", key)
	}
	if err != nil {
		return m, err
	}
	before, err := serverstats.Postgres(ctx, w.sql)
	if err != nil {
		return m, err
	}
	start := worker.Now() + int64(50*time.Millisecond)
	if ahead != nil {
		if err := ahead(key, start); err != nil {
			return m, err
		}
	}
	all, err := worker.Each[missed](ctx, ps, "miss", miss{Key: key, Goroutines: missers, At: start})
	if err != nil {
		return m, err
	}
	after, err := serverstats.Postgres(ctx, w.sql)
	if err != nil {
		return m, err
	}
	m.queries = float64(after.Since(before).Total(serverstats.ReadsNames))
	returned, had := int64(0), int64(0)
	for _, one := range all {
		m.wrong += float64(missers - one.Right)
		returned = max(returned, one.Returned)
		if had = max(had, one.Had); one.Had == 0 {
			had = math.MaxInt64
		}
	}
	if had == math.MaxInt64 {
		had = 0 // never
	}
	m.returned, m.had = measured.Since("", start, returned, 0), measured.Since("", start, had, 0)
	return m, nil
}
