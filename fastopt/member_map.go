package fastopt

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// The map of a family's members. It has one writer at a time, who holds
// family.mu, and readers that take no lock, which is all that it is better at
// than xsync's: its slots point to members, which hold their keys, so that a read
// follows one pointer less, and a member is one object less (BENCHMARKS.md).
//
// Entries do not move: a member is put into the first free slot of the buckets
// from its home on, and stays there. A bucket counts who went past it, as F14
// does (Bronson and Shi, "Open-sourcing F14", 2019), so that a search ends at the
// first bucket that nobody went past. What grows is one shard at a time: a new
// table is filled and then shown. So a reader finds a member that is there all
// the while it looks, and finds it whole. Which keys collide is decided by a seed
// of the process' own.

const (
	shardBits   = 6
	bucketSlots = 7
	bucketLoad  = 5 // members per bucket, on average, at which a shard grows
)

// A memberMap is the members of one family by key.
type memberMap[T any] struct {
	seed   maphash.Seed // immutable
	shards [1 << shardBits]memberShard[T]
}

// A memberShard is the members whose hashes begin alike.
type memberShard[T any] struct {
	table atomic.Pointer[[]bucket[T]] // its length is a power of two; never nil
	count int                         // guarded by family.mu
}

// A bucket is one cache line. Slot i holds a member if byte i of tags is not 0:
// its high bit is set, and the others are of the member's hash. The last byte
// counts the members that are farther from their home than this bucket.
type bucket[T any] struct {
	tags  atomic.Uint64
	slots [bucketSlots]atomic.Pointer[member[T]]
}

const (
	eachByte  = 0x0101010101010101
	highBits  = 0x8080808080808080
	slotBytes = 1<<(8*bucketSlots) - 1
	pastShift = 8 * bucketSlots
	pastMost  = 255 // the count stays there
)

func (p *memberMap[T]) init() {
	p.seed = maphash.MakeSeed()
	p.clear()
}

// find returns the member with that key, or nil.
func (p *memberMap[T]) find(key string) *member[T] {
	h := maphash.String(p.seed, key)
	table := *p.shards[h>>(64-shardBits)].table.Load()
	tag := (h&0x7f | 0x80) * eachByte
	for i := range uint64(len(table)) {
		b := &table[(h>>7+i)&uint64(len(table)-1)]
		tags := b.tags.Load()
		// Bytes that equal the tag become 0; those above one may be taken for such.
		x := tags ^ tag
		for match := (x - eachByte) & ^x & (highBits & slotBytes); match != 0; match &= match - 1 {
			if m := b.slots[bits.TrailingZeros64(match)/8].Load(); m != nil && m.key == key {
				return m
			}
		}
		if tags>>pastShift == 0 {
			return nil
		}
	}
	return nil
}

// put stores m in place of the member with its key, if there is one.
func (p *memberMap[T]) put(m *member[T]) {
	h := maphash.String(p.seed, m.key)
	s := &p.shards[h>>(64-shardBits)]
	table := *s.table.Load()
	if b, slot, _ := locate(table, h, m.key); b != nil {
		b.slots[slot].Store(m)
		return
	}
	if s.count >= bucketLoad*len(table) {
		table = p.grown(table)
		s.table.Store(&table)
	}
	s.count++
	insert(table, h, m)
}

// remove removes the member with that key, if there is one.
func (p *memberMap[T]) remove(key string) {
	h := maphash.String(p.seed, key)
	s := &p.shards[h>>(64-shardBits)]
	table := *s.table.Load()
	b, slot, steps := locate(table, h, key)
	if b == nil {
		return
	}
	s.count--
	b.tags.Store(b.tags.Load() &^ (0xff << (8 * slot)))
	b.slots[slot].Store(nil)
	for i := range steps {
		past := &table[(h>>7+uint64(i))&uint64(len(table)-1)].tags
		if n := past.Load() >> pastShift; n < pastMost {
			past.Store(past.Load() - 1<<pastShift)
		}
	}
}

// clear removes all members.
func (p *memberMap[T]) clear() {
	for i := range p.shards {
		table := make([]bucket[T], 1)
		p.shards[i].table.Store(&table)
		p.shards[i].count = 0
	}
}

// locate returns the place of the member with that key, and how many buckets
// from its home that is, or nil.
func locate[T any](table []bucket[T], h uint64, key string) (_ *bucket[T], slot, steps int) {
	for steps := range table {
		b := &table[(h>>7+uint64(steps))&uint64(len(table)-1)]
		for slot := range b.slots {
			if m := b.slots[slot].Load(); m != nil && m.key == key {
				return b, slot, steps
			}
		}
		if b.tags.Load()>>pastShift == 0 {
			break
		}
	}
	return nil, 0, 0
}

// insert puts m, which is not in table, into the first free slot.
func insert[T any](table []bucket[T], h uint64, m *member[T]) {
	for i := h >> 7; ; i++ {
		b := &table[i&uint64(len(table)-1)]
		tags := b.tags.Load()
		if free := ^tags & (highBits & slotBytes); free != 0 {
			slot := bits.TrailingZeros64(free) / 8
			b.slots[slot].Store(m) // before its tag: who finds that finds m
			b.tags.Store(tags | (h&0x7f|0x80)<<(8*slot))
			return
		}
		if tags>>pastShift < pastMost {
			b.tags.Store(tags + 1<<pastShift)
		}
	}
}

// grown returns a table with what is in old, of twice its size.
func (p *memberMap[T]) grown(old []bucket[T]) []bucket[T] {
	table := make([]bucket[T], 2*len(old))
	for i := range old {
		for slot := range old[i].slots {
			if m := old[i].slots[slot].Load(); m != nil {
				insert(table, maphash.String(p.seed, m.key), m)
			}
		}
	}
	return table
}
