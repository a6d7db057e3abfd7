// Servers for tests: one line each, and nothing to stop.

package servers

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"
)

// Redis returns a redis-server for this test alone, which ends with it, or the
// one named by FASTOPT_TEST_REDIS, whose Kill, Freeze, Thaw and Restart fail with
// ErrExternal. It ends the test if there is none.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	if env := os.Getenv(RedisEnv); env != "" {
		r, err := externalRedis(env)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	return PrivateRedis(t, Options{})
}

// PrivateRedis returns a redis-server for this test alone, which ends with it:
// for tests that break it or need settings of their own.
func PrivateRedis(t testing.TB, o Options) *RedisServer {
	t.Helper()
	r, err := StartRedis(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, r)
	return r
}

// Postgres returns a postgres for this test alone, which ends with it, or a new
// database in the one named by FASTOPT_TEST_POSTGRES, whose Kill, Freeze, Thaw
// and Restart fail with ErrExternal. It ends the test if there is none.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	if os.Getenv(PostgresEnv) == "" {
		return PrivatePostgres(t, Options{})
	}
	p, err := externalPostgres(Database(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// PrivatePostgres returns a postgres for this test alone, which ends with it: for
// tests that break it or need settings of their own.
func PrivatePostgres(t testing.TB, o Options) *PostgresServer {
	t.Helper()
	p, err := StartPostgres(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, p)
	return p
}

// Database returns the URL of an empty database for this test alone: for tests
// that do not break the server. The first call in a test process starts a
// postgres that the others share and that ends with the process; with
// FASTOPT_TEST_POSTGRES it is that one. A new database takes 20 ms, a new server
// ten times as long.
func Database(t testing.TB) string {
	t.Helper()
	start := sharedPostgres
	if env := os.Getenv(PostgresEnv); env != "" {
		start = func() (*PostgresServer, error) { return externalPostgres(env) }
	}
	p, err := start()
	if err != nil {
		t.Fatal(err)
	}
	url, err := p.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := p.dropDatabase(ctx, url); err != nil {
			t.Error(err)
		}
	})
	return url
}

var sharedPostgres = sync.OnceValues(func() (*PostgresServer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return StartPostgres(ctx, Options{})
})

// PrivateStandby returns an asynchronous standby of p for this test alone.
func PrivateStandby(t testing.TB, p *PostgresServer) *PostgresServer {
	t.Helper()
	standby, err := p.StartStandby(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, standby)
	return standby
}

// PrivatePgBouncer returns a PgBouncer in front of p for this test alone.
func PrivatePgBouncer(t testing.TB, p *PostgresServer, o Options) *PgBouncer {
	t.Helper()
	b, err := StartPgBouncer(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, b)
	return b
}

// PrivateSentinel returns a master, replicas of it and three sentinels for this
// test alone.
func PrivateSentinel(t testing.TB, replicas int) *RedisSentinel {
	t.Helper()
	s, err := StartSentinel(t.Context(), replicas, Options{})
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, s)
	return s
}

// PrivateCluster returns a Redis Cluster for this test alone.
func PrivateCluster(t testing.TB, masters, replicas int) *RedisCluster {
	t.Helper()
	c, err := StartCluster(t.Context(), masters, replicas, Options{})
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, c)
	return c
}

// StopLater stops a server or a set of servers when the test ends, the last one
// first: for what is started by a method of another server.
func StopLater(t testing.TB, s interface{ Stop() error }) {
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
}
