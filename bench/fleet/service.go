package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// A service is what a worker runs: managers over the real tiers, opened as any
// user opens them, and somebody who watches.

type service struct {
	source   *postgres.Source // immutable once opened, as the next two
	managers []*manager
	stop     context.CancelFunc // of the watchers

	watchers sync.WaitGroup

	mu       sync.Mutex
	arrivals []arrival // guarded by mu
}

type manager struct {
	*fastopt.Manager
	cache   *redis.Cache
	options []*fastopt.Option[int64]
	family  *fastopt.Family[int64]
}

// option names the i-th option of every manager.
func option(i int) string { return fmt.Sprintf("o.%04d", i) }

// family is the prefix of the family of every manager.
const family = "member"

// openAtOnce bounds how many managers load at the same time.
const openAtOnce = 2

func (s *service) open(ctx context.Context, a spec) error {
	source, err := postgres.Open(postgres.Config{URL: a.PostgresURL})
	if err != nil {
		return err
	}
	s.source = source
	s.managers = make([]*manager, a.Managers)
	errs := make([]error, a.Managers)
	gate := make(chan struct{}, openAtOnce)
	var all sync.WaitGroup
	for i := range s.managers {
		gate <- struct{}{}
		all.Go(func() {
			s.managers[i], errs[i] = openManager(ctx, a, source, i == 0 && a.Relay)
			<-gate
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ctx, s.stop = context.WithCancel(context.Background())
	if !a.Watch {
		return nil
	}
	for i, m := range s.managers {
		for j, o := range m.options {
			s.watchers.Go(func() { s.watch(ctx, i, j, o) })
		}
	}
	return nil
}

func openManager(ctx context.Context, a spec, source *postgres.Source, relay bool) (*manager, error) {
	var r fastopt.Registry
	m := &manager{options: make([]*fastopt.Option[int64], a.Options)}
	for i := range m.options {
		m.options[i] = fastopt.New[int64](&r, option(i), -1)
	}
	m.family = fastopt.DeclareFamily(&r, fastopt.FamilySpec[int64]{Prefix: family, Default: -1, MaxEntries: 100_000})
	cache, err := redis.Open(redis.Config{URL: a.RedisURL})
	if err != nil {
		return nil, err
	}
	m.cache = cache
	c := fastopt.Config{Namespace: a.Namespace, Cache: cache, Source: source, Relay: fastopt.Never}
	if relay {
		c.Relay = fastopt.Auto
	}
	if a.Verbose {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("pid", os.Getpid())
	}
	if m.Manager, err = fastopt.Open(ctx, c, &r); err != nil {
		cache.Close()
		return nil, err
	}
	return m, nil
}

func (s *service) close() {
	if s.stop != nil {
		s.stop()
	}
	s.watchers.Wait()
	var all sync.WaitGroup
	for _, m := range s.managers {
		if m != nil {
			all.Go(func() { _ = m.Close(); m.cache.Close() }) // late: the process ends anyway
		}
	}
	all.Wait()
	if s.source != nil {
		s.source.Close()
	}
}

// watch notes when each value of one option arrives.
func (s *service) watch(ctx context.Context, manager, option int, o *fastopt.Option[int64]) {
	for r := range o.Watch(ctx) {
		a := arrival{update: update{option, r.Value}, Manager: manager, At: worker.Now()}
		s.mu.Lock()
		s.arrivals = append(s.arrivals, a)
		s.mu.Unlock()
	}
}

// takeArrivals returns what arrived since it was last asked.
func (s *service) takeArrivals() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.arrivals
	s.arrivals = nil
	return taken
}

// write sets options at a pace. A Set that fails ends it.
func (s *service) write(ctx context.Context, a pace) ([]write, error) {
	m := s.managers[0]
	writes := make([]write, 0, a.Count)
	start := time.Now()
	for i := range a.Count {
		worker.Pause(ctx, time.Until(start.Add(time.Duration(float64(i)/a.PerSecond*1e9))))
		w := write{update: a.update(i), Begun: worker.Now()}
		rc, err := m.options[w.Option].Set(ctx, w.Value, fastopt.By("fleet", "measured"))
		w.Acked = worker.Now()
		if err != nil {
			return writes, err
		}
		w.Uncached = !rc.Cached
		writes = append(writes, w)
	}
	return writes, nil
}

// update is the i-th of a pace.
func (a pace) update(i int) update {
	return update{Option: (int(a.First) + i) % a.Options, Value: a.First + int64(i)}
}

// die lets the process end by SIGKILL when it passes a point.
func (s *service) die(a death) error {
	point.Set(func(p point.Point, _ any, _ string) {
		if string(p) == a.Point {
			worker.Pause(context.Background(), time.Duration(a.After))
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	return nil
}
