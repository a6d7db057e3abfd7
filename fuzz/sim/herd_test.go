package sim

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// Herds: what a fleet of two thousand processes asks of its tiers, per tenth of
// a second. Whatever brought its processes into step, a deploy or an outage, they
// must not stay in step: one that asks as rarely as any alone is a wave with all.

const (
	herdOptions = 1
	herdTTL     = fastopt.DefaultTTL
	slot        = 100 * time.Millisecond
)

// herdSize is how many processes there are; fewer under the race detector, which is
// slow and ends a program of more than 8,128 goroutines.
func herdSize() int {
	if raceEnabled {
		return 50
	}
	return 2000
}

// A herd is one history of a fleet: opened within arrival, its tiers dead from
// dies to returns, watched until ends.
type herd struct {
	name    string
	arrival time.Duration
	dies    time.Duration // 0: never
	returns time.Duration
	ends    time.Duration
	cached  bool // else there is the source alone
	pushed  bool // the cache announces changes, of which there are none
	lame    bool // jitter is none
}

// A herdLoad is how many requests a tier got in each slot of time.
type herdLoad []atomic.Int64

// A herdTier answers everybody the same: as a source, or as a cache that holds
// everything. It counts the requests that a fleet can bring into step.
type herdTier struct {
	start  time.Time
	dead   *atomic.Bool
	pushes bool
	loads  herdLoad
}

func (t *herdTier) Load(ctx context.Context, _ string, ns []string) []tiers.Result {
	at := time.Now()
	t.loads[at.Sub(t.start)/slot].Add(1)
	rs := make([]tiers.Result, len(ns))
	for i, name := range ns {
		if t.dead.Load() {
			rs[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: errRefused}
			continue
		}
		rs[i].Record = tiers.Record{Name: name, Kind: tiers.Value, Data: []byte("1"), Stamp: tiers.Stamp{Epoch: 1, Revision: 1}, AsOf: at}
	}
	return rs
}

// Watch announces nothing, and if it pushes that it is alive, while it is.
func (t *herdTier) Watch(ctx context.Context, _ string, sink func(tiers.Event)) error {
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for up := false; ; {
		switch dead := t.dead.Load(); {
		case t.pushes && !dead:
			sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
			up = true
		case up && dead:
			sink(tiers.Event{Kind: tiers.Lost})
			up = false
		}
		if !t.pushes {
			beat.Stop()
		}
		select {
		case <-beat.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type (
	herdSource struct {
		tiers.Source // of which nothing else is asked
		*herdTier
	}
	herdCache struct {
		tiers.Cache
		*herdTier
	}
)

func (s herdSource) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	return s.herdTier.Load(ctx, ns, names)
}
func (s herdSource) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	return s.herdTier.Watch(ctx, ns, sink)
}
func (s herdSource) Identity(context.Context) (tiers.Identity, error) {
	if s.dead.Load() {
		return tiers.Identity{}, errRefused
	}
	return tiers.Identity{Lineage: "herd", System: "herd", Timeline: 1, Database: "herd", Epoch: 1}, nil
}
func (c herdCache) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	return c.herdTier.Load(ctx, ns, names)
}
func (c herdCache) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	return c.herdTier.Watch(ctx, ns, sink)
}
func (c herdCache) Fill(_ context.Context, _ string, fills []tiers.Fill) []tiers.FillResult {
	results := make([]tiers.FillResult, len(fills)) // it holds all of it already
	for i := range results {
		if c.dead.Load() {
			results[i].Err = errRefused
		}
	}
	return results
}
func (c herdCache) Lease(_ context.Context, _ string, names []string, _ time.Duration) ([]bool, error) {
	if c.dead.Load() {
		return nil, errRefused
	}
	return make([]bool, len(names)), nil
}

// run lives the history of h and returns what the source and the cache were asked.
func (h herd) run(t *testing.T) (source, cache herdLoad) {
	synctest.Test(t, func(t *testing.T) {
		start, dead := time.Now(), &atomic.Bool{}
		n := int(h.ends/slot) + 1
		src := &herdTier{start: start, dead: dead, loads: make(herdLoad, n)}
		mem := &herdTier{start: start, dead: dead, loads: make(herdLoad, n), pushes: h.pushed}
		source, cache = src.loads, mem.loads
		end, stop := context.WithCancel(context.Background())
		arrivals := rand.New(rand.NewPCG(1, 2))
		var fleet sync.WaitGroup
		for id := range herdSize() {
			at := time.Duration(arrivals.Float64() * float64(h.arrival))
			fleet.Go(func() {
				time.Sleep(at)
				h.process(t, end, uint64(id), src, mem)
			})
		}
		time.Sleep(h.dies)
		dead.Store(h.dies > 0)
		time.Sleep(h.returns - h.dies)
		dead.Store(false)
		time.Sleep(h.ends - h.returns)
		stop()
		fleet.Wait()
	})
	return source, cache
}

