package main

import (
	"sync"
	"sync/atomic"

	"github.com/fastopt/fastopt-go/tiers"
)

// The oracle knows, per key, every write and what became of it, and, per process
// and key, a floor: no read that starts from now on may give anything older.
//
// The writes of one key are made one after the other, and none begins before
// the outcome of the last is known (doubt.go), so the order of their numbers is
// the order of their commits, and a floor is a number. A floor rises for three
// reasons: the value was read before in this process (I2), this process wrote
// it (I4), or it was committed so long ago that everyone must have it (I3).
// Deletes have numbers, too: a floor knows whether it is one, so that nothing
// deleted comes back (I9).

// A class is a kind of option, by its grace.
type class uint8

const (
	graceful class = iota // a grace of the usual length
	forever               // fastopt.Forever
	strict                // fastopt.NoGrace
	member                // of a family
	classes
)

// An outcome is what is known of a write.
type outcome uint8

const (
	pending outcome = iota // under way
	acked                  // committed
	refused                // surely not applied, now or ever
	unknown                // may have been applied, or may still be
)

func (o outcome) String() string { return [...]string{"pending", "acked", "refused", "unknown"}[o] }

// A write is one Set or Delete.
type write struct {
	number     uint32
	process    int
	deleted    bool
	value      string // "" for a delete
	start, end int64  // ns since the run began; end is 0 while pending
	outcome    outcome
	stamp      tiers.Stamp // zero: not known
	cached     bool        // the shared cache took it
	seen       bool        // somebody read it
	pruned     bool        // no more is known than the outcome
}

// A key is an option or a member of a family, in all processes.
type key struct {
	index    int    // immutable
	name     string // immutable; as the tiers know it
	member   string // immutable; "" for an option
	class    class  // immutable
	hash     uint64 // immutable
	fallback string // immutable; the default, number 0

	inDoubt atomic.Bool // no write may begin
	least   cell        // a floor for Load in every process, by staleness alone

	mu     sync.Mutex
	writes []write         // guarded by mu; number n stands at n-1-pruned
	pruned uint32          // guarded by mu: how many old ones were dropped (prune.go)
	lost   map[uint32]bool // guarded by mu: those of them that were refused
}

// A floor is a number, whether that write is a delete, and why it is a floor, in
// one word that readers load: number<<3 | deleted<<2 | cause.
type floor uint64

// cause tells why a floor is one.
type cause uint8

const (
	bySeen     cause = iota // it was read in this process
	byOwn                   // this process wrote it
	byStale                 // it was committed too long ago to be missed
	bySnapshot              // it is in the snapshot that this process began with
)

const deletedBit floor = 4

// unwritten is the floor at the start: nothing was ever set.
const unwritten = deletedBit

func newFloor(number uint32, deleted bool, c cause) floor {
	f := floor(number)<<3 | floor(c)
	if deleted {
		f |= deletedBit
	}
	return f
}

func (f floor) number() uint32 { return uint32(f >> 3) }
func (f floor) deleted() bool  { return f&deletedBit != 0 }
func (f floor) cause() cause   { return cause(f & 3) }

// holds reports whether n is exactly what the floor is: then a read of it is
// right without further questions.
func (f floor) holds(n uint32) bool {
	if f.deleted() {
		return n == 0
	}
	return n == f.number()
}

// A cell is the floor of one key in one process.
type cell struct{ word atomic.Uint64 }

func (c *cell) floor() floor { return floor(c.word.Load()) }

// raise lifts the floor, unless it is as high already.
func (c *cell) raise(f floor) {
	for {
		old := c.word.Load()
		if floor(old).number() >= f.number() || c.word.CompareAndSwap(old, uint64(f)) {
			return
		}
	}
}

// A board is the floors of one process, from its Open to its Close (I2).
type board struct {
	cells   []cell      // by key
	settled atomic.Bool // all that had to be known by then was; until then staleness raises nothing
	// trusted: what the cells say holds from the start, because it is in a
	// snapshot; else a default is excused until settled.
	trusted bool // immutable
}

func (b *board) excuses() bool { return !b.trusted && !b.settled.Load() }

