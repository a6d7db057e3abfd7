package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// The local backend: a redis-server and a postgres of one's own, which are
// killed, frozen, restarted and emptied. Each process has connections of its own,
// as a real one has. A fault has bitten when a probe that speaks to the server by
// itself got no answer, or when the server says so (probe.go).
type localStores struct {
	redis    *servers.RedisServer
	postgres *servers.PostgresServer
	source   *postgres.Source // the generator's own
	cache    *redis.Cache     // the generator's own
}

// connectionsEach is how many a process may hold, and a few more to spare.
const connectionsEach = 6

func openLocal(ctx context.Context, processes int) (_ *localStores, err error) {
	s := &localStores{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.redis, err = servers.StartRedis(ctx, servers.Options{}); err != nil {
		return nil, err
	}
	settings := []string{fmt.Sprintf("max_connections=%d", 50+processes*connectionsEach)}
	if s.postgres, err = servers.StartPostgres(ctx, servers.Options{Settings: settings}); err != nil {
		return nil, err
	}
	if err = postgres.Migrate(ctx, s.postgres.URL()); err != nil {
		return nil, err
	}
	if s.source, err = postgres.Open(postgres.Config{URL: s.postgres.URL()}); err != nil {
		return nil, err
	}
	s.cache, err = redis.Open(redis.Config{URL: s.redis.URL()})
	return s, err
}

func (s *localStores) process(int) (tiers.Cache, tiers.Source, func(), error) {
	cache, err := redis.Open(redis.Config{URL: s.redis.URL()})
	if err != nil {
		return nil, nil, nil, err
	}
	source, err := postgres.Open(postgres.Config{URL: s.postgres.URL()})
	if err != nil {
		cache.Close()
		return nil, nil, nil, err
	}
	return cache, source, func() { cache.Close(); source.Close() }, nil
}

func (s *localStores) truth() tiers.Source { return s.source }
func (s *localStores) shared() tiers.Cache { return s.cache }

// settle is longer than the server's own limit for a statement, 1 s, which begins
// when it reads the statement.
func (s *localStores) settle() time.Duration { return 3 * time.Second }

func (s *localStores) times() (ttl, grace time.Duration) { return 2 * time.Second, 2 * time.Second }

func (s *localStores) close() error {
	var errs []error
	if s.cache != nil {
		s.cache.Close()
	}
	if s.source != nil {
		s.source.Close()
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Stop())
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop())
	}
	return errors.Join(errs...)
}

func (s *localStores) faults(r *run) []fault {
	cacheOut, sourceOut := effects{cacheOut: true}, effects{sourceOut: true}
	return []fault{
		s.onRedis("redis killed, back empty", effects{cacheOut: true, cacheLoss: true}, s.redis.Kill, s.redis.Restart),
		atLeast(noticed, s.onRedis("redis frozen", cacheOut, s.redis.Freeze, thaw(s.redis.Thaw))),
		atLeast(unanswered, s.onPostgres("postgres frozen", sourceOut, s.postgres.Freeze, thaw(s.postgres.Thaw))),
		s.onPostgres("postgres killed", sourceOut, s.postgres.Kill, s.postgres.Restart),
		s.restartPostgres(),
		s.killConnections(r),
		s.flushRedis(r),
		s.blackout(),
	}
}

// unanswered is longer than a write waits.
const unanswered = 1200 * time.Millisecond

func thaw(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

func (s *localStores) onRedis(name string, e effects, strike func() error, mend func(context.Context) error) fault {
	return fault{name: name, effects: e,
		strike: func(context.Context) error { return strike() },
		mend: func(ctx context.Context) error {
			return errors.Join(mend(ctx), untilAnswer(ctx, func() error { return pingRedis(s.redis.Addr()) }))
		},
		bitten: func(context.Context) bool { return pingRedis(s.redis.Addr()) != nil },
	}
}

func (s *localStores) onPostgres(name string, e effects, strike func() error, mend func(context.Context) error) fault {
	return fault{name: name, effects: e,
		strike: func(context.Context) error { return strike() },
		mend: func(ctx context.Context) error {
			return errors.Join(mend(ctx), untilAnswer(ctx, func() error { return pingPostgres(s.postgres.Addr()) }))
		},
		bitten: func(context.Context) bool { return pingPostgres(s.postgres.Addr()) != nil },
	}
}

// restartPostgres is over when it was done; it has bitten if another process
// serves now.
func (s *localStores) restartPostgres() fault {
	pid := 0
	return fault{name: "postgres restarted", effects: effects{sourceOut: true}, brief: true,
		strike: func(ctx context.Context) error { pid = s.postgres.PID(); return s.postgres.Restart(ctx) },
		mend: func(ctx context.Context) error {
			return untilAnswer(ctx, func() error { return pingPostgres(s.postgres.Addr()) })
		},
		bitten: func(context.Context) bool { return pid != 0 && s.postgres.PID() != pid },
	}
}

// killConnections cuts every connection to Redis at once. It has bitten if the
// server says that there were as many as processes, at least, and each process
// has noticed.
func (s *localStores) killConnections(r *run) fault {
	killed := 0
	var before []uint64
	return fault{name: "redis connections killed",
		strike: func(context.Context) (err error) {
			before = r.pushesLost()
			killed, err = askRedis(s.redis.Addr(), "CLIENT KILL TYPE normal SKIPME yes")
			return err
		},
		mend:   func(context.Context) error { return nil },
		bitten: func(context.Context) bool { return killed >= len(before) && allRose(before, r.pushesLost()) },
	}
}

// flushRedis deletes everything. It has bitten if there was something, and each
// process was told.
func (s *localStores) flushRedis(r *run) fault {
	held := 0
	var before []uint64
	return fault{name: "redis flushed", effects: effects{cacheLoss: true},
		strike: func(context.Context) (err error) {
			before = r.pushesLost()
			if held, err = askRedis(s.redis.Addr(), "DBSIZE"); err == nil {
				_, err = askRedis(s.redis.Addr(), "FLUSHALL")
			}
			return err
		},
		mend:   func(context.Context) error { return nil },
		bitten: func(context.Context) bool { return held > 0 && allRose(before, r.pushesLost()) },
	}
}

// blackout freezes both until options have fallen to their defaults.
func (s *localStores) blackout() fault {
	red := s.onRedis("", effects{}, s.redis.Freeze, thaw(s.redis.Thaw))
	post := s.onPostgres("", effects{}, s.postgres.Freeze, thaw(s.postgres.Thaw))
	return fault{name: "both frozen beyond grace", effects: effects{cacheOut: true, sourceOut: true}, outlasts: true,
		strike: func(ctx context.Context) error { return errors.Join(red.strike(ctx), post.strike(ctx)) },
		mend:   func(ctx context.Context) error { return errors.Join(red.mend(ctx), post.mend(ctx)) },
		bitten: func(ctx context.Context) bool { return red.bitten(ctx) && post.bitten(ctx) },
	}
}

func allRose(before, after []uint64) bool {
	for i, n := range before {
		if after[i] <= n {
			return false
		}
	}
	return true
}
