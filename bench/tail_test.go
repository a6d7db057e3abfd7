// Package bench measures the library against what else a service could use. It
// is a module of its own, so that rivals enter no user's module graph.
package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// The tail of reads: batches of a thousand, of ten thousand keys by zipf, while
// each cache gets a thousand new values a second, and the collector is made to run
// ten times a second. fastopt is told of a change by its cache, asks for the new
// value, decodes and publishes it; otter is handed it ready. Batches of all
// rivals take turns.

const (
	tailBatch = 1000
	names     = 10_000
	asked     = 1 << 16 // a power of two
)

func name(i int) string { return fmt.Sprintf("service.option.%05d", i) }

// value is what otter keeps under a name: as large as an entry of the library.
type value struct {
	n int
	_ *int
}

// A restless cache gives every name a newer value whenever it is asked, and says
// of any name that it changed.
type restless struct {
	tiers.Cache
	revision atomic.Uint64
	sink     atomic.Pointer[func(tiers.Event)]
}

func (c *restless) Load(_ context.Context, _ string, names []string) []tiers.Result {
	results := make([]tiers.Result, len(names))
	for i, name := range names {
		n := c.revision.Add(1)
		results[i].Record = tiers.Record{Name: name, Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 1, Revision: n}, Data: strconv.AppendUint(nil, n, 10)}
	}
	return results
}

func (c *restless) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	c.sink.Store(&sink)
	return c.Cache.Watch(ctx, ns, sink)
}

func (c *restless) change(name string) {
	(*c.sink.Load())(tiers.Event{Kind: tiers.Changed, Name: name})
}

// BenchmarkTail reports percentiles of a batch, and x-…, how each p99.99 compares
// to otter's. Below 20,000 batches a p99.99 says little: -benchtime 20000x or more.
func BenchmarkTail(b *testing.B) {
	var r fastopt.Registry
	options, keys := make([]*fastopt.Option[int], names), make([]string, names)
	for i := range names {
		keys[i] = name(i)
		options[i] = fastopt.New(&r, keys[i], i)
	}
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "limit", TTL: time.Hour, MaxEntries: 2 * names})
	cache := &restless{Cache: memory.NewCache()}
	m, err := fastopt.Open(b.Context(), fastopt.Config{Cache: cache, TTL: time.Hour}, &r)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	rival := otter.Must(&otter.Options[string, *value]{MaximumSize: 2 * names, ExpiryCalculator: otter.ExpiryWriting[string, *value](time.Hour)})
	defer rival.StopAllGoroutines()
	for i, key := range keys {
		rival.Set(key, &value{n: i})
		if got := f.Load(b.Context(), key); got.State != fastopt.Fresh {
			b.Fatalf("%s is %v: %v", key, got.State, got.Err)
		}
	}
	ask, zipf := make([]string, asked), rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, names-1)
	which := make([]int, asked)
	for i := range ask {
		which[i] = int(zipf.Uint64())
		ask[i] = strings.Clone(keys[which[i]])
	}
	defer unrest(func(i int) {
		cache.change(keys[i])
		cache.change("limit/" + keys[i])
		rival.Set(keys[i], &value{n: i})
	})()
	at := 0
	batch := func(read func(i int) int) float64 {
		start, sum := time.Now(), 0
		for i := range tailBatch {
			sum += read((at + i) & (asked - 1))
		}
		took := time.Since(start)
		sinkInt = sum
		return float64(took) / 1e3
	}
	subjects := []struct {
		name string
		read func(i int) int
	}{
		{"otter", func(i int) int { v, _ := rival.GetIfPresent(ask[i]); return v.n }},
		{"option", func(i int) int { return options[which[i]].Get() }},
		{"family", func(i int) int { return f.Get(ask[i]) }},
	}
	took := make([][]float64, len(subjects))
	n := 0
	for b.Loop() {
		for turn := range subjects {
			i := (n + turn) % len(subjects)
			took[i] = append(took[i], batch(subjects[i].read))
		}
		n++
		at += tailBatch
	}
	worst := measured.Percentile(took[0], 0.9999)
	for i, s := range subjects {
		for _, p := range []float64{0.5, 0.99, 0.999, 0.9999} {
			b.ReportMetric(measured.Percentile(took[i], p), fmt.Sprintf("%s-p%v-µs", s.name, 100*p))
		}
		if i > 0 {
			b.ReportMetric(measured.Percentile(took[i], 0.9999)/worst, "x-p99.99-"+s.name)
		}
	}
	b.ReportMetric(float64(m.Stats().CacheHits)/b.Elapsed().Seconds(), "loads/s")
}

// unrest has the collector run ten times a second, and calls change a thousand
// times a second, until it is stopped.
func unrest(change func(i int)) (stop func()) {
	ended := make(chan struct{})
	var work sync.WaitGroup
	every := func(d time.Duration, f func()) {
		work.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					f()
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(3, 4))
	every(time.Millisecond, func() { change(random.IntN(names)) })
	every(100*time.Millisecond, runtime.GC)
	return func() { close(ended); work.Wait() }
}