// process is one of the fleet, until end.
func (h herd) process(t *testing.T, end context.Context, id uint64, src, mem *herdTier) {
	var reg fastopt.Registry
	for i := range herdOptions {
		fastopt.New[int64](&reg, fmt.Sprint("o", i), fallback)
	}
	var lock sync.Mutex
	own := rand.New(rand.NewPCG(id, 3))
	cfg := fastopt.Config{Source: herdSource{herdTier: src}, TTL: herdTTL, Jitter: func() float64 {
		lock.Lock()
		defer lock.Unlock()
		if h.lame {
			return 0.5
		}
		return own.Float64()
	}}
	if h.cached {
		cfg.Cache = herdCache{herdTier: mem}
	}
	m, err := fastopt.Open(context.Background(), cfg, &reg)
	if err != nil {
		t.Error(err)
		return
	}
	<-end.Done()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// between is the load of a time.
func (l herdLoad) between(from, to time.Duration) (mean float64, peak int64, at time.Duration) {
	sum := int64(0)
	for i := from / slot; i < to/slot; i++ {
		n := l[i].Load()
		if sum += n; n > peak {
			peak, at = n, i*slot
		}
	}
	return float64(sum) / float64((to-from)/slot), peak, at
}

// bound is the peak that a load of so many requests per slot may have by chance,
// if it is no more than wave times as high anywhere.
func bound(mean, wave float64) int64 {
	high := wave * mean
	return int64(high + 5*math.Sqrt(high) + 1)
}

// atEase is how much higher than the mean the load may be at any time, also after
// all processes did the same at one instant.
const atEase = 2

// judgeHerd returns what is wrong with the load of a tier from the instant since
// which all processes have been served.
func judgeHerd(l herdLoad, since, until time.Duration) string {
	mean, peak, at := l.between(since, until)
	if peak > bound(mean, atEase) {
		return fmt.Sprintf("%d requests come in %v at %v, %.1f on average", peak, slot, at, mean)
	}
	return ""
}

// R41: a fleet that starts within a minute does not come into step, and one that is
// brought into step, by a deploy or an outage, does not stay so. With pushes it
// asks for nothing at all.
func TestR41AHerdIsNotInStep(t *testing.T) {
	const minute, outage = time.Minute, 2 * time.Minute
	for _, h := range []herd{
		{name: "a minute", arrival: minute, ends: 2 * minute},
		{name: "a deploy", arrival: slot, ends: 2 * minute},
		{name: "an outage", arrival: 10 * time.Second, dies: 20 * time.Second, returns: 20*time.Second + outage, ends: 4 * minute},
		{name: "an outage, with a cache", cached: true, arrival: 10 * time.Second, dies: 20 * time.Second, returns: 40 * time.Second, ends: 2 * minute},
		{name: "an outage, with pushes", cached: true, pushed: true, arrival: 10 * time.Second, dies: 15 * time.Second, returns: 35 * time.Second, ends: minute},
	} {
		t.Run(h.name, func(t *testing.T) {
			began := time.Now()
			source, cache := h.run(t)
			asked := source
			if h.cached {
				asked = cache
			}
			since := max(h.arrival, h.returns) + herdTTL
			mean, peak, at := asked.between(since, h.ends)
			t.Logf("from %v: %.1f requests per %v, at most %d at %v (took %v)", since, mean, slot, peak, at, time.Since(began).Round(time.Millisecond))
			if h.pushed && peak > 0 {
				t.Errorf("%d requests although pushes arrive", peak)
			}
			if bad := judgeHerd(asked, since, h.ends); bad != "" {
				t.Error(bad)
			}
			if h.returns == 0 {
				return
			}
			for _, l := range []herdLoad{source, cache} {
				mean, peak, at := l.between(h.dies+herdTTL, h.returns) // breakers are open
				t.Logf("dead: %.1f requests per %v, at most %d at %v", mean, slot, peak, at)
				mean, peak, at = l.between(h.returns, h.returns+2*time.Second)
				t.Logf("back: %.1f requests per %v, at most %d at %v", mean, slot, peak, at)
			}
		})
	}
}

// The judge sees a fleet without jitter for what it is.
func TestHerdWithoutJitterIsInStep(t *testing.T) {
	h := herd{lame: true, arrival: slot, ends: time.Minute}
	source, _ := h.run(t)
	if bad := judgeHerd(source, h.arrival+herdTTL, h.ends); bad == "" {
		t.Error("nothing is wrong with a fleet that acts as one")
	}
}
