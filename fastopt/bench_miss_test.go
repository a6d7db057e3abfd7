package fastopt

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// What a miss allocates beside the tiers and the decoder. The tiers here do as
// little as a tier can: one allocation per call, for its results, which is
// counted and taken off, as is what decoding takes. own-allocs/op is the rest, per
// key.

// A lean tier answers every name with one value, or, as a cache, lacks it.
type lean struct {
	calls  atomic.Int64  // each makes one allocation
	misses bool          // of the cache
	takes  time.Duration // a call
}

type leanSource struct {
	tiers.Source
	*lean
}

type leanCache struct {
	tiers.Cache
	*lean
}

var (
	leanData  = []byte("7")
	leanStamp = tiers.Stamp{Epoch: 1, Revision: 1}
)

func (s *lean) call() {
	s.calls.Add(1)
	if s.takes > 0 {
		time.Sleep(s.takes)
	}
}

func (s *lean) answer(names []string, err error) []tiers.Result {
	s.call()
	results := make([]tiers.Result, len(names))
	for i, name := range names {
		if err != nil {
			results[i].Name, results[i].Err = name, err
		} else {
			results[i].Record = tiers.Record{Name: name, Kind: tiers.Value, Stamp: leanStamp, Data: leanData}
		}
	}
	return results
}

func (s leanSource) Load(_ context.Context, _ string, names []string) []tiers.Result {
	return s.answer(names, nil)
}

func (s leanCache) Load(_ context.Context, _ string, names []string) []tiers.Result {
	if s.misses {
		return s.answer(names, tiers.ErrMiss)
	}
	return s.answer(names, nil)
}

func (s leanCache) Lease(_ context.Context, _ string, names []string, _ time.Duration) ([]bool, error) {
	s.call()
	held := make([]bool, len(names))
	for i := range held {
		held[i] = true
	}
	return held, nil
}

func (s leanCache) Fill(_ context.Context, _ string, fills []tiers.Fill) []tiers.FillResult {
	s.call()
	results := make([]tiers.FillResult, len(fills))
	for i := range results {
		results[i].Stored = true
	}
	return results
}

// BenchmarkMiss loads members of a family that are not in memory: where the
// cache holds them, and where only the source does, which the cache is then filled
// from; one Load after the other, by a hundred goroutines at once (of tiers that
// take a fifth of a millisecond, as a server near by does), 500 in one call, and by Get in the background. Each request to a tier takes seven
// allocations more, for its deadline, its breaker and its names: alone, a key pays
// one request where the cache holds it, and four where only the source does.
func BenchmarkMiss(b *testing.B) {
	for _, where := range []string{"cache", "source"} {
		for _, how := range []struct {
			name string
			load func(b *testing.B, m *Manager, f *Family[int], keys []string)
		}{{"load", missByLoad}, {"crowd", missByCrowd}, {"batch", missByBatch}, {"get", missByGet}} {
			b.Run(where+"/"+how.name, func(b *testing.B) {
				tier := &lean{misses: where == "source"}
				if how.name == "crowd" {
					tier.takes = 200 * time.Microsecond
				}
				m, f := openLean(b, tier, b.N+1)
				keys := make([]string, b.N)
				for i := range keys {
					keys[i] = fmt.Sprintf("tenant-%07d", i)
				}
				before := tier.calls.Load()
				b.ReportAllocs()
				b.ResetTimer()
				took := mallocs(func() { how.load(b, m, f, keys) })
				b.StopTimer()
				own := float64(took) - float64(tier.calls.Load()-before)
				b.ReportMetric(own/float64(b.N)-decodeAllocs(f), "own-allocs/op")
			})
		}
	}
}

// openLean opens a manager of one family of as many members as that.
func openLean(b *testing.B, tier *lean, members int) (*Manager, *Family[int]) {
	b.Helper()
	var r Registry
	f := DeclareFamily(&r, FamilySpec[int]{Prefix: "limit", Default: 1, TTL: time.Hour, MaxEntries: members})
	m, err := Open(b.Context(), Config{
		Cache: leanCache{struct{ tiers.Cache }{memory.NewCache()}, tier}, Source: leanSource{memory.NewSource(), tier},
		CacheTimeout: time.Second, SourceTimeout: time.Second, // however busy the machine
		Relay: Never, FamilyBudget: Budget{Rate: 10_000, Burst: 10_000, AtOnce: 64},
	}, &r)
	if err != nil {
		b.Fatal(err)
	}
	m.loader.members.bucket.SetLimit(1e9) // no miss waits for the budget
	b.Cleanup(func() { m.Close() })
	return m, f
}

func missByLoad(b *testing.B, _ *Manager, f *Family[int], keys []string) {
	ctx := b.Context()
	for _, key := range keys {
		if r := f.Load(ctx, key); r.Value != 7 || r.Err != nil {
			b.Fatalf("%+v", r)
		}
	}
}

func missByCrowd(b *testing.B, _ *Manager, f *Family[int], keys []string) {
	ctx, next := b.Context(), atomic.Int64{}
	var crowd sync.WaitGroup
	for range 100 {
		crowd.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(keys)); i = next.Add(1) - 1 {
				if r := f.Load(ctx, keys[i]); r.Value != 7 || r.Err != nil {
					b.Errorf("%+v", r)
				}
			}
		})
	}
	crowd.Wait()
}

func missByBatch(b *testing.B, _ *Manager, f *Family[int], keys []string) {
	ctx := b.Context()
	for len(keys) > 0 {
		n := min(len(keys), tiers.MaxBatch)
		if rs, err := f.LoadMany(ctx, keys[:n]...); err != nil || rs[keys[0]].Value != 7 {
			b.Fatalf("%+v, %v", rs[keys[0]], err)
		}
		keys = keys[n:]
	}
}

func missByGet(b *testing.B, m *Manager, f *Family[int], keys []string) {
	for len(keys) > 0 {
		n := min(len(keys), tiers.MaxBatch)
		for _, key := range keys[:n] {
			f.Get(key)
		}
		for _, key := range keys[:n] {
			for f.Get(key) != 7 {
				runtime.Gosched()
			}
		}
		keys = keys[n:]
	}
}

func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

func decodeAllocs(f *Family[int]) float64 {
	return testing.AllocsPerRun(1000, func() {
		if v, err := f.core.codec.decodeValue(leanData); v != 7 || err != nil {
			panic("it does not decode")
		}
	})
}
