package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/serverstats"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// What a fleet at rest costs the servers, by their own counts, and itself.

// idle measures fleets that differ in the number of options alone, and says how
// much that matters to the servers: it is to matter nothing.
func idle(ctx context.Context, l *lab) ([]measured.Figure, error) {
	sizes := []int{100, 1000, 5000}
	if l.quick {
		sizes = []int{10, 100}
	}
	var figures []measured.Figure
	var perSize [][]measured.Figure
	for _, options := range sizes {
		one, err := inWorld(options, func(ctx context.Context, w *world) ([]measured.Figure, error) { return atRest(ctx, w, options) })(ctx, l)
		if err != nil {
			return nil, err
		}
		figures, perSize = append(figures, one...), append(perSize, one)
	}
	last := len(sizes) - 1
	for i, what := range []string{"commands of Redis", "statements of Postgres"} {
		for fewer := range last {
			figures = append(figures, measured.Figure{
				Name:  fmt.Sprintf("%s: %d options over %d", what, sizes[last], sizes[fewer]),
				Value: perSize[last][i].Value / perSize[fewer][i].Value,
				Asked: 1.1,
			})
		}
	}
	return figures, nil
}

// atRest counts for a minute what a fleet does that nobody uses.
func atRest(ctx context.Context, w *world, options int) ([]measured.Figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{Options: options, Relay: true})
	if err != nil {
		return nil, err
	}
	if _, err := w.settle(ctx, ps); err != nil {
		return nil, err
	}
	worker.Pause(ctx, time.Duration(w.lab.few(15, 1))*time.Second) // the first renewal is over
	before, err := w.count(ctx, ps)
	if err != nil {
		return nil, err
	}
	worker.Pause(ctx, time.Duration(w.lab.few(60, 5))*time.Second)
	after, err := w.count(ctx, ps)
	if err != nil {
		return nil, err
	}
	seconds := float64(after.at-before.at) / 1e9
	commands, statements := after.redis.Since(before.redis), after.postgres.Since(before.postgres)
	w.explain(commands, statements, seconds)
	prefix := fmt.Sprintf("%d options: ", options)
	figures := []measured.Figure{
		{Name: prefix + "commands of Redis", Unit: "/s", Value: float64(commands.Total(nil)) / seconds},
		{Name: prefix + "statements of Postgres", Unit: "/s", Value: float64(statements.Total(nil)) / seconds},
		{Name: prefix + "scripts of Redis (fills, marks)", Unit: "/s", Value: float64(serverstats.Scripts(commands)) / seconds},
		{Name: prefix + "reads of options among them", Unit: "/s", Value: float64(statements.Total(serverstats.ReadsNames)) / seconds},
	}
	return append(figures, ownCosts(prefix, before.workers, after.workers, seconds)...), nil
}

// ownCosts tells what processes at rest cost themselves: the relay, and the
// worst of the others. If the right moved meanwhile, both who had it count as it.
func ownCosts(prefix string, before, after []status, seconds float64) []measured.Figure {
	var all []measured.Figure
	for _, kind := range []struct {
		who   string
		relay bool
	}{{"the relay", true}, {"another process, worst", false}} {
		var cpu, allocs []float64
		for i, b := range before {
			if a := after[i]; (b.Relays+a.Relays > 0) == kind.relay {
				cpu = append(cpu, float64(a.CPU-b.CPU)/1e9/seconds*100)
				allocs = append(allocs, float64(a.Allocs-b.Allocs)/seconds)
			}
		}
		all = append(all,
			measured.Figure{Name: prefix + kind.who + ": processor", Unit: "%", Value: measured.Percentile(cpu, 1), Asked: 0.2},
			measured.Figure{Name: prefix + kind.who + ": allocations", Unit: "/s", Value: measured.Percentile(allocs, 1), Asked: 10})
	}
	return all
}

// A count is what servers and workers say of themselves at one instant.
type count struct {
	at       int64
	redis    serverstats.Counts
	postgres serverstats.Counts
	workers  []status
}

func (w *world) count(ctx context.Context, ps []*worker.Process) (c count, err error) {
	if c.workers, err = worker.Each[status](ctx, ps, "status", nil); err != nil {
		return c, err
	}
	if c.redis, err = serverstats.Redis(w.stats); err != nil {
		return c, err
	}
	if c.postgres, err = serverstats.Postgres(ctx, w.sql); err != nil {
		return c, err
	}
	c.at = worker.Now()
	return c, nil
}

// explain says on the progress channel what makes up the counts.
func (w *world) explain(commands, statements serverstats.Counts, per float64) {
	for _, kind := range []serverstats.Counts{commands, statements} {
		for name, n := range kind {
			w.lab.say("   %8.2f  %.90s", float64(n)/per, strings.Join(strings.Fields(name), " "))
		}
	}
}
