package endtoend

import (
	"context"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

var ctx = context.Background()

// A world is a private redis-server and postgres that a test may break.
type world struct {
	t     *testing.T
	redis *servers.RedisServer
	pg    *servers.PostgresServer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	noGoroutineLeft(t)
	return newWorldBeside(t)
}

// newWorldBeside is newWorld for one of several tests that run at the same time:
// whose goroutines are left, only the test around them can tell.
func newWorldBeside(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, redis: servers.PrivateRedis(t, servers.Options{}), pg: servers.PrivatePostgres(t, servers.Options{})}
	must(t, postgres.Migrate(ctx, w.pg.URL()))
	return w
}

// A process is what one process of a service holds: connections and a manager.
type process struct {
	*fastopt.Manager
	source *postgres.Source
	n      *fastopt.Option[int]
	limit  *fastopt.Family[int]
}

// config is a process' config, its connections its own.
func (w *world) config() fastopt.Config {
	w.t.Helper()
	cache, err := redis.Open(redis.Config{URL: w.redis.URL()})
	must(w.t, err)
	w.t.Cleanup(cache.Close)
	source, err := postgres.Open(postgres.Config{URL: w.pg.URL()})
	must(w.t, err)
	w.t.Cleanup(source.Close)
	return fastopt.Config{Namespace: "shop", Cache: cache, Source: source, TTL: 2 * time.Second, Grace: 4 * time.Second}
}

// start starts a process that declares the int option n and a family.
func (w *world) start() *process {
	w.t.Helper()
	p, err := open(w.config())
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, p.Close()) })
	return p
}

func open(cfg fastopt.Config) (*process, error) {
	var r fastopt.Registry
	p := &process{n: fastopt.Declare(&r, fastopt.Spec[int]{Name: "n", Default: -1, Check: fastopt.Between(-1, 1000)})}
	p.limit = fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "limit", Default: 5, MaxEntries: 1000})
	p.source, _ = cfg.Source.(*postgres.Source)
	m, err := fastopt.Open(ctx, cfg, &r)
	p.Manager = m
	return p, err
}

// within polls until ok, and fails the test after d.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > d {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// sees waits until a process reads v, fresh.
func (p *process) sees(t *testing.T, d time.Duration, v int) {
	t.Helper()
	within(t, d, "value read fresh", func() bool {
		r := p.n.Inspect()
		return r.Value == v && r.State == fastopt.Fresh
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noGoroutineLeft fails the test if a goroutine of the library outlives it.
// Those of the server processes end with the servers, and are not the library's.
func noGoroutineLeft(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
			if left = ours(); left == "" {
				return
			}
		}
		t.Errorf("goroutines left:\n%s", left)
	})
}

func ours() string {
	var all strings.Builder
	pprof.Lookup("goroutine").WriteTo(&all, 2)
	var left []string
	for g := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(g, "fastopt-go/") && !strings.Contains(g, "internal/servers") && !strings.Contains(g, "testing.tRunner") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}