// An oracle is all of it.
type oracle struct {
	keys   []*key                  // immutable
	boards []atomic.Pointer[board] // by process; never nil
}

func newOracle(keys []*key, processes int) *oracle {
	o := &oracle{keys: keys, boards: make([]atomic.Pointer[board], processes)}
	for p := range o.boards {
		b := o.newBoard(nil)
		b.settled.Store(true)
		o.boards[p].Store(b)
	}
	return o
}

func (o *oracle) board(p int) *board { return o.boards[p].Load() }

// newBoard is one for a process that opens, with the floors that the last one
// of its snapshot had, if there is a last one.
func (o *oracle) newBoard(last *board) *board {
	b := &board{cells: make([]cell, len(o.keys))}
	for i, k := range o.keys {
		b.cells[i].word.Store(uint64(unwritten))
		if last != nil && k.class != member {
			at := last.cells[i].floor()
			b.cells[i].word.Store(uint64(newFloor(at.number(), at.deleted(), bySnapshot)))
		}
	}
	b.trusted = last != nil && (last.trusted || last.settled.Load())
	return b
}

// forget drops what a snapshot may not give any more at now, as its time has
// ended between Close and Open: of option i that is at ends[i].
func (b *board) forget(ends []int64, now int64) {
	for i, end := range ends {
		if now >= end {
			b.cells[i].word.Store(uint64(unwritten))
		}
	}
}

// settle says that process p has been seen to know all that it must. What is
// due after that raises its floors, and what became due before it does now.
func (o *oracle) settle(p int) {
	b := o.board(p)
	if b.settled.Swap(true) {
		return
	}
	for i, k := range o.keys {
		if k.class != member {
			b.cells[i].raise(k.least.floor())
		}
	}
}

func newKey(index int, name, member string, c class) *key {
	h := hashOf(name)
	k := &key{index: index, name: name, member: member, class: c, hash: h, fallback: newValue(h, 0, 0, 0)}
	k.least.word.Store(uint64(unwritten))
	return k
}

// issue begins a write. Only the writer of k calls it.
func (k *key) issue(process int, deleted bool, now int64) write {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pruneLocked(now)
	w := write{number: k.pruned + uint32(len(k.writes)+1), process: process, deleted: deleted, start: now}
	if !deleted {
		w.value = newValue(k.hash, w.number, process, now/1000)
	}
	k.writes = append(k.writes, w)
	return w
}

// settle notes what became of write n, and reports whether it was read although
// it never happened.
func (k *key) settle(n uint32, o outcome, stamp tiers.Stamp, cached bool, now int64) (ghost bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := &k.writes[n-1-k.pruned]
	w.outcome, w.stamp, w.cached, w.end = o, stamp, cached, now
	return o == refused && w.seen
}

// isSet reports whether the newest write that happened was no delete.
func (k *key) isSet() bool {
	w := k.last(func(w *write) bool { return w.outcome == acked })
	return w.number > 0 && !w.deleted
}

// last returns the newest write that fits, or the zero write.
func (k *key) last(fits func(*write) bool) write {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := len(k.writes) - 1; i >= 0; i-- {
		if fits(&k.writes[i]) {
			return k.writes[i]
		}
	}
	return write{}
}

// read returns write n, marked as read; ok is false if there is none.
func (k *key) read(n uint32) (w write, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case n == 0 || n > k.pruned+uint32(len(k.writes)):
		return write{}, false
	case n <= k.pruned:
		return k.prunedLocked(n), true
	}
	at := &k.writes[n-1-k.pruned]
	at.seen = true
	return *at, true
}

// readDelete returns the oldest delete after write n that was not refused,
// marked as read: the least that a default proves.
func (k *key) readDelete(n uint32) (w write, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n < k.pruned {
		return k.prunedLocked(n + 1), true // that is too long ago to be told
	}
	for i := int(n - k.pruned); i < len(k.writes); i++ {
		if w := &k.writes[i]; w.deleted && w.outcome != refused {
			w.seen = true
			return *w, true
		}
	}
	return write{}, false
}

// recent returns the last few writes, for a report.
func (k *key) recent(n int) []write {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]write(nil), k.writes[max(0, len(k.writes)-n):]...)
}
