package endtoend

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// busy is what a call may take whose exact bound, below a second, is held by
// tests in a time of their own: this one shares a machine.
const busy = 2 * time.Second

func set(t *testing.T, p *process, v int) fastopt.Receipt {
	t.Helper()
	rc, err := p.n.Set(ctx, v, fastopt.By("tester", "because"))
	must(t, err)
	return rc
}

func TestAChangeReachesTheOtherProcess(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	for i := range 10 {
		if rc := set(t, a, i); !rc.Cached {
			t.Error("not cached")
		}
		if a.n.Get() != i {
			t.Error("the writer does not read its write")
		}
		b.sees(t, 2*time.Second, i)
	}
	_, err := b.n.Delete(ctx)
	must(t, err)
	a.sees(t, 2*time.Second, -1)
	if is, err := a.IsSet(ctx, "n"); is || err != nil {
		t.Errorf("IsSet: %v, %v", is, err)
	}
	_, err = a.limit.Set(ctx, "tenant 7", 70)
	must(t, err)
	if r := b.limit.Load(ctx, "tenant 7"); r.Value != 70 || r.State != fastopt.Fresh {
		t.Errorf("%+v", r)
	}
	for _, p := range []*process{a, b} {
		if s := p.Stats(); s.Conflicts != 0 || s.CacheCorrupt != 0 || s.Rejected != 0 {
			t.Errorf("%+v", s)
		}
		within(t, 5*time.Second, "both tiers answer", func() bool { return p.Ready() == nil })
	}
}

// The refresher renews without a command: hits of the client-side cache, vouched
// for by the heartbeat.
func TestOptionsStayFreshForLong(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	set(t, p, 1)
	p.sees(t, time.Second, 1)
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
		if r := p.n.Inspect(); r.Age > 3*time.Second { // the TTL, and a busy machine
			t.Fatalf("%+v", r)
		}
	}
	if n := p.Stats().SourceLoads; n > 2 {
		t.Errorf("%d queries for options that did not change", n)
	}
}

// I16 with the real thing: Redis is killed, a write goes on, and is repaired.
func TestRedisKilledAndRestartedEmpty(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	set(t, a, 1)
	b.sees(t, 2*time.Second, 1)
	must(t, w.redis.Kill())
	if rc := set(t, a, 2); rc.Cached {
		t.Error("Cached, though Redis is dead")
	}
	if a.n.Get() != 2 {
		t.Error("the writer does not read its write")
	}
	if r := b.n.Load(ctx); r.Value != 1 && r.Value != 2 {
		t.Errorf("%+v", r)
	}
	b.sees(t, 3*time.Second, 2) // from the source, within the TTL
	set(t, a, 3)
	must(t, w.redis.Restart(ctx))
	a.sees(t, 2*time.Second, 3)
	b.sees(t, 2*time.Second, 3)
	within(t, 2*time.Second, "pushes arrive again, and nothing is dirty", func() bool {
		return a.Stats().PushesUp && b.Stats().PushesUp && a.Stats().Dirty == 0
	})
	set(t, a, 4)
	b.sees(t, time.Second, 4)
}

func TestRedisFrozen(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	set(t, a, 1)
	b.sees(t, 2*time.Second, 1)
	must(t, w.redis.Freeze())
	start := time.Now()
	rc := set(t, a, 2)
	if d := time.Since(start); rc.Cached || d > busy {
		t.Errorf("%+v after %v", rc, d)
	}
	b.sees(t, 4*time.Second, 2)
	must(t, w.redis.Thaw())
	within(t, 3*time.Second, "repaired", func() bool { return a.Stats().Dirty == 0 && b.Stats().PushesUp })
	set(t, a, 3)
	b.sees(t, 2*time.Second, 3)
}

func TestPostgresFrozen(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	set(t, a, 1)
	b.sees(t, 2*time.Second, 1)
	must(t, w.pg.Freeze())
	start := time.Now()
	_, err := a.n.Set(ctx, 2)
	if d := time.Since(start); !errors.Is(err, fastopt.ErrOutcomeUnknown) || d > busy {
		t.Errorf("%v after %v", err, d)
	}
	if r := a.n.Inspect(); r.Value != 1 || r.State == fastopt.Fresh {
		t.Errorf("%+v", r)
	}
	// The others live on from Redis (D6), beyond TTL + grace.
	for start := time.Now(); time.Since(start) < 7*time.Second; time.Sleep(10 * time.Millisecond) {
		if r := b.n.Inspect(); r.Value != 1 || r.Age > 2500*time.Millisecond {
			t.Fatalf("%+v", r)
		}
	}
	must(t, w.pg.Thaw())
	within(t, 3*time.Second, "the truth is read again", func() bool {
		return a.n.Inspect().State == fastopt.Fresh && a.Stats().Dirty == 0
	})
	v := a.n.Get()
	b.sees(t, 2*time.Second, v)
	if row := w.row("n"); v != row {
		t.Errorf("read %d, the row is %d", v, row)
	}
	set(t, b, 3)
	a.sees(t, 2*time.Second, 3)
}

func TestPostgresKilled(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	set(t, a, 1)
	b.sees(t, 2*time.Second, 1)
	must(t, w.pg.Kill())
	start := time.Now()
	_, err := a.n.Set(ctx, 2)
	if d := time.Since(start); !errors.Is(err, fastopt.ErrUnavailable) && !errors.Is(err, fastopt.ErrOutcomeUnknown) || d > busy {
		t.Errorf("%v after %v", err, d)
	}
	if _, err = a.n.Set(ctx, 2); !errors.Is(err, fastopt.ErrUnavailable) {
		t.Errorf("refused: %v", err)
	}
	b.sees(t, 3*time.Second, 1)
	must(t, w.pg.Restart(ctx))
	within(t, 2*time.Second, "writable again", func() bool { _, err := a.n.Set(ctx, 3); return err == nil })
	b.sees(t, 2*time.Second, 3)
}

