package fastopt

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Counted reads are counted exactly, whoever reads; uncounted ones are not there.

func TestReadsAreNotCountedUnasked(t *testing.T) {
	_, m := namedOption(t)
	wantNamed(t, m, "at first", 0)
	if s := m.Stats(); s.Reads != nil {
		t.Errorf("%+v", s.Reads)
	}
	var off *readCounter
	off.hit()
	off.stale()
	off.missed()
}

func TestStripesFillACacheLine(t *testing.T) {
	if n := unsafe.Sizeof(readStripe{}); n != 64 {
		t.Errorf("a stripe has %d bytes", n)
	}
}

func TestNoCountedReadIsLost(t *testing.T) {
	const readers, reads = 16, 2000
	c := &readCounter{family: "limit"}
	var work sync.WaitGroup
	for i := range readers {
		work.Go(func() {
			for n := range reads {
				switch (i + n) % 4 {
				case 0:
					c.stale()
				case 1:
					c.missed()
				default:
					c.hit()
				}
			}
		})
	}
	work.Wait()
	if got, want := c.stats(), (ReadStats{Family: "limit", Hits: readers * reads / 2, Stale: readers * reads / 4, Misses: readers * reads / 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAllStripesAreSummed(t *testing.T) {
	var c readCounter
	for i := range c.stripe {
		c.stripe[i].hits.Add(1)
		c.stripe[i].old.Add(2)
		c.stripe[i].misses.Add(3)
	}
	if got, want := c.stats(), (ReadStats{Hits: stripes, Stale: 2 * stripes, Misses: 3 * stripes}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Goroutines that count at the same time mostly count apart.
func TestGoroutinesCountApart(t *testing.T) {
	const readers = 256
	var mu sync.Mutex
	var work, arrived sync.WaitGroup
	used := map[uintptr]bool{}
	arrived.Add(readers)
	for range readers {
		work.Go(func() {
			at := stripeHere()
			mu.Lock()
			used[at] = true
			mu.Unlock()
			arrived.Done()
			arrived.Wait() // a stack in use is nobody else's
		})
	}
	work.Wait()
	if len(used) < stripes/4 {
		t.Errorf("%d goroutines use %d stripes of %d", readers, len(used), stripes)
	}
}

// countingManager has options that are set, never set, invalid and expired.
func countingManager(t *testing.T) *Manager {
	t.Helper()
	s := memory.NewSource()
	writes := []tiers.Write{{Name: "set", Data: []byte(`5`)}, {Name: "invalid", Data: []byte(`"x"`)}}
	if _, err := s.Write(t.Context(), "default", writes); err != nil {
		t.Fatal(err)
	}
	var r Registry
	New(&r, "set", 1)
	New(&r, "absent", 1)
	New(&r, "invalid", 1)
	New(&r, "expired", 1)
	m, err := Open(t.Context(), Config{Source: s, CountReads: true, TTL: time.Hour}, &r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	k := m.byName["expired"]
	for cur := k.cell.load(); !k.expire(cur, cur.asked.Load()); cur = k.cell.load() {
	}
	return m
}

func TestReadsByNameAreCounted(t *testing.T) {
	m := countingManager(t)
	var want ReadStats
	for _, c := range []struct {
		name         string
		value        int
		hits, misses uint64
	}{{"set", 5, 2, 0}, {"absent", 1, 2, 0}, {"invalid", 1, 2, 0}, {"expired", 1, 0, 2}} {
		if v, err := m.Get(strings.Clone(c.name)); v != c.value || err != nil {
			t.Errorf("%s reads %v, %v", c.name, v, err)
		}
		if v, err := Lookup[int](m, c.name); v != c.value || err != nil {
			t.Errorf("%s reads %v, %v", c.name, v, err)
		}
		want.Hits += c.hits
		want.Misses += c.misses
		if got := m.Stats().Reads; !slices.Equal(got, []ReadStats{want}) {
			t.Errorf("after reads of %s: %+v, want %+v", c.name, got, want)
		}
	}
	_, _ = m.Get("unknown")
	_, _ = m.Get("Not a name")
	if got := m.Stats().Reads; !slices.Equal(got, []ReadStats{want}) {
		t.Errorf("what is no option is counted: %+v, want %+v", got, want)
	}
	name := strings.Clone("set")
	var sink any
	if n := testing.AllocsPerRun(1000, func() { sink, _ = m.Get(name) }); n != 0 || fmt.Sprint(sink) != "5" {
		t.Errorf("a counted read allocates %v times", n)
	}
}

func TestConcurrentReadsByNameAreCounted(t *testing.T) {
	const readers, reads = 8, 1000
	m := countingManager(t)
	var work sync.WaitGroup
	for range readers {
		work.Go(func() {
			for range reads {
				_, _ = m.Get("set")
				_, _ = Lookup[int](m, "expired")
				_ = m.Stats()
			}
		})
	}
	work.Wait()
	if got, want := m.Stats().Reads, (ReadStats{Hits: readers * reads, Misses: readers * reads}); !slices.Equal(got, []ReadStats{want}) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
