package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/serverstats"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// How long a change takes to a crowd of managers, many in each process, what it
// costs Redis, and what somebody else notices of that.

const crowdOptions = 20

// manyManagers measures with so many managers, each with a connection to Redis
// of its own, at a rate that falls as they get more: each Set costs each of
// them a reload.
func manyManagers(managers int) func(context.Context, *lab) ([]measured.Figure, error) {
	return inWorld(crowdOptions, func(ctx context.Context, w *world) ([]measured.Figure, error) {
		alone, err := w.getLatency(ctx, 2*time.Second, nil)
		if err != nil {
			return nil, err
		}
		per := managers / w.lab.processes
		writer, ps, err := w.crowd(ctx, per)
		if err != nil {
			return nil, err
		}
		resting, err := w.getLatency(ctx, 3*time.Second, nil)
		if err != nil {
			return nil, err
		}
		idle, err := w.countRedis(ctx, time.Duration(w.lab.few(10, 2))*time.Second)
		if err != nil {
			return nil, err
		}
		rate := 1000 / float64(managers)
		b, err := w.bustle(ctx, writer, w.pace(w.lab.few(int(rate*50), 10), rate, crowdOptions), idle)
		if err != nil {
			return nil, err
		}
		d, err := arrived(ctx, ps, b.writes, per)
		if err != nil {
			return nil, err
		}
		figures := arrivalFigures(fmt.Sprintf("%.0f Set/s: ", rate), d, 0, 0)
		figures = append(figures,
			measured.Figure{Name: "commands of Redis per Set", Value: b.commands / float64(len(b.writes))},
			measured.Figure{Name: "commands of Redis at rest, per manager", Unit: "/s", Value: idle / float64(per*w.lab.processes)})
		for _, g := range []struct {
			when string
			took []float64
		}{{"without a fleet", alone}, {"fleet at rest", resting}, {"meanwhile", b.gets}} {
			figures = append(figures,
				measured.Figure{Name: "GET of an unrelated client, " + g.when + ", p50", Unit: "ms", Value: measured.Percentile(g.took, 0.5)},
				measured.Figure{Name: "GET of an unrelated client, " + g.when + ", p99", Unit: "ms", Value: measured.Percentile(g.took, 0.99)})
		}
		return figures, nil
	})
}

// crowd opens a writer, which fills Redis for the others to read, and then
// processes of so many managers.
func (w *world) crowd(ctx context.Context, managers int) (writer *worker.Process, ps []*worker.Process, err error) {
	one, err := w.open(ctx, 1, spec{Options: crowdOptions})
	if err != nil {
		return nil, nil, err
	}
	ps, err = w.open(ctx, w.lab.processes, spec{Options: crowdOptions, Managers: managers, Watch: true, Relay: true})
	if err != nil {
		return nil, nil, err
	}
	_, err = w.settle(ctx, ps)
	return one[0], ps, err
}

// A bustle is what was seen while somebody wrote.
type bustle struct {
	writes   []write
	gets     []float64 // ms, of an unrelated client
	commands float64   // of Redis, less those of the client and of a fleet at rest
}

// bustle lets writer write at a pace. idle is how many commands a second the
// fleet sends at rest.
func (w *world) bustle(ctx context.Context, writer *worker.Process, p pace, idle float64) (b bustle, err error) {
	before, err := serverstats.Redis(w.stats)
	if err != nil {
		return b, err
	}
	start := worker.Now()
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.writes, failed = worker.Call[[]write](ctx, writer, "write", p)
		worker.Pause(ctx, time.Second) // the last is followed
	}()
	b.gets, err = w.getLatency(ctx, time.Hour, ended)
	<-ended
	if err = errors.Join(err, failed); err != nil {
		return b, err
	}
	seconds := float64(worker.Now()-start) / 1e9
	after, err := serverstats.Redis(w.stats)
	b.commands = float64(after.Since(before).Total(nil)-int64(len(b.gets))) - idle*seconds
	return b, err
}

// countRedis returns commands per second over d.
func (w *world) countRedis(ctx context.Context, d time.Duration) (float64, error) {
	before, err := serverstats.Redis(w.stats)
	if err != nil {
		return 0, err
	}
	start := worker.Now()
	worker.Pause(ctx, d)
	after, err := serverstats.Redis(w.stats)
	if err != nil {
		return math.NaN(), err
	}
	return float64(after.Since(before).Total(nil)) / (float64(worker.Now()-start) / 1e9), ctx.Err()
}

// getLatency sends GET by a client of its own, for d or until ended: 200 a
// second, each planned ahead of the answers, and times it from its plan, in ms,
// so that one slow answer is not told by the requests it delays less.
func (w *world) getLatency(ctx context.Context, d time.Duration, ended <-chan struct{}) (all []float64, err error) {
	c, err := serverstats.DialRedis(w.redis.Addr(), redisLimit)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	const every = 5 * time.Millisecond
	for start, i := time.Now(), 0; ; i++ {
		plan := start.Add(time.Duration(i) * every)
		if plan.Sub(start) > d {
			return all, nil
		}
		worker.Pause(ctx, time.Until(plan))
		select {
		case <-ended:
			return all, nil
		case <-ctx.Done():
			return all, ctx.Err()
		default:
		}
		begun := time.Now()
		if _, err := c.Do("GET", "unrelated"); err != nil {
			return all, err
		}
		all = append(all, float64(time.Since(begun))/1e6)
	}
}
