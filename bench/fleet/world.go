package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/bench/internal/serverstats"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
)

// A world is what one run of a row has for itself: a redis-server, a postgres,
// and a fleet of workers. It may break all of it.

const namespace = "fleet"

type world struct {
	lab   *lab
	redis *servers.RedisServer
	pg    *servers.PostgresServer
	line  *faults.Proxy // between the workers and Redis, where a row says so

	sql   *pgx.Conn           // an operator's
	stats *serverstats.Client // an unrelated client's

	wrote int64 // the greatest value that a pace has named

	mu      sync.Mutex
	workers []*worker.Process // guarded by mu
}

var (
	redisOptions    = servers.Options{}
	postgresOptions = servers.Options{Settings: []string{
		"max_connections=300", "shared_preload_libraries=pg_stat_statements", "pg_stat_statements.max=1000",
	}}
)

// redisLimit is how long one command of an unrelated client may take.
const redisLimit = 5 * time.Second

// newWorld starts servers, with options rows set to 0, and no worker.
func newWorld(ctx context.Context, l *lab, options int) (w *world, err error) {
	w = &world{lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.redis, err = servers.StartRedis(ctx, redisOptions); err != nil {
		return w, err
	}
	if w.pg, err = servers.StartPostgres(ctx, postgresOptions); err != nil {
		return w, err
	}
	if w.line, err = faults.NewProxy(w.redis.Addr()); err != nil {
		return w, err
	}
	if err = postgres.Migrate(ctx, w.pg.URL()); err != nil {
		return w, err
	}
	if w.sql, err = pgx.Connect(ctx, w.pg.URL()); err != nil {
		return w, err
	}
	if w.stats, err = serverstats.DialRedis(w.redis.Addr(), redisLimit); err != nil {
		return w, err
	}
	return w, errors.Join(
		w.exec(ctx, `CREATE EXTENSION pg_stat_statements`),
		w.exec(ctx, `INSERT INTO fastopt.options (namespace, name, value)
			SELECT $1, 'o.' || lpad(i::text, 4, '0'), '0' FROM generate_series(0, $2::int - 1) i`, namespace, options),
	)
}

func (w *world) exec(ctx context.Context, sql string, args ...any) error {
	_, err := w.sql.Exec(ctx, sql, args...)
	return err
}

// update writes one option by plain SQL.
func (w *world) update(ctx context.Context, u update) error {
	return w.exec(ctx, `UPDATE fastopt.options SET value = to_json($3::bigint) WHERE namespace = $1 AND name = $2`,
		namespace, option(u.Option), u.Value)
}

// open starts n workers and lets each open what s says; the addresses are filled in.
func (w *world) open(ctx context.Context, n int, s spec) ([]*worker.Process, error) {
	if s.RedisURL == "" {
		s.RedisURL = w.redis.URL()
	}
	if s.PostgresURL == "" {
		s.PostgresURL = w.pg.URL()
	}
	s.Namespace, s.Verbose = namespace, w.lab.verbose
	s.Managers = max(s.Managers, 1)
	var started []*worker.Process
	for range n {
		w.mu.Lock()
		p, err := worker.Start(len(w.workers) + 1)
		if err == nil {
			w.workers = append(w.workers, p)
			started = append(started, p)
		}
		w.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	_, err := worker.Each[any](ctx, started, "open", s)
	return started, err
}

// lineURL names Redis by way of the line.
func (w *world) lineURL() string { return (&url.URL{Scheme: "redis", Host: w.line.Addr()}).String() }

// close ends workers, then servers, whatever state they are in.
func (w *world) close() error {
	w.mu.Lock()
	workers := w.workers
	w.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range workers {
		all.Go(p.Stop)
	}
	all.Wait()
	var errs []error
	if w.stats != nil {
		w.stats.Close()
	}
	if w.sql != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = w.sql.Close(ctx) // the server ends now
		cancel()
	}
	if w.line != nil {
		w.line.Close()
	}
	if w.redis != nil {
		errs = append(errs, w.redis.Stop())
	}
	if w.pg != nil {
		errs = append(errs, w.pg.Stop())
	}
	return errors.Join(errs...)
}

// settleLimit is how long a new fleet may take until all is right.
const settleLimit = 90 * time.Second

// settle waits until one worker of ps is the relay, which it returns, and all
// of them are whole.
func (w *world) settle(ctx context.Context, ps []*worker.Process) (*worker.Process, error) {
	leader, _, err := w.leader(ctx, ps, settleLimit)
	if err != nil {
		return nil, err
	}
	if err := mustBeRight(ctx, ps, wish{Limit: int64(settleLimit), Whole: true}); err != nil {
		return nil, fmt.Errorf("the fleet did not settle: %w", err)
	}
	worker.Pause(ctx, time.Second) // own fills push to everyone
	return leader, ctx.Err()
}

// poll is the time between two questions to all workers: what it adds to a figure.
const poll = 5 * time.Millisecond

// leader waits until exactly one worker is the relay, and tells since when.
func (w *world) leader(ctx context.Context, ps []*worker.Process, limit time.Duration) (*worker.Process, int64, error) {
	for end := worker.Now() + int64(limit); worker.Now() < end && ctx.Err() == nil; worker.Pause(ctx, poll) {
		all, err := worker.Each[status](ctx, ps, "status", nil)
		if err != nil {
			return nil, 0, err
		}
		var leader *worker.Process
		var at int64
		leaders := 0
		for i, s := range all {
			if leaders += s.Relays; s.Relays > 0 {
				leader, at = ps[i], s.At
			}
		}
		if leaders == 1 {
			return leader, at, nil
		}
	}
	return nil, 0, errors.Join(ctx.Err(), errors.New("no process, or more than one, is the relay"))
}

// rightIn waits until all of ps read what is wished, and tells since when the
// last of them does; at 0: not within the limit, and what was wrong.
func rightIn(ctx context.Context, ps []*worker.Process, a wish) (at int64, wrong string, err error) {
	all, err := worker.Each[granted](ctx, ps, "await", a)
	if err != nil {
		return 0, "", err
	}
	for i, g := range all {
		if g.At == 0 {
			return 0, fmt.Sprintf("worker %d: %s", ps[i].Number, g.Wrong), nil
		}
		at = max(at, g.At)
	}
	return at, "", nil
}

// mustBeRight is rightIn where the row has no figure if they do not.
func mustBeRight(ctx context.Context, ps []*worker.Process, a wish) error {
	at, wrong, err := rightIn(ctx, ps, a)
	if err == nil && at == 0 {
		err = fmt.Errorf("not as wanted within %v: %s", time.Duration(a.Limit), wrong)
	}
	return err
}

// without returns ps without p.
func without(ps []*worker.Process, p *worker.Process) (others []*worker.Process) {
	for _, o := range ps {
		if o != p {
			others = append(others, o)
		}
	}
	return others
}

// A lab is how rows are run.
type lab struct {
	quick     bool // few writes, short waits: to see that it works
	verbose   bool
	processes int
	progress  io.Writer
}

func (l *lab) say(format string, args ...any) { fmt.Fprintf(l.progress, format+"\n", args...) }

// few returns n, or in a quick run quick.
func (l *lab) few(n, quick int) int {
	if l.quick {
		return quick
	}
	return n
}
