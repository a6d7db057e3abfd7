package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// The local backend: a redis-server and a postgres of one's own, and between each
// and the processes a proxy. The servers are killed, frozen, restarted and emptied
// (here), what is in them is locked and used up (sessions.go), and the paths to
// them are slowed down and swallow (paths.go). Each process has connections of its
// own, as a real one has. A fault has bitten when a probe that speaks to the
// server by itself got no answer, or when server or proxy say so.
type localStores struct {
	redis        *servers.RedisServer
	postgres     *servers.PostgresServer
	redisPath    *faults.Proxy
	postgresPath *faults.Proxy
	source       *postgres.Source // the generator's own
	cache        *redis.Cache     // the generator's own
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
	if s.redisPath, err = faults.NewProxy(s.redis.Addr()); err != nil {
		return nil, err
	}
	if s.postgresPath, err = faults.NewProxy(s.postgres.Addr()); err != nil {
		return nil, err
	}
	if s.source, err = postgres.Open(postgres.Config{URL: s.postgres.URL()}); err != nil {
		return nil, err
	}
	s.cache, err = redis.Open(redis.Config{URL: s.redis.URL()})
	return s, err
}

func (s *localStores) process(int) (tiers.Cache, tiers.Source, func(), error) {
	cache, err := redis.Open(redis.Config{URL: through(s.redisPath, s.redis.URL())})
	if err != nil {
		return nil, nil, nil, err
	}
	source, err := postgres.Open(postgres.Config{URL: through(s.postgresPath, s.postgres.URL())})
	if err != nil {
		cache.Close()
		return nil, nil, nil, err
	}
	return cache, source, func() { cache.Close(); source.Close() }, nil
}

// through is the URL of a server by way of its proxy.
func through(p *faults.Proxy, server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server // of a server that we started: it parses
	}
	u.Host = p.Addr()
	return u.String()
}

func (s *localStores) truth() tiers.Source { return s.source }
func (s *localStores) shared() tiers.Cache { return s.cache }

// settle is longer than the server's own limit for a statement, 1 s, which begins
// when it reads the statement.
func (s *localStores) settle() time.Duration { return 3 * time.Second }

// tooLate is the library's shortest timeout, for a call of the cache.
func (s *localStores) tooLate() time.Duration { return 50 * time.Millisecond }

func (s *localStores) times() (ttl, grace time.Duration) { return 2 * time.Second, 2 * time.Second }

func (s *localStores) close() error {
	var errs []error
	if s.cache != nil {
		s.cache.Close()
	}
	if s.source != nil {
		s.source.Close()
	}
	for _, p := range []*faults.Proxy{s.redisPath, s.postgresPath} {
		if p != nil {
			p.Close()
		}
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
	redisFrozen := s.onRedis("redis frozen", cacheOut, s.redis.Freeze, thaw(s.redis.Thaw))
	redisKilled := s.onRedis("redis killed, back empty", effects{cacheOut: true, cacheLoss: true}, s.redis.Kill, s.redis.Restart)
	postgresFrozen := s.onPostgres("postgres frozen", sourceOut, s.postgres.Freeze, thaw(s.postgres.Thaw))
	postgresKilled := s.onPostgres("postgres killed", sourceOut, s.postgres.Kill, s.postgres.Restart)
	frozen := bothOut("both frozen beyond grace", redisFrozen, postgresFrozen)
	list := []fault{
		frozen,
		redisKilled,
		atLeast(noticed, redisFrozen),
		atLeast(unanswered, postgresFrozen),
		postgresKilled,
		s.restartPostgres(),
		s.killConnections(r),
		s.flushRedis(r),
		bothOut("both killed beyond grace", redisKilled, postgresKilled),
	}
	return append(append(list, s.pathFaults()...), s.sessionFaults()...)
}

// unanswered is longer than a write waits.
const unanswered = 1200 * time.Millisecond

func thaw(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

func (s *localStores) onRedis(name string, e effects, strike func() error, mend func(context.Context) error) fault {
	return fault{name: name, effects: e, uses: []resource{cacheServer},
		strike: func(context.Context) error { return strike() },
		mend: func(ctx context.Context) error {
			return errors.Join(mend(ctx), untilAnswer(ctx, func() error { return pingRedis(s.redis.Addr()) }))
		},
		bitten: func(context.Context) bool { return pingRedis(s.redis.Addr()) != nil },
	}
}

func (s *localStores) onPostgres(name string, e effects, strike func() error, mend func(context.Context) error) fault {
	return fault{name: name, effects: e, uses: []resource{sourceServer},
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
	return fault{name: "postgres restarted", effects: effects{sourceOut: true, partly: true}, uses: []resource{sourceServer}, brief: true,
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
	return fault{name: "redis connections killed", alone: true,
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
	return fault{name: "redis flushed", effects: effects{cacheLoss: true}, alone: true,
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

// bothOut lets two faults last until options have fallen to their defaults.
func bothOut(name string, cache, source fault) fault {
	return fault{name: name, outlasts: true, uses: append(append([]resource(nil), cache.uses...), source.uses...),
		effects: effects{cacheOut: true, sourceOut: true, cacheLoss: cache.effects.cacheLoss},
		strike:  func(ctx context.Context) error { return errors.Join(cache.strike(ctx), source.strike(ctx)) },
		mend:    func(ctx context.Context) error { return errors.Join(cache.mend(ctx), source.mend(ctx)) },
		bitten:  func(ctx context.Context) bool { return cache.bitten(ctx) && source.bitten(ctx) },
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
