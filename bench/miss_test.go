package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/puzpuzpuz/xsync/v3"
	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Storms of misses: a thousand goroutines come at one instant, for one cold key
// or for one each. The rival is what a service writes in an afternoon: xsync's
// map, singleflight's DoChan, and an entry with a deadline. It hears no
// pushes, bounds nobody's wait but by the caller's context, and asks for each key
// by itself. Both ask the same tier, which answers after a millisecond, and allow
// it a second: on a busy machine a storm is to be slow, not to fail.

const crowd = 1000

// A distant cache holds a value of every name, a millisecond away.
type distant struct{ tiers.Cache }

const distance = time.Millisecond

func (distant) Load(_ context.Context, _ string, names []string) []tiers.Result {
	time.Sleep(distance)
	results := make([]tiers.Result, len(names))
	for i, name := range names {
		results[i].Record = tiers.Record{Name: name, Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}, Data: []byte("7")}
	}
	return results
}

// An afternoon is the rival.
type afternoon struct {
	base    time.Time
	cache   tiers.Cache
	entries *xsync.MapOf[string, *afternoonEntry]
	group   singleflight.Group
}

type afternoonEntry struct {
	value int
	until time.Duration // since base
}

func (a *afternoon) load(ctx context.Context, key string) (int, error) {
	if e, ok := a.entries.Load(key); ok && time.Since(a.base) < e.until {
		return e.value, nil
	}
	landing := a.group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Since(a.base)
		r := a.cache.Load(ctx, "default", []string{key})[0]
		if r.Err != nil {
			return nil, r.Err
		}
		e := &afternoonEntry{until: start + time.Hour}
		if err := json.Unmarshal(r.Data, &e.value); err != nil {
			return nil, err
		}
		a.entries.Store(key, e)
		return e, nil
	})
	select {
	case r := <-landing:
		if r.Err != nil {
			return 0, r.Err
		}
		return r.Val.(*afternoonEntry).value, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// BenchmarkMissStorm reports how long the p99 of a crowd waits, and what
// processor time a storm takes; x-… are medians, over storms in turns, of ours to
// the rival's.
func BenchmarkMissStorm(b *testing.B) {
	var r fastopt.Registry
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "limit", TTL: time.Hour, MaxEntries: 1_000_000})
	cache := distant{memory.NewCache()}
	m, err := fastopt.Open(b.Context(), fastopt.Config{Cache: cache, CacheTimeout: time.Second}, &r)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	a := &afternoon{base: time.Now(), cache: cache, entries: xsync.NewMapOf[string, *afternoonEntry]()}
	ctx := b.Context()
	subjects := [2]func(key string) int{
		func(key string) int { v, _ := a.load(ctx, key); return v },
		func(key string) int { return f.Load(ctx, key).Value },
	}
	for _, kind := range []string{"one", "distinct"} {
		b.Run(kind, func(b *testing.B) {
			var p50, p99, cpu [2][]float64
			storms := 0
			for b.Loop() {
				for turn := range subjects {
					i := (storms + turn) % len(subjects)
					keys := make([]string, crowd)
					for j := range keys {
						keys[j] = fmt.Sprintf("%s-%d-%d", kind, storms, j)
						if kind == "one" {
							keys[j] = fmt.Sprintf("%s-%d", kind, storms)
						}
					}
					waits, spent := storm(b, subjects[i], keys)
					p50[i] = append(p50[i], measured.Percentile(waits, 0.5))
					p99[i] = append(p99[i], measured.Percentile(waits, 0.99))
					cpu[i] = append(cpu[i], spent/crowd)
				}
				storms++
			}
			for i, name := range []string{"afternoon", "fastopt"} {
				b.ReportMetric(measured.Median(p50[i]), name+"-p50-µs")
				b.ReportMetric(measured.Median(p99[i]), name+"-p99-µs")
				b.ReportMetric(measured.Median(cpu[i]), name+"-cpu-µs/load")
			}
			b.ReportMetric(ratio(p50), "x-p50")
			b.ReportMetric(ratio(p99), "x-p99")
			b.ReportMetric(ratio(cpu), "x-cpu")
		})
	}
}

// storm lets a crowd load keys at one instant, and returns how long each waited
// from then on, and the processor time that all took, in µs.
func storm(b *testing.B, load func(key string) int, keys []string) (waits []float64, cpu float64) {
	waits = make([]float64, len(keys))
	var ready, done sync.WaitGroup
	var start time.Time
	begin := make(chan struct{})
	ready.Add(len(keys))
	for i := range keys {
		done.Go(func() {
			// Who serves a request stands deep in its stack by the time it loads.
			// Else, growing a stack of 2 KiB would be most of what is measured.
			var served [4096]byte
			served[i%len(served)] = 1
			ready.Done()
			<-begin
			v := load(keys[i])
			if waits[i] = float64(time.Since(start)) / 1e3; v != 7 || served[i%len(served)] != 1 {
				b.Errorf("read %d", v)
			}
		})
	}
	ready.Wait()
	before := processorTime(b)
	start = time.Now()
	close(begin)
	done.Wait()
	return waits, float64(processorTime(b)-before) / 1e3
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ratio is the median of the second's to the first's.
func ratio(of [2][]float64) float64 {
	each := make([]float64, len(of[0]))
	for i := range each {
		each[i] = of[1][i] / of[0][i]
	}
	return slices.Sorted(slices.Values(each))[len(each)/2]
}
