package endtoend

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/fastopt"
)

// Both tiers fail at once, for longer than TTL and grace: stale until then, the
// default after, to the moment; what is to stay for ever stays; few words are
// made of it; and when both are back all is right by itself.

const expirerLag = 50 * time.Millisecond // that Get's promise allows, beside the lag of timers

func TestBothDeadBeyondGrace(t *testing.T) {
	noGoroutineLeft(t)
	o := newOutage(t, 2)
	must(t, second(o.ps[0].kept.Set(ctx, 9)))
	for _, p := range o.ps {
		within(t, 2*time.Second, "kept is read", func() bool { return p.kept.Get() == 9 })
	}
	said := make([]int, len(o.ps))
	for i, p := range o.ps {
		said[i] = p.log.count()
	}
	must(t, o.redis.Kill())
	must(t, o.world.pg.Kill())
	dead := time.Now()
	stop := o.crowd()
	for _, p := range o.ps {
		within(t, outageTTL, "both tiers fail", func() bool { return p.fails("cache") && p.fails("source") })
	}
	o.falls(dead)
	for _, p := range o.ps {
		if !p.spares("cache") || !p.spares("source") {
			t.Errorf("dead tiers are not left alone: %+v", p.Stats())
		}
		start := time.Now()
		if r := o.cold(p, "new"); r.Err == nil || time.Since(start) > coldWait/2+o.canary.worst() {
			t.Errorf("a cold load that nobody can answer took %v: %+v", time.Since(start), r)
		}
	}
	healthy := time.Since(dead)
	before := o.asked(dead)
	steady := time.Now()
	for time.Since(steady) < 2*time.Second {
		for i, p := range o.ps {
			if n, kept := p.n.Get(), p.kept.Get(); n != -1 || kept != 9 {
				t.Fatalf("process %d reads %d and %d after grace", i, n, kept)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("requests to dead tiers, of readers without number: %d in the first %v, %d in %v after", before, healthy, o.asked(steady), time.Since(steady))
	if n, most := o.asked(steady), int(time.Since(steady).Seconds()*4*2*2)+4; n > most { // two processes, two tiers
		t.Errorf("%d requests to tiers known to be dead, want at most %d", n, most)
	}
	stop()
	for i, p := range o.ps {
		if n := p.log.count() - said[i]; n > 10 {
			t.Errorf("process %d has logged %d lines:\n%s", i, n, p.log)
		}
	}
	must(t, o.redis.Restart(ctx))
	must(t, o.world.pg.Restart(ctx))
	back := time.Now()
	if truth := o.heals(comeback, 2); truth != 1 {
		t.Errorf("n is %d", truth)
	}
	o.withinBudget(back)
	for i, saw := range o.readsWent() {
		if want := []int{1, -1, 1, 2}; !slices.Equal(saw, want) {
			t.Errorf("process %d read %v, want %v", i, saw, want)
		}
		t.Logf("process %d has logged %d lines from the beginning to the end", i, o.ps[i].log.count()-said[i])
	}
}

// falls waits until each process has fallen to its default, exactly at the end
// of TTL and grace.
func (o *outage) falls(dead time.Time) {
	t := o.t
	t.Helper()
	o.canary.worst()
	var worst time.Duration
	const usable = outageTTL + outageGrace
	for i, p := range o.ps {
		var asked time.Time // of the last answer
		within(t, usable+time.Second, "the end of grace", func() bool {
			r := p.n.Inspect()
			asked = time.Now().Add(-r.Age)
			switch {
			case r.State == fastopt.Expired && (r.Age < usable || r.Value != -1),
				r.State != fastopt.Expired && (r.Age >= usable || r.Value != 1):
				t.Fatalf("process %d reads %+v", i, r)
			}
			return r.State == fastopt.Expired
		})
		if asked.After(dead) {
			t.Errorf("process %d was answered %v after both tiers were dead", i, asked.Sub(dead))
		}
		within(t, time.Second, "Get reads the default", func() bool { return p.reads.last() == -1 })
		fell := p.reads.sightings()[1].at
		lag := fell.Sub(asked.Add(usable))
		worst = max(worst, o.canary.worst())
		if t.Logf("process %d: Get fell to the default %v after the end of grace, the expirer says %v", i, lag, p.Stats().ExpirerWorst); lag < -room {
			t.Errorf("it is too early")
		}
		if most := expirerLag + worst; p.Stats().ExpirerWorst > most || lag > most+room {
			t.Errorf("a timer was late by %v", worst)
		}
	}
}

// crowd has many callers load what is known and what is not, until it is told to
// stop: what they cause must not grow with their number.
func (o *outage) crowd() (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for i := range 20 {
		p := o.ps[i%len(o.ps)]
		all.Go(func() {
			for pace := time.NewTicker(5 * time.Millisecond); ; {
				select {
				case <-done:
					pace.Stop()
					return
				case <-pace.C:
				}
				p.n.Load(ctx)
				p.limit.Load(ctx, "nobody's")
			}
		})
	}
	stop = sync.OnceFunc(func() { close(done); all.Wait() })
	o.t.Cleanup(stop)
	return stop
}

// asked returns how often all processes asked their tiers since t.
func (o *outage) asked(t time.Time) (n int) {
	for _, p := range o.ps {
		for _, r := range []*requests{p.cache, p.pg} {
			_, m := r.names(t)
			n += m
		}
	}
	return n
}

// 1,000 options in each of 8 processes, all expiring with Redis dead: each has at
// most four connections to Postgres, and asks for many names at a time.
func TestEverythingExpiresWithRedisDead(t *testing.T) {
	noGoroutineLeft(t)
	o := newOutageAround(t, newWorldBeside(t))
	const processes, options = 8, 1000
	o.sql(`INSERT INTO fastopt.options (namespace, name, value) SELECT 'shop', 'o' || i, to_json(i)::jsonb FROM generate_series(0, 999) i`)
	o.options = fastopt.Budget{Rate: 5, Burst: 20, AtOnce: 2} // the defaults
	const ttl = 3 * time.Second
	cfg := o.config()
	cfg.TTL, cfg.Grace = ttl, time.Minute
	// Eight processes in one, on a busy machine, need their time for so much.
	cfg.CacheTimeout, cfg.SourceTimeout = 300*time.Millisecond, 1500*time.Millisecond
	cfg.LoadTimeout, cfg.LeaseTime, cfg.StartTimeout = 300*time.Millisecond, time.Second, time.Second
	const patience = 20 * time.Second
	all := make([][]*fastopt.Option[int], processes)
	for i := range processes {
		var r fastopt.Registry
		for j := range options {
			all[i] = append(all[i], fastopt.New(&r, "o"+strconv.Itoa(j), -1))
		}
		v := &victim{process: &process{}, log: &lines{}, cache: &requests{}, pg: &requests{}}
		v.Manager = o.open("p"+strconv.Itoa(i), cfg, v, &r)
		o.ps = append(o.ps, v)
	}
	// old names an option that was last confirmed before then.
	old := func(then time.Time) (which string) {
		for i, os := range all {
			for j, opt := range os {
				r := opt.Inspect()
				if r.Value != j && r.State != fastopt.Unloaded {
					t.Fatalf("option %d: %+v", j, r)
				}
				if r.State == fastopt.Unloaded || r.Age > time.Since(then) {
					return fmt.Sprintf("option %d of process %d: %+v", j, i, r)
				}
			}
		}
		return ""
	}
	confirmed := func(d time.Duration, by string, since time.Time) {
		t.Helper()
		which := "none"
		t.Cleanup(func() {
			if t.Failed() {
				t.Log("the last to be confirmed by", by, "was", which)
			}
		})
		within(t, d, "all options are confirmed by "+by, func() bool {
			time.Sleep(20 * time.Millisecond) // to look is no little work
			if which = old(since); which == "" {
				t.Logf("all options were confirmed by %s after %v", by, time.Since(since))
			}
			return which == ""
		})
	}
	confirmed(patience, "somebody", o.canary.start)
	most := o.connections()
	began := time.Now()
	must(t, o.redis.Kill())
	confirmed(patience, "Postgres", began)
	within(t, patience, "Redis fails", func() bool {
		return !slices.ContainsFunc(o.ps, func(p *victim) bool { return !p.fails("cache") })
	})
	confirmed(patience, "Postgres once more", time.Now())
	for i, p := range o.ps {
		names, requests := p.pg.names(began)
		if names < options || names/requests < 20 {
			t.Errorf("process %d asked for %d names in %d requests", i, names, requests)
		}
		if i == 0 {
			t.Logf("a process asked for %d names in %d requests in %v", names, requests, time.Since(began))
		}
	}
	o.withinBudget(began)
	highest := most()
	for i, p := range o.ps {
		allowed := 4
		if s := p.Stats(); s.Relay || s.RelayResyncs > 0 {
			allowed += 2 // the sessions by which it leads, or led, and listens
		}
		if n := highest["p"+strconv.Itoa(i)]; n > allowed {
			t.Errorf("process %d had %d connections", i, n)
		}
	}
	must(t, o.redis.Restart(ctx))
	back := time.Now()
	within(t, patience, "Redis answers everyone", func() bool {
		return !slices.ContainsFunc(o.ps, func(p *victim) bool { return p.Ready() != nil || !p.Stats().PushesUp })
	})
	confirmed(patience, "Redis", back)
}

// connections counts from now on how many connections each application has at most.
func (o *outage) connections() (most func() map[string]int) {
	o.t.Helper()
	conn, err := pgx.Connect(ctx, o.world.pg.URL())
	must(o.t, err)
	o.t.Cleanup(func() { conn.Close(ctx) })
	highest := map[string]int{}
	var mu sync.Mutex
	loop(o.t, 10*time.Millisecond, func() {
		rows, err := conn.Query(ctx, `SELECT application_name, count(*)::int FROM pg_stat_activity WHERE application_name ~ '^p\d+$' GROUP BY 1`)
		if err != nil {
			return // said below
		}
		mu.Lock()
		defer mu.Unlock()
		for rows.Next() {
			var name string
			var n int
			if rows.Scan(&name, &n) == nil {
				highest[name] = max(highest[name], n)
			}
		}
	})
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		o.t.Logf("connections at most: %v", highest)
		if len(highest) == 0 {
			o.t.Error("no connections were counted")
		}
		return maps.Clone(highest)
	}
}

// Twice the load that is usual, while Redis is dead and when it is back, without
// a pause: nothing feeds on itself.
func TestTwiceTheLoadThroughADeadRedis(t *testing.T) {
	noGoroutineLeft(t)
	o := newOutage(t, 2)
	const keys, usual = 300, 200 // members; loads a second and process
	o.sow("busy", keys)
	load := o.startLoad(keys)
	load.rate.Store(usual)
	within(t, 10*time.Second, "the usual load is borne", func() bool { return load.second() >= 0.99 })
	load.rate.Store(2 * usual)
	must(t, o.redis.Kill())
	dead := time.Now()
	for _, p := range o.ps {
		within(t, time.Second, "Redis fails", func() bool { return p.fails("cache") })
	}
	for time.Since(dead) < darkness {
		t.Logf("goodput while Redis is dead: %.3f", load.second())
	}
	o.withinBudget(dead)
	must(t, o.redis.Restart(ctx))
	back := time.Now()
	within(t, 10*time.Second, "twice the usual load is borne", func() bool { return load.second() >= 0.99 })
	t.Logf("goodput is back %v after Redis", time.Since(back))
	o.heals(comeback, 2)
	o.withinBudget(dead)
	o.readsWent()
}

// A load is offered whether answers come or not.
type load struct {
	t            *testing.T
	rate         atomic.Int64 // a second and process
	offered, got atomic.Int64
}

func (o *outage) startLoad(keys int) *load {
	l := &load{t: o.t}
	var under sync.WaitGroup
	o.t.Cleanup(under.Wait)
	begin, sent := time.Now(), 0.0
	loop(o.t, time.Millisecond, func() {
		now := time.Now()
		sent += now.Sub(begin).Seconds() * float64(l.rate.Load())
		begin = now
		for ; sent >= 1; sent-- {
			key := "busy" + strconv.Itoa(int(l.offered.Load())%keys)
			for _, p := range o.ps {
				l.offered.Add(1)
				under.Go(func() {
					if r := p.limit.Load(ctx, key); r.Value == 42 && r.State == fastopt.Fresh {
						l.got.Add(1)
					}
				})
			}
		}
	})
	return l
}

// second offers the load for a second, and returns what part of it was answered
// well.
func (l *load) second() float64 {
	offered, got := l.offered.Load(), l.got.Load()
	time.Sleep(time.Second) // it is what is measured
	return float64(l.got.Load()-got) / float64(l.offered.Load()-offered)
}
