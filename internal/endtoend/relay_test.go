package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// The relay with the real thing: what nobody filled reaches everyone, and
// somebody leads again, whatever is killed.

// slack is what a busy machine may add to a promise.
const slack = 500 * time.Millisecond

// relay waits until exactly one of ps is the relay, and returns it.
func relay(t *testing.T, d time.Duration, ps ...*process) (leader *process) {
	t.Helper()
	within(t, d, "one process is the relay", func() bool {
		n := 0
		for _, p := range ps {
			if p.Stats().Relay {
				leader, n = p, n+1
			}
		}
		return n == 1
	})
	return leader
}

const upsert = `INSERT INTO fastopt.options (namespace, name, value) VALUES ('shop', 'n', '%d')
	ON CONFLICT (namespace, name) DO UPDATE SET value = EXCLUDED.value`

func TestPlainSQLReachesEveryProcess(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	relay(t, 2*time.Second, a, b)
	operator, err := pgx.Connect(ctx, w.pg.URL())
	must(t, err)
	defer operator.Close(ctx)
	var took []time.Duration
	for i := range 30 {
		_, err := operator.Exec(ctx, fmt.Sprintf(upsert, i))
		must(t, err)
		committed := time.Now()
		a.sees(t, time.Second, i)
		b.sees(t, time.Second, i)
		took = append(took, time.Since(committed))
		time.Sleep(110 * time.Millisecond) // pushes of one key are followed 100 ms apart
	}
	slices.Sort(took)
	t.Logf("from the commit to the last of two processes: median %v, longest %v", took[len(took)/2], took[len(took)-1])
	w.sql(`DELETE FROM fastopt.options WHERE namespace = 'shop' AND name = 'n'`)
	a.sees(t, time.Second, -1)
	b.sees(t, time.Second, -1)
}

// I16, R34: a writer that is killed between its commit and its fill leaves just
// a commit.
func TestR34ACommitThatNobodyFilledReachesEveryProcess(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	relay(t, 2*time.Second, a, b)
	set(t, a, 1)
	b.sees(t, 2*time.Second, 1)
	_, err := a.source.Write(ctx, "shop", []tiers.Write{{Name: "n", Data: []byte("2")}})
	must(t, err)
	b.sees(t, 2*time.Second, 2)
	a.sees(t, 2*time.Second, 2)
}

// R25: every row is back, of options that nobody here declares, too.
func TestR25ARedisRestartedEmptyIsFilledAgain(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	p, err := open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	relay(t, 2*time.Second, p)
	w.sql(`INSERT INTO fastopt.options (namespace, name, value) SELECT 'shop', 'o.' || i, to_json(i)::jsonb FROM generate_series(1, 1200) i`)
	w.sql(`DELETE FROM fastopt.options WHERE namespace = 'shop' AND name = 'o.7'`)
	complete := func() bool {
		for from := 1; from <= 1200; from += 300 {
			var names []string
			for i := range 300 {
				names = append(names, fmt.Sprintf("o.%d", from+i))
			}
			for i, r := range cfg.Cache.Load(ctx, "shop", names) {
				if n := from + i; r.Err != nil || n == 7 && r.Kind != tiers.Absent || n != 7 && string(r.Data) != fmt.Sprint(n) {
					return false
				}
			}
		}
		return true
	}
	within(t, 2*time.Second, "all rows are in Redis", complete)
	must(t, w.redis.Kill())
	must(t, w.redis.Restart(ctx))
	start := time.Now()
	within(t, 2*time.Second+slack, "all rows are back", complete)
	t.Logf("all 1,200 rows back %v after the restart", time.Since(start))
	must(t, w.redisDo("FLUSHALL"))
	within(t, 2*time.Second+slack, "all rows are back after FLUSHALL", complete)
}

func TestAnotherProcessTakesOverFromARelay(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start(), w.start()}
	relay(t, 2*time.Second, ps...)

	// Its session is killed, and a change made before anybody leads again.
	const holders = `pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)`
	w.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ` + holders)
	w.sql(fmt.Sprintf(upsert, 1))
	for _, p := range ps {
		p.sees(t, 2*time.Second, 1)
	}
	first := relay(t, 2*time.Second, ps...)

	// It is closed.
	must(t, first.Close())
	closed := time.Now()
	rest := slices.DeleteFunc(slices.Clone(ps), func(p *process) bool { return p == first })
	relay(t, 500*time.Millisecond+slack, rest...)
	t.Logf("another leads %v after the first was closed", time.Since(closed))
	w.sql(fmt.Sprintf(upsert, 2))
	for _, p := range rest {
		p.sees(t, 2*time.Second, 2)
	}
}

// A frozen Postgres costs the relay its right; readers notice nothing.
func TestARelayOutlivesAFrozenPostgres(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	relay(t, 2*time.Second, p)
	set(t, p, 1)
	p.sees(t, time.Second, 1)
	must(t, w.pg.Freeze())
	within(t, 3*time.Second, "it is the relay no longer", func() bool { return !p.Stats().Relay })
	if p.n.Get() != 1 {
		t.Error("a reader noticed")
	}
	must(t, w.pg.Thaw())
	relay(t, 3*time.Second, p)
	w.sql(fmt.Sprintf(upsert, 2))
	p.sees(t, 2*time.Second, 2)
}

// What an idle relay costs the servers, by their own counts.
func TestAnIdleFleetDoesLittle(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start(), w.start()}
	relay(t, 2*time.Second, ps...)
	const commits = `SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`
	var before, after int
	must(t, w.query(commits, &before))
	const d = 5 * time.Second
	time.Sleep(d) // it is what is measured
	must(t, w.query(commits, &after))
	// Of the relay: three heartbeats of its watch, and a look at the history. The
	// questions of an election (4 a second of a candidate, 2.5 of the relay) read
	// no table, and are not counted there.
	perSecond := float64(after-before) / d.Seconds()
	if t.Logf("%.1f transactions a second for an idle fleet of three", perSecond); perSecond > 20 {
		t.Error("that is too much")
	}
}

func TestSyncByHand(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Relay = fastopt.Never
	p, err := open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	set(t, p, 1)
	p.sees(t, time.Second, 1)
	w.sql(fmt.Sprintf(upsert, 2))
	must(t, p.Sync(ctx))
	p.sees(t, time.Second, 2)
	must(t, w.redis.Kill())
	if err := p.Sync(ctx); err == nil || !strings.Contains(err.Error(), "sync") {
		t.Errorf("Sync without Redis: %v", err)
	}
}
