package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
)

// How long until all are right again after a process was lost: a writer between
// its commit and its fill, or the relay.

// repairLimit is how long a repair is waited for.
const repairLimit = 30 * time.Second

// orphan kills a writer between commit and fill, then writes what nobody
// announces.
func orphan(ctx context.Context, w *world) ([]figure, error) {
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
	pause(ctx, rand.N(time.Second)) // the relay looks by itself once a second
	silent, err := w.sqlUntilRight(ctx, ps, update{2, 2})
	if err != nil {
		return nil, err
	}
	if err := w.exec(ctx, `ALTER TABLE fastopt.namespaces ENABLE TRIGGER a_notify`); err != nil {
		return nil, err
	}
	both, err := w.dieInSet(ctx, leader, without(ps, leader), 3)
	return []figure{
		named(killed, "writer killed between commit and fill → all right", 2*time.Second),
		named(silent, "commit that nothing announces → all right", 2*time.Second),
		named(both, "writer killed so, which was the relay, too → all right", 2*time.Second),
	}, err
}

// named gives a figure another name, and what is asked.
func named(f figure, name string, asked time.Duration) figure {
	f.name, f.asked = name, float64(asked)/1e6
	return f
}

// dieInSet lets p set option v to v and die before its fill, and waits until ps
// are right. The time counts from before the Set.
func (w *world) dieInSet(ctx context.Context, p *process, ps []*process, v int) (figure, error) {
	if _, err := call[any](ctx, p, "die", death{Point: string(point.WriteFill)}); err != nil {
		return figure{}, err
	}
	start := now()
	_, err := call[[]write](ctx, p, "write", pace{First: int64(v), Count: 1, PerSecond: 1, Options: 20})
	if !errors.Is(err, errGone) {
		return figure{}, fmt.Errorf("the writer did not die: %v", err)
	}
	at, wrong, err := rightIn(ctx, ps, wish{Want: []update{{v, int64(v)}}, Limit: int64(repairLimit)})
	w.complain(at, wrong)
	return since("", start, at, 0), err
}

// sqlUntilRight writes by plain SQL and waits until ps are right.
func (w *world) sqlUntilRight(ctx context.Context, ps []*process, u update) (figure, error) {
	if err := w.update(ctx, u); err != nil {
		return figure{}, err
	}
	start := now()
	at, wrong, err := rightIn(ctx, ps, wish{Want: []update{u}, Limit: int64(repairLimit)})
	w.complain(at, wrong)
	return since("", start, at, 0), err
}

func (w *world) complain(at int64, wrong string) {
	if at == 0 {
		w.lab.say("   not right: %s", wrong)
	}
}

func relayKilled(ctx context.Context, w *world) ([]figure, error) {
	return relayLost(ctx, w, 500*time.Millisecond, func(p *process) error {
		return p.signal(syscall.SIGKILL)
	}, nil)
}

func relayFrozen(ctx context.Context, w *world) ([]figure, error) {
	return relayLost(ctx, w, 2*time.Second, func(p *process) error {
		return p.signal(syscall.SIGSTOP)
	}, func(p *process) error {
		return p.signal(syscall.SIGCONT)
	})
}

// relayLost loses the relay, makes a change nobody else carries, and gives the
// relay back, if it can.
func relayLost(ctx context.Context, w *world, asked time.Duration, lose, giveBack func(*process) error) ([]figure, error) {
	ps, err := w.open(ctx, w.lab.processes, spec{Options: 20, Relay: true})
	if err != nil {
		return nil, err
	}
	leader, err := w.settle(ctx, ps)
	if err != nil {
		return nil, err
	}
	others := without(ps, leader)
	start := now()
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
	figures := []figure{
		since("→ another leads", start, at, asked),
		since("→ a plain UPDATE made meanwhile is everywhere", start, right, 0),
	}
	if giveBack == nil {
		return figures, nil
	}
	start = now()
	if err := giveBack(leader); err != nil {
		return nil, err
	}
	right, wrong, err = rightIn(ctx, []*process{leader}, wish{Want: []update{{1, 1}}, Limit: int64(repairLimit), Whole: true})
	w.complain(right, wrong)
	return append(figures, since("thawed → it is right, too", start, right, 0)), err
}
