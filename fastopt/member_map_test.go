package fastopt

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

func newTestMap() *memberMap[int] {
	p := &memberMap[int]{}
	p.init()
	return p
}

func testMember(key string, v int) *member[int] {
	return &member[int]{value: v, resident: resident{key: key}}
}

func TestABucketIsACacheLine(t *testing.T) {
	if n := unsafe.Sizeof(bucket[string]{}); n != 64 {
		t.Errorf("%d bytes", n)
	}
}

// The map against Go's own, under random operations.
func TestAMemberMapIsAMap(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p, model := newTestMap(), map[string]int{}
		keys := 1 + rnd.IntN(5000)
		for i := range 8_000 {
			key := fmt.Sprint(rnd.IntN(keys))
			switch rnd.IntN(3) {
			case 0:
				p.remove(key)
				delete(model, key)
			default:
				p.put(testMember(key, i))
				model[key] = i
			}
			key = fmt.Sprint(rnd.IntN(keys))
			v, is := model[key]
			if m := p.find(key); (m != nil) != is || is && (m.value != v || m.key != key) {
				t.Fatalf("seed %d, step %d: %q is %v, want %v %v", seed, i, key, m, v, is)
			}
		}
		checkMap(t, p, model)
		p.clear()
		checkMap(t, p, map[string]int{})
	}
}

// checkMap compares all that p holds with model.
func checkMap(t *testing.T, p *memberMap[int], model map[string]int) {
	t.Helper()
	held := map[string]int{}
	for i := range p.shards {
		s := &p.shards[i]
		n := 0
		for j := range *s.table.Load() {
			b := &(*s.table.Load())[j]
			for k := range b.slots {
				m, tagged := b.slots[k].Load(), b.tags.Load()>>(8*k)&0x80 != 0
				if (m != nil) != tagged {
					t.Fatalf("slot %v, tagged %v", m, tagged)
				}
				if m != nil {
					held[m.key] = m.value
					n++
				}
			}
		}
		if n != s.count {
			t.Fatalf("a shard of %d counts %d", n, s.count)
		}
	}
	if fmt.Sprint(held) != fmt.Sprint(model) {
		t.Fatalf("%d held, %d in the model", len(held), len(model))
	}
}

// Members that overflow their buckets leave no trace in them when they are gone:
// else searches for what is not there get longer and longer.
func TestAMemberMapForgetsWhoWentPast(t *testing.T) {
	p := newTestMap()
	for round := range 8 {
		for i := range 2000 {
			p.put(testMember(fmt.Sprint(round, i), i))
		}
		for i := range 2000 {
			p.remove(fmt.Sprint(round, i))
		}
	}
	for i := range p.shards {
		for j := range *p.shards[i].table.Load() {
			if tags := (*p.shards[i].table.Load())[j].tags.Load(); tags != 0 {
				t.Fatalf("a bucket of an empty map has tags %x", tags)
			}
		}
	}
}

// A search ends though somebody went past every bucket.
func TestASearchOfAFullTableEnds(t *testing.T) {
	table := make([]bucket[int], 2)
	for i := range 14 {
		insert(table, 0, testMember(fmt.Sprint(i), i))
	}
	for i := range table {
		table[i].tags.Store(table[i].tags.Load() | 1<<pastShift)
	}
	p := newTestMap()
	for i := range p.shards {
		p.shards[i].table.Store(&table)
	}
	if p.find("nobody") != nil {
		t.Error("found")
	}
	if b, _, _ := locate(table, 0, "nobody"); b != nil {
		t.Error("located")
	}
}

// Readers find what is there all the while, whole, whatever a writer does to
// others: it replaces, adds, removes, and has the map grow.
func TestReadersOfAMemberMapMissNothing(t *testing.T) {
	p := newTestMap()
	const stay = 500
	for i := range stay {
		p.put(testMember(fmt.Sprint("stays ", i), 0))
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for r := range 2 {
		wg.Go(func() {
			var last [stay]int
			for i := r; !done.Load(); i++ {
				key := fmt.Sprint("stays ", i%stay)
				m := p.find(key)
				if m == nil || m.key != key || m.value < last[i%stay] {
					t.Errorf("%q: %+v after %d", key, m, last[i%stay])
					return
				}
				last[i%stay] = m.value
			}
		})
	}
	for i := range 20_000 {
		p.put(testMember(fmt.Sprint("comes ", i), i))
		if i%3 > 0 {
			p.remove(fmt.Sprint("comes ", i-1))
		}
		p.put(testMember(fmt.Sprint("stays ", i%stay), i))
	}
	done.Store(true)
	wg.Wait()
}
