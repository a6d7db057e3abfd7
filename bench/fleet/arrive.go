package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// How long a change takes to everyone: writes at a pace, watchers that wait in
// Watch, and instants of one clock. Options are written in turn, so that each
// rests for more than the 100 ms in which the library follows one push.

const (
	arriveOptions = 100
	readLimit     = 10 * time.Second // for the last write to arrive
)

func setToOthers(ctx context.Context, l *lab) ([]measured.Figure, error) {
	return inWorld(arriveOptions, func(ctx context.Context, w *world) ([]measured.Figure, error) {
		var figures []measured.Figure
		for _, rate := range []float64{100, 200} {
			d, took, err := w.arrive(ctx, l.few(5000, 200), rate)
			if err != nil {
				return nil, err
			}
			figures = append(figures, arrivalFigures(fmt.Sprintf("%.0f Set/s: ", rate), d, 5, 1000)...)
			figures = append(figures, measured.Figure{Name: fmt.Sprintf("%.0f Set/s: Set itself, p50", rate), Unit: "ms", Value: measured.Percentile(took, 0.5)})
		}
		return figures, nil
	})(ctx, l)
}

// arrive opens a fleet, lets one more process write, and gives delays and how
// long each Set took, ms.
func (w *world) arrive(ctx context.Context, count int, rate float64) (d delays, took []float64, err error) {
	ps, writer, err := w.watchers(ctx)
	if err != nil {
		return d, nil, err
	}
	defer w.dismiss()
	p := w.pace(count, rate, arriveOptions)
	writes, err := worker.Call[[]write](ctx, writer, "write", p)
	if err != nil {
		return d, nil, err
	}
	for _, x := range writes {
		took = append(took, float64(x.Acked-x.Begun)/1e6)
	}
	d, err = arrived(ctx, ps, writes, 1)
	return d, took, err
}

// pace goes on with the values after those of the one before: Redis may still
// hold these when another fleet begins.
func (w *world) pace(count int, perSecond float64, options int) pace {
	p := pace{First: w.wrote + 1, Count: count, PerSecond: perSecond, Options: options}
	w.wrote += int64(count)
	return p
}

// watchers opens a fleet that watches, and a process beside it that writes.
func (w *world) watchers(ctx context.Context) (ps []*worker.Process, writer *worker.Process, err error) {
	if ps, err = w.open(ctx, w.lab.processes, spec{Options: arriveOptions, Watch: true, Relay: true}); err != nil {
		return nil, nil, err
	}
	one, err := w.open(ctx, 1, spec{Options: arriveOptions})
	if err != nil {
		return nil, nil, err
	}
	_, err = w.settle(ctx, ps)
	return ps, one[0], err
}

// dismiss ends all workers, so that the next ones are undisturbed.
func (w *world) dismiss() {
	w.mu.Lock()
	workers := w.workers
	w.workers = nil
	w.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range workers {
		all.Go(p.Stop)
	}
	all.Wait()
}

// arrived waits for the last values, and gives what became of all writes.
func arrived(ctx context.Context, ps []*worker.Process, writes []write, managers int) (delays, error) {
	if _, _, err := rightIn(ctx, ps, wish{Want: lastOf(writes), Limit: int64(readLimit)}); err != nil {
		return delays{}, err // what did not arrive is counted
	}
	seen, err := worker.Each[[]arrival](ctx, ps, "arrivals", nil)
	if err != nil {
		return delays{}, err
	}
	return delaysOf(writes, seen, managers), nil
}

// lastOf returns the newest update of each option.
func lastOf(writes []write) (last []update) {
	at := map[int]int{}
	for _, w := range writes {
		if i, ok := at[w.Option]; ok {
			last[i] = w.update
			continue
		}
		at[w.Option] = len(last)
		last = append(last, w.update)
	}
	return last
}

func arrivalFigures(prefix string, d delays, p99, most float64) []measured.Figure {
	ms := func(name string, values []float64, p, asked float64) measured.Figure {
		return measured.Figure{Name: prefix + name, Unit: "ms", Value: measured.Percentile(values, p), Asked: asked}
	}
	return []measured.Figure{
		ms("acknowledged → in each, p50", d.each, 0.50, 0),
		ms("acknowledged → in each, p99", d.each, 0.99, p99),
		ms("acknowledged → in each, max", d.each, 1, most),
		ms("acknowledged → in the last, p50", d.last, 0.50, 0),
		ms("begun → in each, p50", d.begun, 0.50, 0),
		ms("begun → in each, p99", d.begun, 0.99, 0),
		{Name: prefix + "writes that somebody never had", Value: float64(d.lost), Exact: true},
		{Name: prefix + "writes that Redis did not take in time", Value: float64(d.uncached)},
	}
}

func sqlToOthers(ctx context.Context, l *lab) ([]measured.Figure, error) {
	return inWorld(arriveOptions, func(ctx context.Context, w *world) ([]measured.Figure, error) {
		var figures []measured.Figure
		for _, rate := range []float64{100, 200} {
			ps, _, err := w.watchers(ctx)
			if err != nil {
				return nil, err
			}
			writes, err := w.updates(ctx, w.pace(l.few(5000, 200), rate, arriveOptions))
			if err != nil {
				return nil, err
			}
			d, err := arrived(ctx, ps, writes, 1)
			if err != nil {
				return nil, err
			}
			w.dismiss()
			figures = append(figures, arrivalFigures(fmt.Sprintf("%.0f UPDATE/s: ", rate), d, 10, 0)...)
		}
		return figures, nil
	})(ctx, l)
}

// updates writes by plain SQL at a pace.
func (w *world) updates(ctx context.Context, p pace) (writes []write, err error) {
	start := time.Now()
	for i := range p.Count {
		worker.Pause(ctx, time.Until(start.Add(time.Duration(float64(i)/p.PerSecond*1e9))))
		x := write{update: p.update(i), Begun: worker.Now()}
		if err := w.update(ctx, x.update); err != nil {
			return writes, err
		}
		x.Acked = worker.Now()
		writes = append(writes, x)
	}
	return writes, nil
}
