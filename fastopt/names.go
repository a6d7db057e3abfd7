package fastopt

import (
	"math/bits"
	"sync/atomic"
)

// The names of declared options, frozen at Open, and what a read by name finds
// there. From a handle to the boxed value it is four pointers; so each name keeps a
// pointer to the box itself, and says so when that pointer may be old.
//
// The table is open addressing in one slice: no buckets, no second look at a key.
// It takes 0.7 times as long as a Go map of the same names (BENCHMARKS.md).

// A nameTable finds declared options. Immutable, but for what its slots show.
type nameTable struct {
	slots []nameSlot // a power of two of them, at least half empty
	shift uint       // of a hash, so that its first bits are an index
}

// A nameSlot is half a cache line.
type nameSlot struct {
	hash  uint64                // of name, never 0
	name  string                // "": the slot is empty
	shown atomic.Pointer[shown] // never nil if there is a name
}

// A shown is a published value as reads by name see it. It is made with its
// entry, and is passed before the entry is: a reader who finds it not passed has
// read what the handle held at that moment, and else asks the handle. So reads by
// name and by handle have one order, that of the handle's swaps (I2), though each
// follows its own pointer.
type shown struct {
	value  any         // immutable
	key    *key        // immutable
	known  bool        // immutable: a tier, or an override, has said value, or that there is none
	passed atomic.Bool // the handle may hold something newer
}

// newNameTable has a slot for each key, and binds the key to it.
func newNameTable(keys []*key) nameTable {
	size := max(2, 1<<bits.Len(uint(2*len(keys))))
	t := nameTable{slots: make([]nameSlot, size), shift: uint(64 - bits.Len(uint(size-1)))}
	for _, k := range keys {
		h := hashName(k.name)
		i := h >> t.shift
		for t.slots[i].name != "" {
			i = (i + 1) % uint64(size)
		}
		s := &t.slots[i]
		s.hash, s.name, k.slot = h, k.name, s
		first := &shown{value: k.fallback, key: k}
		first.passed.Store(true)
		s.shown.Store(first)
	}
	return t
}

// find returns the slot of a name, or nil. It is wait-free: the table is never full.
func (t *nameTable) find(name string) *nameSlot {
	h := hashName(name)
	for i := h >> t.shift; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.hash == h && s.name == name {
			return s
		}
		if s.hash == 0 {
			return nil
		}
	}
}

// known reports whether the value of m is more than a default for want of an answer.
func (m *meta) known() bool {
	return m.kind != kindExpired && (m.kind != kindUnloaded || m.err != nil)
}

// pass has reads by name ask the handle, which is about to leave m.
func (m *meta) pass() {
	if m.shown != nil {
		m.shown.passed.Store(true)
	}
}

// show has reads by name find what the handle holds. Only the next publication
// would repair what is left out or put back here, but such a read is no wrong one:
// what is older than the handle is passed.
func (k *key) show() {
	for {
		was := k.slot.shown.Load()
		now := k.cell.load().shown // loaded after was, so not older
		if now == was || k.slot.shown.CompareAndSwap(was, now) {
			return
		}
	}
}

// hashName spreads names. It multiplies and folds, as wyhash does (Wang Yi,
// 2019), eight bytes at a time. It need not withstand an enemy: only declared
// names are in the table, so that no other can make a search longer than the
// longest row of full slots.
func hashName(s string) uint64 {
	const p0, p1, p2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3
	var h, a, b uint64
	switch n := len(s); {
	case n >= 16:
		for i := 0; i+16 < n; i += 16 { // multiplications do not wait for each other
			h = bits.RotateLeft64(h, 23) ^ fold(p1^eight(s[i:]), p2^eight(s[i+8:]))
		}
		a, b = eight(s[n-16:]), eight(s[n-8:])
	case n >= 8:
		a, b = eight(s), eight(s[n-8:])
	case n >= 4:
		a, b = four(s), four(s[n-4:])
	case n > 0:
		a, b = uint64(s[0])|uint64(s[n/2])<<8, uint64(s[n-1])
	}
	return bits.RotateLeft64(h, 23) ^ fold(p0^a, p1^b^p2*uint64(len(s))) | 1
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// The compiler makes one load of each.

func eight(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func four(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