// Both dead: stale until TTL + grace, then the default; back by themselves.
func TestBothDead(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	set(t, p, 1)
	p.sees(t, time.Second, 1)
	must(t, w.redis.Kill())
	must(t, w.pg.Kill())
	start := time.Now()
	for r := p.n.Inspect(); r.State != fastopt.Expired; r = p.n.Inspect() {
		if r.Value != 1 || time.Since(start) > 7*time.Second {
			t.Fatalf("%+v after %v", r, time.Since(start))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if d := time.Since(start); d < 3*time.Second {
		t.Errorf("expired after %v", d)
	}
	within(t, time.Second, "Get reads the default", func() bool { return p.n.Get() == -1 })
	must(t, w.pg.Restart(ctx))
	must(t, w.redis.Restart(ctx))
	p.sees(t, 2*time.Second, 1)
}

// Plain SQL, garbage in Redis, and an invalid row.
func TestWhatOthersWrite(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	set(t, p, 1)
	p.sees(t, time.Second, 1)

	w.sql(`UPDATE fastopt.options SET value = '2' WHERE namespace = 'shop' AND name = 'n'`)
	must(t, w.redisDo("DEL", "fastopt:shop:n"))
	p.sees(t, 2*time.Second, 2)

	for _, garbage := range []string{"", "garbage", "V99999999999999999999999999999911-00000000x"} {
		must(t, w.redisDo("SET", "fastopt:shop:n", garbage))
		time.Sleep(10 * time.Millisecond)
		p.sees(t, 2*time.Second, 2)
	}
	if p.Stats().CacheCorrupt == 0 {
		t.Error("garbage was not noticed")
	}

	w.sql(`UPDATE fastopt.options SET value = '5000' WHERE namespace = 'shop' AND name = 'n'`)
	must(t, w.redisDo("DEL", "fastopt:shop:n"))
	within(t, 2*time.Second, "the invalid row is said", func() bool {
		r := p.n.Inspect()
		return r.Value == 2 && r.State == fastopt.Stale && errors.Is(r.Err, fastopt.ErrInvalidValue)
	})
	w.sql(`DELETE FROM fastopt.options WHERE namespace = 'shop' AND name = 'n'`)
	must(t, p.Refresh(ctx))
	within(t, 4*time.Second, "the delete is seen", func() bool { return p.n.Get() == -1 })
}

// Without Redis, plain SQL is followed directly.
func TestWithoutACacheSQLIsFollowed(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Cache = nil
	p, err := open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	w.sql(`INSERT INTO fastopt.options (namespace, name, value) VALUES ('shop', 'n', '7')`)
	p.sees(t, time.Second, 7)
}

// Open says which tier, and what to do, within its timeout.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	empty := servers.Database(t)
	locked := servers.PrivateRedis(t, servers.Options{Settings: []string{"requirepass=topsecret"}})
	for _, c := range []struct {
		name, redis, postgres string
		is                    error
		says                  []string
	}{
		{"missing schema", w.redis.URL(), empty, tiers.ErrSetup, []string{"source", "Migrate"}},
		{"missing password", locked.URL(), w.pg.URL(), tiers.ErrSetup, []string{"cache"}},
		{"wrong password", strings.Replace(locked.URL(), "redis://", "redis://:wrongsecret@", 1), w.pg.URL(), tiers.ErrSetup, []string{"cache"}},
		{"missing database", w.redis.URL(), strings.Replace(w.pg.URL(), "/fastopt?", "/nowhere?", 1), tiers.ErrSetup, []string{"source"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache, err := redis.Open(redis.Config{URL: c.redis})
			must(t, err)
			defer cache.Close()
			source, err := postgres.Open(postgres.Config{URL: c.postgres})
			must(t, err)
			defer source.Close()
			start := time.Now()
			_, err = open(fastopt.Config{Namespace: "shop", Cache: cache, Source: source})
			if !errors.Is(err, c.is) {
				t.Fatalf("%v", err)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%v does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "secret") || time.Since(start) > 5*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			t.Log(err)
		})
	}
}

// Refused or silent tiers: Open starts degraded, and says so.
func TestOpenStartsDegraded(t *testing.T) {
	w := newWorld(t)
	seed := w.start()
	set(t, seed, 1)
	seed.sees(t, time.Second, 1)
	must(t, w.redis.Kill())
	must(t, w.pg.Freeze())
	cfg := w.config()
	cfg.StartTimeout = time.Second
	start := time.Now()
	p, err := open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("Open took %v", d)
	}
	if err := p.Ready(); !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("Ready: %v", err)
	}
	if p.n.Get() != -1 {
		t.Error("not the default")
	}
	must(t, w.pg.Thaw())
	must(t, w.redis.Restart(ctx))
	p.sees(t, 2*time.Second, 1)
}

// sql runs plain SQL, as an operator would.
func (w *world) sql(q string) {
	w.t.Helper()
	must(w.t, w.query(q, nil))
}

func (w *world) row(name string) (v int) {
	w.t.Helper()
	must(w.t, w.query(`SELECT value::text::int FROM fastopt.options WHERE namespace = 'shop' AND name = '`+name+`'`, &v))
	return v
}

func (w *world) query(q string, dst any) error {
	c, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(c, w.pg.URL())
	if err != nil {
		return err
	}
	defer conn.Close(c)
	if dst != nil {
		return conn.QueryRow(c, q).Scan(dst)
	}
	_, err = conn.Exec(c, q)
	return err
}
