package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// A service is what a worker runs: one manager over the real tiers, opened as
// any user opens it.
type service struct {
	manager *fastopt.Manager // immutable once opened, as all but log
	source  *postgres.Source
	cache   *redis.Cache
	options []*fastopt.Option[int64]
	forever int // of options, the last ones
	family  *fastopt.Family[int64]
	lives   time.Duration // TTL + grace of the others
	reader  *reader
	log     lines
}

// option names the i-th option.
func option(i int) string { return fmt.Sprintf("o.%04d", i) }

// nothing is the default of every option: no row has it.
const nothing = -1

// runWorker serves requests from in until it ends.
func runWorker(in io.Reader, out io.Writer) error {
	var s service
	defer s.close()
	return worker.Serve(in, out, s.do)
}

// do carries out one request.
func (s *service) do(ctx context.Context, q worker.Request) (any, error) {
	switch q.Do {
	case "open":
		return worker.Do(q, func(a spec) (any, error) { return nil, s.open(ctx, a) })
	case "observe":
		return worker.Do(q, func(a window) (any, error) { return s.observe(ctx, a), nil })
	case "await":
		return worker.Do(q, func(a wish) (any, error) { return s.await(ctx, a), nil })
	case "set":
		return worker.Do(q, func(a change) (any, error) { return s.set(ctx, a), nil })
	case "end":
		return worker.Do(q, func(lasts int64) (any, error) { return s.end(ctx, time.Duration(lasts)), nil })
	case "offer":
		return worker.Do(q, func(a offer) (any, error) { return s.offer(ctx, a), nil })
	case "status":
		return s.status(), nil
	}
	return nil, fmt.Errorf("no such request: %s", q.Do)
}

func (s *service) open(ctx context.Context, a spec) (err error) {
	var r fastopt.Registry
	for i := range a.Options {
		grace := time.Duration(0)
		if i >= a.Options-a.Forever {
			grace = fastopt.Forever
		}
		s.options = append(s.options, fastopt.Declare(&r, fastopt.Spec[int64]{Name: option(i), Default: nothing, Grace: grace}))
	}
	s.forever = a.Forever
	s.family = fastopt.DeclareFamily(&r, fastopt.FamilySpec[int64]{Prefix: "member", Default: nothing, MaxEntries: 100_000})
	s.lives = time.Duration(a.TTL + a.Grace)
	s.reader = newReader(s.options[:min(len(s.options), handles)])
	if s.source, err = postgres.Open(postgres.Config{URL: a.PostgresURL}); err != nil {
		return err
	}
	if s.cache, err = redis.Open(redis.Config{URL: a.RedisURL}); err != nil {
		return err
	}
	if a.Verbose {
		s.log.Handler = slog.NewTextHandler(os.Stderr, nil).WithAttrs([]slog.Attr{slog.Int("pid", os.Getpid())})
	}
	s.manager, err = fastopt.Open(ctx, fastopt.Config{
		Namespace: a.Namespace, Cache: s.cache, Source: s.source,
		TTL: time.Duration(a.TTL), Grace: time.Duration(a.Grace), Logger: slog.New(&s.log),
	}, &r)
	return err
}

func (s *service) close() {
	if s.manager != nil {
		_ = s.manager.Close() // late: the process ends anyway
	}
	if s.cache != nil {
		s.cache.Close()
	}
	if s.source != nil {
		s.source.Close()
	}
}

func (s *service) status() status {
	n, last := s.log.told()
	return status{At: worker.Now(), Stats: s.manager.Stats(), Lines: n, Last: last}
}

// look is the time between two looks at what is awaited: what it adds to a figure.
const look = time.Millisecond

// await waits until the worker reads what is wanted.
func (s *service) await(ctx context.Context, a wish) granted {
	limit := worker.Now() + a.Limit
	for {
		wrong := s.wrong(a)
		switch at := worker.Now(); {
		case wrong == "":
			return granted{At: at}
		case at > limit || ctx.Err() != nil:
			return granted{Wrong: wrong}
		}
		worker.Pause(ctx, look)
	}
}

// wrong says what is not as wished, "" if nothing.
func (s *service) wrong(a wish) string {
	for i, v := range a.Want {
		if got := s.options[i].Get(); got != v {
			return fmt.Sprintf("%s reads %d, not %d", option(i), got, v)
		}
	}
	if !a.Whole {
		return ""
	}
	if err := s.manager.Ready(); err != nil {
		return err.Error()
	}
	if !s.manager.Stats().PushesUp {
		return "no pushes arrive"
	}
	for _, o := range s.options {
		if r := o.Inspect(); r.State != fastopt.Fresh {
			return fmt.Sprintf("%s is %v", o.Name(), r.State)
		}
	}
	return ""
}

func (s *service) set(ctx context.Context, a change) set {
	begun := worker.Now()
	_, err := s.options[a.Option].Set(ctx, a.Value, fastopt.By("outage", "measured"))
	out := set{change: a, Took: worker.Now() - begun}
	switch {
	case err == nil:
		out.Class = acked
	case errors.Is(err, fastopt.ErrOutcomeUnknown):
		out.Class = unknown
	case errors.Is(err, fastopt.ErrUnavailable):
		out.Class = unavailable
	default:
		out.Class = other
	}
	return out
}

// lines is a slog.Handler that counts, and passes on to the one it holds, if any.
type lines struct {
	slog.Handler // immutable; nil: none

	mu   sync.Mutex
	n    int      // guarded by mu
	last []string // guarded by mu; the newest few
}

const linesKept = 12

// Enabled is true: every line counts.
func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

// Handle counts a line.
func (l *lines) Handle(ctx context.Context, r slog.Record) error {
	text := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	l.n++
	if l.last = append(l.last, text); len(l.last) > linesKept {
		l.last = l.last[1:]
	}
	l.mu.Unlock()
	if l.Handler == nil {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs counts with the others.
func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup counts with the others.
func (l *lines) WithGroup(string) slog.Handler { return l }

func (l *lines) told() (int, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n, append([]string(nil), l.last...)
}
