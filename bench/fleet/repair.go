package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/internal/point"
)

// How long until all are right again after a process was lost: a writer between
// its commit and its fill, or the relay.

// repairLimit is how long a repair is waited for.
const repairLimit = 30 * time.Second

// orphan kills a writer between commit and fill, then writes what nobody
// announces.
func orphan(ctx context.Context, w *world) ([]measured.Figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{Options: 20, Relay: true})
	if err != nil {
		return nil, err
	}
	writer, err := w.open(ctx, 1, spec{Options: 20})
	if err != nil {
		return nil, err
	}
	leader, err := w.settle(ctx, ps)
	if err != nil {
		return nil, err
	}
	killed, err := w.dieInSet(ctx, writer[0], ps, 1)
	if err != nil {
		return nil, err
	}
	if err := w.exec(ctx, `ALTER TABLE fastopt.namespaces DISABLE TRIGGER a_notify`); err != nil {
		return nil, err
	}
	worker.Pause(ctx, rand.N(time.Second)) // the relay looks by itself once a second
	silent, err := w.sqlUntilRight(ctx, ps, update{2, 2})
	if err != nil {
		return nil, err
	}
	if err := w.exec(ctx, `ALTER TABLE fastopt.namespaces ENABLE TRIGGER a_notify`); err != nil {
		return nil, err
	}
	both, err := w.dieInSet(ctx, leader, without(ps, leader), 3)
	return []measured.Figure{
		named(killed, "writer killed between commit and fill → all right", 2*time.Second),
		named(silent, "commit that nothing announces → all right", 2*time.Second),
		named(both, "writer killed so, which was the relay, too → all right", 2*time.Second),
	}, err
}

// named gives a figure another name, and what is asked.
func named(f measured.Figure, name string, asked time.Duration) measured.Figure {
	f.Name, f.Asked = name, float64(asked)/1e6
	return f
}

// dieInSet lets p set option v to v and die before its fill, and waits until ps
// are right. The time counts from before the Set.
func (w *world) dieInSet(ctx context.Context, p *worker.Process, ps []*worker.Process, v int) (measured.Figure, error) {
	if _, err := worker.Call[any](ctx, p, "die", death{Point: string(point.WriteFill)}); err != nil {
		return measured.Figure{}, err
	}
	start := worker.Now()
	_, err := worker.Call[[]write](ctx, p, "write", pace{First: int64(v), Count: 1, PerSecond: 1, Options: 20})
	if !errors.Is(err, worker.ErrGone) {
		return measured.Figure{}, fmt.Errorf("the writer did not die: %v", err)
	}
	at, wrong, err := rightIn(ctx, ps, wish{Want: []update{{v, int64(v)}}, Limit: int64(repairLimit)})
	w.complain(at, wrong)
	return measured.Since("", start, at, 0), err
}

// sqlUntilRight writes by plain SQL and waits until ps are right.
func (w *world) sqlUntilRight(ctx context.Context, ps []*worker.Process, u update) (measured.Figure, error) {
	if err := w.update(ctx, u); err != nil {
		return measured.Figure{}, err
	}
	start := worker.Now()
	at, wrong, err := rightIn(ctx, ps, wish{Want: []update{u}, Limit: int64(repairLimit)})
	w.complain(at, wrong)
	return measured.Since("", start, at, 0), err
}

func (w *world) complain(at int64, wrong string) {
	if at == 0 {
		w.lab.say("   not right: %s", wrong)
	}
}

func relayKilled(ctx context.Context, w *world) ([]measured.Figure, error) {
	return relayLost(ctx, w, 500*time.Millisecond, func(p *worker.Process) error {
		return p.Signal(syscall.SIGKILL)
	}, nil)
}

func relayFrozen(ctx context.Context, w *world) ([]measured.Figure, error) {
	return relayLost(ctx, w, 2*time.Second, func(p *worker.Process) error {
		return p.Signal(syscall.SIGSTOP)
	}, func(p *worker.Process) error {
		return p.Signal(syscall.SIGCONT)
	})
}

// relayLost loses the relay, makes a change nobody else carries, and gives the
// relay back, if it can.
func relayLost(ctx context.Context, w *world, asked time.Duration, lose, giveBack func(*worker.Process) error) ([]measured.Figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{Options: 20, Relay: true})
	if err != nil {
		return nil, err
	}
	leader, err := w.settle(ctx, ps)
	if err != nil {
		return nil, err
	}
	others := without(ps, leader)
	start := worker.Now()
	if err := lose(leader); err != nil {
		return nil, err
	}
	if err := w.update(ctx, update{1, 1}); err != nil {
		return nil, err
	}
	_, at, err := w.leader(ctx, others, repairLimit)
	if err != nil {
		return nil, err
	}
	right, wrong, err := rightIn(ctx, others, wish{Want: []update{{1, 1}}, Limit: int64(repairLimit)})
	if err != nil {
		return nil, err
	}
	w.complain(right, wrong)
	figures := []measured.Figure{
		measured.Since("→ another leads", start, at, asked),
		measured.Since("→ a plain UPDATE made meanwhile is everywhere", start, right, 0),
	}
	if giveBack == nil {
		return figures, nil
	}
	start = worker.Now()
	if err := giveBack(leader); err != nil {
		return nil, err
	}
	right, wrong, err = rightIn(ctx, []*worker.Process{leader}, wish{Want: []update{{1, 1}}, Limit: int64(repairLimit), Whole: true})
	w.complain(right, wrong)
	return append(figures, measured.Since("thawed → it is right, too", start, right, 0)), err
}
