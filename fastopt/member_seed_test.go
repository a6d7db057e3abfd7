package fastopt

import (
	"fmt"
	"hash/maphash"
	"testing"
)

// Keys may come from strangers, who would like them to collide. Where a key goes
// is decided by a seed that each map draws for itself and tells nobody: keys that
// all share a bucket of one map are scattered in another.
func TestKeysThatCollideInOneMapAreScatteredInAnother(t *testing.T) {
	chosenFor, other := newTestMap(), newTestMap()
	place := func(p *memberMap[int], key string) uint64 {
		h := maphash.String(p.seed, key)
		return h>>(64-shardBits)<<5 | h>>7&31 // its shard, and its home while that has 32 buckets
	}
	const hostile = 300
	for i := 0; other.held() < hostile; i++ {
		if key := fmt.Sprint("tenant-", i); place(chosenFor, key) == 0 {
			for _, p := range []*memberMap[int]{chosenFor, other} {
				m := &member[int]{}
				m.key = key
				p.put(m)
			}
		}
	}
	if chosen, scattered := chosenFor.farthest(), other.farthest(); chosen < 15 || scattered > 8 {
		t.Errorf("a key is at most %d buckets from its home in the map that the keys were chosen for, and %d in another", chosen, scattered)
	}
}

// held returns how many members there are.
func (p *memberMap[T]) held() (n int) {
	for i := range p.shards {
		n += p.shards[i].count
	}
	return n
}

// farthest returns how many buckets the farthest member is from its home.
func (p *memberMap[T]) farthest() (most int) {
	for i := range p.shards {
		table := *p.shards[i].table.Load()
		for j := range table {
			for slot := range table[j].slots {
				if m := table[j].slots[slot].Load(); m != nil {
					_, _, steps := locate(table, maphash.String(p.seed, m.key), m.key)
					most = max(most, steps)
				}
			}
		}
	}
	return most
}
