package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// The course of most rows: a healthy window, the same window with a fault in it,
// and how long until all is right again.

const (
	faultOptions = 100 // a multiple of perTurn
	healthyLasts = 5 * time.Second
	setEvery     = time.Second
)

// through measures one fault on a fleet with the library's own times and budgets.
func through(f fault) func(context.Context, *lab) ([][]measured.Figure, error) {
	return inWorld(faultOptions, func(ctx context.Context, w *world) ([][]measured.Figure, error) {
		if err := w.ready(ctx, spec{}, f); err != nil {
			return nil, err
		}
		before, err := w.passage(ctx, healthyLasts, 1, nil)
		if err != nil {
			return nil, err
		}
		lasts := f.lasts
		if lasts == 0 {
			lasts = w.lab.lasts
		}
		if w.lab.short {
			lasts = min(lasts, 15*time.Second)
		}
		meanwhile, err := w.passage(ctx, lasts, w.lab.slices, &f)
		if err != nil {
			return nil, err
		}
		figures := meanwhile.reads()
		figures[0] = append(figures[0], meanwhile.figures(w, f, before)...)
		back, err := w.afterwards(ctx, f, meanwhile)
		figures[0] = append(figures[0], back...)
		return figures, err
	})
}

// ready opens a fleet in whose world f can happen.
func (w *world) ready(ctx context.Context, s spec, f fault) error {
	if err := w.open(ctx, s); err != nil {
		return err
	}
	if f.prepare != nil {
		if err := f.prepare(ctx, w); err != nil {
			return err
		}
	}
	return w.settle(ctx)
}

// A passage is a window as the whole world saw it.
type passage struct {
	seconds   float64
	seen      []observation // by worker
	redis, pg float64       // requests a second
	asked     asked         // where Postgres lived
	lived     bool
	sessions  [2]int   // of a process at Postgres, at most: all, and those that read options
	struck    []set    // made right after the fault began
	logged    []int    // lines by worker, until the window ended
	ended     int64    // of a brief fault: when all was right again, 0: not
	wrong     string   // … and what was not
	answered  int64    // of a brief fault: when the tier answered
	stats     []status // by worker, before
}

// struck is the option that is set right after a fault began.
const struck = 3

// lead is how long a window runs before its fault begins, so that it sees that.
const lead = 300 * time.Millisecond

// passage lets all workers observe, and the fault begin meanwhile; nil: none.
func (w *world) passage(ctx context.Context, lasts time.Duration, slices int, f *fault) (p passage, err error) {
	if p.stats, err = worker.Each[status](ctx, w.workers, "status", nil); err != nil {
		return p, err
	}
	p.lived = w.standby == nil && (f == nil || !f.postgres)
	var counting *sessions
	var before asked
	if p.lived {
		if counting, err = w.countSessions(ctx); err != nil {
			return p, err
		}
		if before, err = w.asked(ctx); err != nil {
			return p, err
		}
	}
	redis, pg, start := w.toRedis.requests(), w.toPostgres.requests(), worker.Now()
	observed := make(chan error, 1)
	go func() {
		var err error
		p.seen, err = w.observe(ctx, lasts, slices)
		observed <- err
	}()
	if f != nil {
		err = w.strike(ctx, f, &p)
	}
	if err = errors.Join(err, <-observed); err != nil {
		return p, err
	}
	p.seconds = float64(worker.Now()-start) / 1e9
	p.redis, p.pg = float64(w.toRedis.requests()-redis)/p.seconds, float64(w.toPostgres.requests()-pg)/p.seconds
	now, err := worker.Each[status](ctx, w.workers, "status", nil)
	if err != nil {
		return p, err
	}
	for i, s := range now {
		p.logged = append(p.logged, s.Lines-p.stats[i].Lines)
	}
	if !p.lived {
		return p, nil
	}
	after, err := w.asked(ctx)
	p.asked = asked{after.queries - before.queries, after.names - before.names}
	var failed error
	p.sessions[0], p.sessions[1], failed = counting.greatest()
	return p, errors.Join(err, failed)
}

// strike lets the fault begin and sees that it bites. A brief one is over then.
func (w *world) strike(ctx context.Context, f *fault, p *passage) error {
	worker.Pause(ctx, lead)
	if err := f.begin(ctx, w); err != nil {
		return err
	}
	p.answered = worker.Now()
	if !f.brief {
		// Connections that the fault has left to the process take this one.
		w.wrote++
		s, err := worker.Call[set](ctx, w.workers[1], "set", change{struck, w.wrote})
		p.struck = append(p.struck, s)
		return errors.Join(err, f.bites(ctx, w))
	}
	err := f.bites(ctx, w)
	if err != nil {
		return err
	}
	p.ended, p.wrong, err = w.right(ctx)
	return err
}

// observe lets each worker observe; the first one writes, too.
func (w *world) observe(ctx context.Context, lasts time.Duration, slices int) ([]observation, error) {
	a := window{Lasts: int64(lasts), Slices: slices}
	writes := a
	writes.Sets = setting{First: w.wrote + 1, Every: int64(setEvery)}
	w.wrote += int64(lasts/setEvery) + 1
	type one struct {
		seen observation
		err  error
	}
	written := make(chan one, 1)
	go func() {
		seen, err := worker.Call[observation](ctx, w.workers[0], "observe", writes)
		written <- one{seen, err}
	}()
	others, err := worker.Each[observation](ctx, w.workers[1:], "observe", a)
	first := <-written
	return append([]observation{first.seen}, others...), errors.Join(first.err, err)
}

