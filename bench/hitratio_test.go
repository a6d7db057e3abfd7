package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"testing"

	"github.com/maypok86/otter/v2"

	"github.com/fastopt/fastopt-go/internal/evict"
)

// How often a bounded family finds a member in memory, against otter's W-TinyLFU:
// the same sequence of keys is put to both; what is missed is added. otter does
// its upkeep at once, as if it had all the time it wants.

const (
	population = 100_000 // keys that may come again
	requests   = 2_000_000
)

// A source of keys gives one after the other.
type keySource func() int

// zipf gives keys of rank r with a probability of 1/r^s, which math/rand knows
// for s > 1 alone.
func zipf(random *rand.Rand, s float64) (rank keySource) {
	below := make([]float64, population)
	sum := 0.0
	for i := range below {
		sum += math.Pow(float64(i+1), -s)
		below[i] = sum
	}
	return func() int { return sort.SearchFloat64s(below, random.Float64()*sum) }
}

// scanned is zipf's with, after four requests for each entry in memory, a scan of
// as many keys as there are entries, none of which comes again.
func scanned(next keySource, entries int) keySource {
	at, fresh := 0, population
	return func() int {
		if at++; at%(5*entries) < 4*entries {
			return next()
		}
		fresh++
		return fresh
	}
}

// drifting is zipf's, but ten times a run a tenth of the keys change their ranks.
func drifting(random *rand.Rand, next keySource) keySource {
	at, keys := 0, random.Perm(population)
	return func() int {
		if at++; at%(requests/10) == 0 {
			for range population / 10 {
				i, j := random.IntN(population/20), random.IntN(population)
				keys[i], keys[j] = keys[j], keys[i]
			}
		}
		return keys[next()]
	}
}

// recent asks for new keys and for those that were new lately: the ranks are ages.
func recent(random *rand.Rand, age keySource) keySource {
	newest := population
	return func() int {
		if random.IntN(3) == 0 {
			newest++
		}
		return newest - age()
	}
}

// An asker gets a key, adding it if it is not there.
type asker func(key int) (hit bool)

type held struct {
	node evict.Node
	n    int
}

func (h *held) Node() *evict.Node { return &h.node }
func (h *held) Key() string       { return strconv.Itoa(h.n) }

func viaEvict(entries int) asker {
	in := map[int]*held{}
	order := evict.New(entries, func(*held) bool { return false }, func(h *held) { delete(in, h.n) })
	return func(key int) bool {
		h, ok := in[key]
		if ok {
			h.node.Used()
			return true
		}
		h = &held{n: key}
		order.Add(h)
		in[key] = h
		return false
	}
}

func viaOtter(entries int) asker {
	c := otter.Must(&otter.Options[int, int]{MaximumSize: entries, Executor: func(upkeep func()) { upkeep() }})
	return func(key int) bool {
		if _, ok := c.GetIfPresent(key); ok {
			return true
		}
		c.Set(key, key)
		return false
	}
}

// hitPercent is over the last three quarters: the first warms up.
func hitPercent(ask asker, keys []int) float64 {
	hits := 0
	for i, key := range keys {
		if ask(key) && i >= len(keys)/4 {
			hits++
		}
	}
	return 100 * float64(hits) / float64(len(keys)-len(keys)/4)
}

// BenchmarkHitRatio reports both hit ratios in percent and their difference in
// points: above 0, families hit more often. Each of the b.N runs has a sequence
// of its own.
func BenchmarkHitRatio(b *testing.B) {
	for _, w := range []struct {
		name string
		s    float64
		keys func(random *rand.Rand, next keySource, entries int) keySource
	}{
		{"zipf", 0.8, nil}, {"zipf", 1, nil}, {"zipf", 1.2, nil},
		{"scan", 0.8, asScanned}, {"scan", 1, asScanned}, {"scan", 1.2, asScanned},
		{"drift", 1, func(r *rand.Rand, next keySource, _ int) keySource { return drifting(r, next) }},
		{"recent", 0.8, func(r *rand.Rand, next keySource, _ int) keySource { return recent(r, next) }},
	} {
		for _, entries := range []int{1_000, 5_000, 20_000} {
			b.Run(fmt.Sprintf("%s/s=%.1f/entries=%d", w.name, w.s, entries), func(b *testing.B) {
				var ours, otters float64
				for seed := range b.N {
					random := rand.New(rand.NewPCG(uint64(seed), 1))
					next := zipf(random, w.s)
					if w.keys != nil {
						next = w.keys(random, next, entries)
					}
					keys := make([]int, requests)
					for i := range keys {
						keys[i] = next()
					}
					ours += hitPercent(viaEvict(entries), keys) / float64(b.N)
					otters += hitPercent(viaOtter(entries), keys) / float64(b.N)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(ours, "fastopt-%")
				b.ReportMetric(otters, "otter-%")
				b.ReportMetric(ours-otters, "points")
			})
		}
	}
}

func asScanned(_ *rand.Rand, next keySource, entries int) keySource { return scanned(next, entries) }
