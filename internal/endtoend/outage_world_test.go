package endtoend

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// A fleet that suffers outages: each server stands behind a proxy, each process
// has readers that never stop, and whatever it asks of a tier is counted. What
// the library promises in milliseconds is judged with the lag of a timer of our
// own beside it, since this machine does other things, too.

const (
	outageTTL   = 1200 * time.Millisecond
	outageGrace = 1200 * time.Millisecond
	darkness    = 3 * time.Second // of one outage: longer than TTL and grace

	comeback = 2*time.Second + slack // after a tier has returned
	coldWait = 300 * time.Millisecond
	writeEnd = time.Second
	room     = 100 * time.Millisecond // for what the test does itself
)

type outage struct {
	*world
	toRedis, toPostgres *faults.Proxy
	options, members    fastopt.Budget // of each process
	onlooker            tiers.Cache    // past the proxy
	canary              *canary
	ps                  []*victim
}

// newOutage starts n processes that read n as 1, with readers. Several may run
// beside each other.
func newOutage(t *testing.T, n int) *outage {
	t.Helper()
	o := newOutageAround(t, newWorldBeside(t))
	for i := range n {
		o.ps = append(o.ps, o.join(fmt.Sprint("p", i), o.config()))
	}
	within(t, 2*time.Second, "one process is the relay", func() bool {
		leaders := 0
		for _, p := range o.ps {
			if p.Stats().Relay {
				leaders++
			}
		}
		return leaders == 1
	})
	set(t, o.ps[0].process, 1)
	for _, p := range o.ps {
		p.sees(t, 2*time.Second, 1)
		p.reads = startReader(t, p.n.Get)
	}
	return o
}

// newOutageAround returns an outage without processes.
func newOutageAround(t *testing.T, w *world) *outage {
	t.Helper()
	onlooker, err := redis.Open(redis.Config{URL: w.redis.URL()})
	must(t, err)
	t.Cleanup(onlooker.Close)
	o := &outage{world: w, onlooker: onlooker, canary: startCanary(t)}
	// Small enough that the load of these tests meets them.
	o.options = fastopt.Budget{Rate: 2, Burst: 4, AtOnce: 1}
	o.members = fastopt.Budget{Rate: 5, Burst: 10, AtOnce: 2}
	for at, to := range map[**faults.Proxy]string{&o.toRedis: w.redis.Addr(), &o.toPostgres: w.pg.Addr()} {
		proxy, err := faults.NewProxy(to)
		must(t, err)
		t.Cleanup(proxy.Close)
		*at = proxy
	}
	return o
}

// config is what most of these processes are configured with, but their tiers.
func (o *outage) config() fastopt.Config {
	return fastopt.Config{
		Namespace: "shop", TTL: outageTTL, Grace: outageGrace, OptionBudget: o.options, FamilyBudget: o.members,
		CacheTimeout: 100 * time.Millisecond, SourceTimeout: 200 * time.Millisecond, // coldWait together, as by default
	}
}

// A victim is a process that suffers.
type victim struct {
	*process
	kept  *fastopt.Option[int] // for ever
	cache *requests            // loads it asked of Redis
	pg    *requests            // … of Postgres
	log   *lines
	reads *reader
}

func (o *outage) join(name string, cfg fastopt.Config) *victim {
	o.t.Helper()
	v := &victim{process: &process{}, log: &lines{}, cache: &requests{}, pg: &requests{}}
	var r fastopt.Registry
	v.n = fastopt.New(&r, "n", -1)
	v.kept = fastopt.Declare(&r, fastopt.Spec[int]{Name: "kept", Default: -1, Grace: fastopt.Forever})
	v.limit = fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "limit", Default: 5, MaxEntries: 1000})
	v.Manager = o.open(name, cfg, v, &r)
	return v
}

// open opens a manager over the proxies, whose requests and log lines v counts.
func (o *outage) open(name string, cfg fastopt.Config, v *victim, r *fastopt.Registry) *fastopt.Manager {
	o.t.Helper()
	cache, err := redis.Open(redis.Config{URL: strings.Replace(o.redis.URL(), o.redis.Addr(), o.toRedis.Addr(), 1)})
	must(o.t, err)
	o.t.Cleanup(cache.Close)
	url := strings.Replace(o.world.pg.URL(), o.world.pg.Addr(), o.toPostgres.Addr(), 1)
	source, err := postgres.Open(postgres.Config{URL: url + "&application_name=" + name})
	must(o.t, err)
	o.t.Cleanup(source.Close)
	cfg.Cache, cfg.Source = tappedCache{cache, v.cache}, tappedSource{source, v.pg}
	cfg.Logger = slog.New(slog.NewTextHandler(v.log, nil))
	m, err := fastopt.Open(ctx, cfg, r)
	must(o.t, err)
	o.t.Cleanup(func() { must(o.t, m.Close()) })
	return m
}

// fails says that a tier failed the process when it was last asked.
func (v *victim) fails(tier string) bool {
	s := v.Stats()
	up := map[string]bool{"cache": s.CacheTier.Up, "source": s.SourceTier.Up}[tier]
	err := v.Ready()
	return !up && err != nil && strings.Contains(err.Error(), tier+", since ")
}

