package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
)

// A world is what a row has for itself and may break: a redis-server, a postgres,
// a line to each that counts what flows, and a fleet of workers.
type world struct {
	lab        *lab
	redis      *servers.RedisServer
	pg         *servers.PostgresServer
	toRedis    *line
	toPostgres *line
	sql        *pgx.Conn               // an operator's, past the line
	standby    *servers.PostgresServer // where a row has one
	held       []*pgx.Conn             // what a fault holds
	run        string                  // of the Redis that was broken
	wrote      int64                   // the greatest value written
	workers    []*worker.Process
	options    int
}

const namespace = "outage"

// postgresOptions leave few enough connections that a row can take them all.
var postgresOptions = servers.Options{Settings: []string{
	"max_connections=100", "shared_preload_libraries=pg_stat_statements", "pg_stat_statements.max=1000",
}}

// newWorld starts servers, with options rows set to 0, and no worker.
func newWorld(ctx context.Context, l *lab, options int) (w *world, err error) {
	w = &world{lab: l, options: options}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.redis, err = servers.StartRedis(ctx, servers.Options{}); err != nil {
		return w, err
	}
	if w.pg, err = servers.StartPostgres(ctx, postgresOptions); err != nil {
		return w, err
	}
	if w.toRedis, err = newLine(w.redis.Addr()); err != nil {
		return w, err
	}
	if w.toPostgres, err = newLine(w.pg.Addr()); err != nil {
		return w, err
	}
	if err = postgres.Migrate(ctx, w.pg.URL()); err != nil {
		return w, err
	}
	if w.sql, err = pgx.Connect(ctx, w.pg.URL()); err != nil {
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

// open starts the fleet and lets each worker open what s says, by way of the
// lines, under its own name at Postgres.
func (w *world) open(ctx context.Context, s spec) error {
	s.RedisURL = (&url.URL{Scheme: "redis", Host: w.toRedis.Addr()}).String()
	s.Namespace, s.Verbose, s.Options = namespace, w.lab.verbose, w.options
	for i := range w.lab.processes {
		p, err := worker.Start(i + 1)
		if err != nil {
			return err
		}
		w.workers = append(w.workers, p)
	}
	errs := make([]error, len(w.workers))
	var all sync.WaitGroup
	for i, p := range w.workers {
		all.Go(func() {
			own := s
			if own.PostgresURL, errs[i] = w.lineURL(workerName(p)); errs[i] == nil {
				_, errs[i] = worker.Call[any](ctx, p, "open", own)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func workerName(p *worker.Process) string { return fmt.Sprintf("worker-%d", p.Number) }

// lineURL names Postgres by way of the line, for sessions of that name.
func (w *world) lineURL(name string) (string, error) {
	u, err := url.Parse(w.pg.URL())
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("application_name", name)
	u.Host, u.RawQuery = w.toPostgres.Addr(), q.Encode()
	return u.String(), nil
}

// settleLimit is how long a new fleet may take until all is right.
const settleLimit = time.Minute

// settle waits until all workers are whole, and their own fills are followed.
func (w *world) settle(ctx context.Context) error {
	all, err := worker.Each[granted](ctx, w.workers, "await", wish{Limit: int64(settleLimit), Whole: true})
	if err != nil {
		return err
	}
	for i, g := range all {
		if g.At == 0 {
			return fmt.Errorf("the fleet did not settle: worker %d: %s", i+1, g.Wrong)
		}
	}
	worker.Pause(ctx, time.Second)
	return ctx.Err()
}

// close ends workers, then servers, whatever state they are in.
func (w *world) close() error {
	var all sync.WaitGroup
	for _, p := range w.workers {
		all.Go(p.Stop)
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.release(ctx)
	if w.sql != nil {
		_ = w.sql.Close(ctx) // the server ends now
	}
	var errs []error
	for _, l := range []*line{w.toRedis, w.toPostgres} {
		if l != nil {
			l.Close()
		}
	}
	if w.redis != nil {
		errs = append(errs, w.redis.Stop())
	}
	for _, p := range []*servers.PostgresServer{w.standby, w.pg} {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(errs...)
}

// release ends what a fault holds.
func (w *world) release(ctx context.Context) {
	for _, c := range w.held {
		_ = c.Close(ctx)
	}
	w.held = nil
}

// A line is the way to a server. It counts requests as the server would see them,
// were it there: what clients send, each piece as it comes off the network (a
// batch of commands is one), and each connection that they make.
type line struct {
	*faults.Proxy
	pieces atomic.Int64
}

func newLine(target string) (*line, error) {
	p, err := faults.NewProxy(target)
	if err != nil {
		return nil, err
	}
	l := &line{Proxy: p}
	l.count()
	return l, nil
}

// count counts from now on; Heal ends that, as every order.
func (l *line) count() {
	l.CutWhen(faults.ToServer, func([]byte) bool { l.pieces.Add(1); return false })
}

// heal ends the fault of the line and goes on counting.
func (l *line) heal() error {
	err := l.Heal()
	l.count()
	return err
}

func (l *line) requests() int64 { return l.pieces.Load() + l.Accepted() }

// A lab is how rows are run.
type lab struct {
	processes int
	slices    int           // of reads in a fault
	lasts     time.Duration // of a fault whose row says nothing else
	short     bool          // no fault lasts longer than 15 s
	verbose   bool
	progress  io.Writer
}

func (l *lab) say(format string, args ...any) { fmt.Fprintf(l.progress, format+"\n", args...) }
