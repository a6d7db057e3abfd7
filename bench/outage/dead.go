package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// Both tiers are dead for longer than values may live: when does each end, and
// what does a process do that slept through it?

// Short lives, so that a row sees their end. A TTL must exceed what an answer
// may be under way.
const (
	shortTTL   = time.Second
	shortGrace = 3 * time.Second
	forever    = 20 // of the options
)

var shortLives = spec{TTL: int64(shortTTL), Grace: int64(shortGrace), Forever: forever}

var bothKilled = fault{
	begin: func(_ context.Context, w *world) error { return errors.Join(w.redis.Kill(), w.pg.Kill()) },
	bites: func(ctx context.Context, w *world) error {
		return errors.Join(redisSilent(ctx, w), postgresSilent(ctx, w))
	},
	end: func(ctx context.Context, w *world) error {
		return errors.Join(w.redis.Restart(ctx), restartPostgres(ctx, w))
	},
}

// bothDead kills both tiers, waits until values have ended, and restarts them.
func bothDead(ctx context.Context, l *lab) ([][]measured.Figure, error) {
	return inWorld(faultOptions, func(ctx context.Context, w *world) ([][]measured.Figure, error) {
		f := bothKilled
		if err := w.ready(ctx, shortLives, f); err != nil {
			return nil, err
		}
		before, err := w.passage(ctx, healthyLasts, 1, nil)
		if err != nil {
			return nil, err
		}
		f.redis, f.postgres = true, true
		lasts := shortTTL + shortGrace + 4*time.Second
		endings := make(chan []ending, 1)
		var failed error
		go func() {
			var all []ending
			all, failed = worker.Each[ending](ctx, w.workers, "end", int64(lasts))
			endings <- all
		}()
		meanwhile, err := w.passage(ctx, lasts, w.lab.slices, &f)
		all := <-endings
		if err = errors.Join(err, failed); err != nil {
			return nil, err
		}
		figures := meanwhile.reads()
		figures[0] = append(figures[0], meanwhile.figures(w, f, before)...)
		figures[0] = append(figures[0], endingFigures(all)...)
		back, err := w.comeBack(ctx, f, meanwhile)
		figures[0] = append(figures[0], back...)
		return figures, err
	})(ctx, l)
}

// comeBack is afterwards, and what Postgres, restarted, was sent meanwhile.
func (w *world) comeBack(ctx context.Context, f fault, p passage) ([]measured.Figure, error) {
	figures, err := w.afterwards(ctx, f, p)
	if err != nil {
		return figures, err
	}
	// Its statistics are of this life: a crash has emptied them.
	since := time.Second
	worker.Pause(ctx, since)
	a, err := w.asked(ctx)
	return append(figures, measured.Figure{
		Name: "reads of options that Postgres was sent within a second of all being right", Value: float64(a.queries), Asked: w.bucket(since.Seconds()),
	}), err
}

// endingFigures say when values whose tiers had died gave way to defaults.
func endingFigures(all []ending) []measured.Figure {
	late, lag, early, inspected, kept, ended := int64(0), int64(0), 0, 0, forever, faultOptions-forever
	for _, e := range all {
		late, lag = max(late, e.Late), max(lag, e.Lag)
		early, inspected = early+e.Early, inspected+e.Inspected
		kept, ended = min(kept, e.Kept), min(ended, e.Defaults)
	}
	return []measured.Figure{
		{Name: "`Get` gave a value beyond its TTL + grace, at most for", Unit: "ms", Value: ms(late), Asked: 50 + ms(lag)},
		{Name: "options that read the default too early", Value: float64(early), Exact: true},
		{Name: "times `Inspect` gave a value beyond its TTL + grace", Value: float64(inspected), Exact: true},
		{Name: fmt.Sprintf("options, of %d, that did not end", faultOptions-forever), Value: float64(faultOptions - forever - ended), Exact: true},
		{Name: fmt.Sprintf("options with `Forever`, of %d, that lost their value", forever), Value: float64(forever - kept), Exact: true},
	}
}

// frozen stops a process while both tiers vanish, until all its values have
// ended, and lets it go on.
func frozen(ctx context.Context, l *lab) ([][]measured.Figure, error) {
	return inWorld(faultOptions, func(ctx context.Context, w *world) ([][]measured.Figure, error) {
		if err := w.ready(ctx, shortLives, fault{}); err != nil {
			return nil, err
		}
		p, err := w.passage(ctx, healthyLasts, 1, nil)
		if err != nil {
			return nil, err
		}
		sleeper := w.workers[1]
		const lasts = 3*shortGrace + 3*time.Second
		watched := make(chan error, 1)
		var seen ending
		go func() {
			var err error
			seen, err = worker.Call[ending](ctx, sleeper, "end", int64(lasts))
			watched <- err
		}()
		worker.Pause(ctx, lead)
		w.toRedis.Drop()
		w.toPostgres.Drop()
		woken, err := w.sleep(ctx, sleeper, 3*shortGrace)
		if err = errors.Join(err, <-watched); err != nil {
			return nil, err
		}
		if seen.Woke == 0 {
			return nil, fmt.Errorf("%w: the process did not stand still", errNoBite)
		}
		figures := wakingFigures(woken, seen)
		f := fault{end: func(context.Context, *world) error { return errors.Join(w.toRedis.heal(), w.toPostgres.heal()) }}
		back, err := w.afterwards(ctx, f, p)
		for i := range back {
			if back[i].Name == expirerName {
				back[i].Name, back[i].Asked = back[i].Name+" (the standstill counts)", 0
			}
		}
		return [][]measured.Figure{append(figures, back...)}, err
	})(ctx, l)
}

// sleep stops a worker for so long, and tells when it was let go on.
func (w *world) sleep(ctx context.Context, p *worker.Process, d time.Duration) (woken int64, err error) {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return 0, err
	}
	worker.Pause(ctx, d)
	return worker.Now(), p.Signal(syscall.SIGCONT)
}

// wakingFigures say what a process did that slept through the end of its values.
func wakingFigures(woken int64, e ending) []measured.Figure {
	old, ran := 0.0, math.Inf(1)
	if e.Old >= woken {
		old = ms(e.Old - woken)
	}
	if e.Ran != 0 {
		ran = ms(e.Ran - woken)
	}
	return []measured.Figure{
		{Name: "SIGCONT → the process runs", Unit: "ms", Value: ms(e.Woke - woken)},
		{Name: "SIGCONT → its timers ran", Unit: "ms", Value: ran},
		{Name: "SIGCONT → `Get` gave an old value for the last time", Unit: "ms", Value: old, Asked: 50 + ran},
		{Name: "times `Inspect` gave a value beyond its TTL + grace", Value: float64(e.Inspected), Exact: true},
		{Name: fmt.Sprintf("options, of %d, that did not end", faultOptions-forever), Value: float64(faultOptions - forever - e.Defaults), Exact: true},
		{Name: fmt.Sprintf("options with `Forever`, of %d, that lost their value", forever), Value: float64(forever - e.Kept), Exact: true},
	}
}