// spares says that the process leaves a tier alone, but for probes.
func (v *victim) spares(tier string) bool {
	s := v.Stats()
	t := map[string]fastopt.TierStats{"cache": s.CacheTier, "source": s.SourceTier}[tier]
	return t.Breaker != "closed" && t.Opened > 0
}

// heals waits until every process is right again by itself, and then changes n,
// which all must see. It returns what n was before that.
func (o *outage) heals(d time.Duration, next int) (truth int) {
	o.t.Helper()
	o.canary.worst()
	start := time.Now()
	late := time.Duration(0)
	left := func() time.Duration { late = max(late, o.canary.worst()); return d + late - time.Since(start) }
	whys := make([]string, len(o.ps))
	defer func() {
		for i, p := range o.ps {
			if o.t.Failed() {
				o.t.Logf("process %d: %s; n is %+v; log:\n%s", i, whys[i], p.n.Inspect(), p.log)
			}
		}
	}()
	for i, p := range o.ps {
		until(o.t, left, "all is right again", func() bool {
			r, s, err := p.n.Inspect(), p.Stats(), p.Ready()
			whys[i] = fmt.Sprintf("pushes %v, dirty %d, ready %v", s.PushesUp, s.Dirty, err)
			return r.State == fastopt.Fresh && s.PushesUp && err == nil
		})
	}
	for i, p := range o.ps {
		until(o.t, left, "the truth is read again", func() bool {
			truth = o.row("n")
			whys[i] = fmt.Sprintf("the truth is %d", truth)
			return p.n.Get() == truth
		})
	}
	o.t.Logf("all right after %v, a timer was late by %v", time.Since(start), late)
	for _, p := range o.ps { // what may come late is looked for once more
		within(o.t, d, "nothing is under repair", func() bool { return p.Stats().Dirty == 0 })
	}
	within(o.t, d, "a write is acknowledged", func() bool { _, err := o.set(o.ps[0], next); return err == nil })
	for _, p := range o.ps {
		p.sees(o.t, comeback, next)
		within(o.t, time.Second, "the reader sees it", func() bool { return p.reads.last() == next })
	}
	return truth
}

// until is within a time that grows with the lag of this machine.
func until(t *testing.T, left func() time.Duration, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		if left() < 0 {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// cold loads a member that the process has never read, within the bound.
func (o *outage) cold(p *victim, key string) fastopt.Reading[int] {
	o.t.Helper()
	o.canary.worst()
	start := time.Now()
	r := p.limit.Load(ctx, key)
	if took, lag := time.Since(start), o.canary.worst(); took > coldWait+lag+room {
		o.t.Errorf("a cold load took %v, a timer was late by %v: %+v", took, lag, r)
	}
	return r
}

// set sets n within the bound, whatever comes of it.
func (o *outage) set(p *victim, v int) (fastopt.Receipt, error) {
	o.t.Helper()
	o.canary.worst()
	start := time.Now()
	rc, err := p.n.Set(ctx, v)
	if took, lag := time.Since(start), o.canary.worst(); took > writeEnd+lag+room {
		o.t.Errorf("a Set took %v, a timer was late by %v: %v", took, lag, err)
	}
	if err != nil && !errors.Is(err, fastopt.ErrUnavailable) && !errors.Is(err, fastopt.ErrOutcomeUnknown) {
		o.t.Errorf("a Set: %v", err)
	}
	return rc, err
}

// sow makes members that are 42 in Postgres and not in Redis.
func (o *outage) sow(prefix string, n int) {
	o.t.Helper()
	o.sql(fmt.Sprintf(`INSERT INTO fastopt.options (namespace, name, value) SELECT 'shop', 'limit/%s' || i, '42' FROM generate_series(0, %d) i`, prefix, n-1))
}

// readsWent fails the test unless all readers went on all the time, and returns
// what they saw.
func (o *outage) readsWent() (saw [][]int) {
	o.t.Helper()
	for i, p := range o.ps {
		within(o.t, time.Second, "a reader goes on", func() func() bool {
			before := p.reads.count.Load()
			return func() bool { return p.reads.count.Load() > before }
		}())
		if pause := time.Duration(p.reads.pause.Load()); pause > time.Second {
			o.t.Errorf("process %d: a thousand reads took %v", i, pause)
		}
		saw = append(saw, p.reads.values())
	}
	return saw
}

// withinBudget fails the test if a process asked Postgres more than its buckets
// allow since then, or more at once than that and a probe.
func (o *outage) withinBudget(since time.Time) {
	o.t.Helper()
	d := time.Since(since).Seconds()
	for i, p := range o.ps {
		for lane, b := range map[bool]fastopt.Budget{false: o.options, true: o.members} {
			n := p.pg.since(since, lane)
			if most := float64(b.Burst) + b.Rate*d + 1; float64(n) > most {
				o.t.Errorf("process %d sent Postgres %d requests in %.1f s, the bucket of members %v allows %.0f", i, n, d, lane, most)
			}
		}
		if most := int64(o.options.AtOnce + o.members.AtOnce + 1); p.pg.most.Load() > most {
			o.t.Errorf("process %d had %d requests under way, %d are allowed", i, p.pg.most.Load(), most)
		}
	}
}