// afterwards ends the fault and tells how long all took to be right, what
// became of the writes, and what the workers have to say.
func (w *world) afterwards(ctx context.Context, f fault, p passage) ([]measured.Figure, error) {
	if !f.brief {
		if err := f.end(ctx, w); err != nil {
			return nil, err
		}
		p.answered = worker.Now()
		var err error
		if p.ended, p.wrong, err = w.right(ctx); err != nil {
			return nil, err
		}
	}
	if p.ended == 0 {
		w.lab.say("   not right: %s", p.wrong)
	}
	figures := []measured.Figure{
		measured.Since("it answers again → all right, fresh, Ready, a plain UPDATE and a Set arrived", p.answered, p.ended, 2*time.Second),
	}
	truth, err := w.truth(ctx, p)
	if err != nil {
		return nil, err
	}
	told, err := w.told(ctx, f, p)
	return append(append(figures, truth...), told...), err
}

// truth tells whether a Set that was refused has left a trace.
func (w *world) truth(ctx context.Context, p passage) ([]measured.Figure, error) {
	rows, err := w.rows(ctx)
	if err != nil {
		return nil, err
	}
	traces := 0
	for _, s := range p.sets() {
		if s.Class == unavailable && rows[s.Option] == s.Value {
			traces++
		}
	}
	return []measured.Figure{{Name: "refused Sets that Postgres has nevertheless", Value: float64(traces), Exact: true}}, nil
}

// told compares what workers logged and counted with before the fault.
func (w *world) told(ctx context.Context, f fault, p passage) ([]measured.Figure, error) {
	after, err := worker.Each[status](ctx, w.workers, "status", nil)
	if err != nil {
		return nil, err
	}
	logged, last, lag, timers := 0, []string(nil), time.Duration(0), int64(0)
	for i, s := range after {
		if n := s.Lines - p.stats[i].Lines; n > logged {
			logged, last = n, s.Last
		}
		lag, timers = max(lag, s.Stats.ExpirerWorst), max(timers, p.seen[i].Lag)
	}
	w.lab.say("   whoever logged most, at last: %q", last)
	figures := []measured.Figure{
		{Name: "log lines of a process", Value: float64(slices.Max(p.logged))},
		{Name: "… recovery included", Value: float64(logged)},
		{Name: expirerName, Unit: "ms", Value: ms(int64(lag)), Asked: 50 + ms(timers)},
	}
	if f.redis && f.postgres {
		figures[0].Asked = 10
	}
	return figures, nil
}

const expirerName = "lag of the expirer, worst"

// right waits until all workers read what Postgres has, and are whole, a plain
// UPDATE and a Set made now included; at 0: they did not.
func (w *world) right(ctx context.Context) (at int64, wrong string, err error) {
	begun := worker.Now()
	limit := begun + int64(recoveryLimit)
	w.wrote++
	if err := w.retry(ctx, limit, func() error { return w.update(ctx, 1, w.wrote) }); err != nil {
		return 0, "", err
	}
	updated, refused := worker.Now(), error(nil)
	err = w.retry(ctx, limit, func() error {
		w.wrote++
		s, err := worker.Call[set](ctx, w.workers[0], "set", change{written, w.wrote})
		if err == nil && s.Class != acked {
			err = fmt.Errorf("a Set ended with %s", s.Class)
			refused = err
		}
		return err
	})
	if err != nil {
		return 0, err.Error(), nil
	}
	w.lab.say("   an UPDATE succeeded after %.0f ms, a Set after %.0f ms (before: %v)", ms(updated-begun), ms(worker.Now()-begun), refused)
	for worker.Now() < limit {
		// Rows may still change: a write that was sent to a frozen server is late.
		rows, err := w.rows(ctx)
		if err != nil {
			return 0, "", err
		}
		all, err := worker.Each[granted](ctx, w.workers, "await", wish{Want: rows, Limit: int64(250 * time.Millisecond), Whole: true})
		if err != nil {
			return 0, "", err
		}
		until := wrong
		if at, wrong = last(all); at != 0 {
			w.lab.say("   right last: %s", cmp.Or(until, "that Set"))
			return at, "", nil
		}
	}
	return 0, wrong, ctx.Err()
}

// recoveryLimit is how long a recovery is waited for.
const recoveryLimit = 30 * time.Second

// last returns when the last wish was granted; 0 if one was not, and why.
func last(all []granted) (at int64, wrong string) {
	for i, g := range all {
		if g.At == 0 {
			return 0, fmt.Sprintf("worker %d: %s", i+1, g.Wrong)
		}
		at = max(at, g.At)
	}
	return at, ""
}

// retry repeats do until it succeeds or limit has come: then with its last error.
func (w *world) retry(ctx context.Context, limit int64, do func() error) error {
	for {
		err := do()
		if err == nil || worker.Now() > limit || ctx.Err() != nil {
			return err
		}
		worker.Pause(ctx, 20*time.Millisecond)
	}
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }
