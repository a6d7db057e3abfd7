// Package evict decides which entries of a bounded map leave it. It knows
// nothing of what it orders. A hit costs a load of one word that lies in the
// entry, and at most one conditional write to it, none once the entry is known
// to be in use; everything else happens when an entry is added.
//
// The order is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues are all you
// need for cache eviction, SOSP 2023) with its sizes chosen anew by measurement.
// An entry first stands in a short queue, the probation: a scan or a flood of
// keys that nobody asks for twice passes through it and leaves the others
// alone. What was used there moves to the main queue, and goes round in it for
// as long as it is used. Keys that left lately are remembered as ghosts: one
// that is added again goes straight to the main queue.
package evict

import "sync/atomic"

// A Node is what an entry keeps for its Order, 8 bytes to embed. The zero value
// is ready for Add.
type Node struct {
	// Flags holds the count of uses in the lowest bits (UsesMask). The others
	// are the owner's, who changes them by compare-and-swap, Or or And, never by
	// Store.
	Flags atomic.Uint32
	place uint32 // guarded by the owner's lock: see ring
}

// UsesMask are the bits of Node.Flags that belong to the order.
const UsesMask = 7

// saturated is where uses are no longer counted, and hits write nothing. Up to
// 7 rather than the paper's 3 is worth 0.3 points of hit ratio on flat
// distributions (bench/hitratio_test.go).
const saturated = UsesMask

// Used counts a hit. It may be called without any lock, by any number of
// goroutines, also for an entry that left the order. A hit among several at
// once may go uncounted.
func (n *Node) Used() {
	if w := n.Flags.Load(); w&UsesMask < saturated {
		n.Flags.CompareAndSwap(w, w+1)
	}
}

// An Entry is a pointer to what is ordered. Its key is what its ghost is
// remembered by.
type Entry interface {
	comparable
	Node() *Node
	Key() string
}

// An Order is the order of eviction of at most limit entries. It is guarded by
// its owner's lock, which is held during all calls; Node.Used alone needs none.
type Order[E Entry] struct {
	limit     int          // immutable
	probation int          // immutable: how many are on probation before these are evicted first
	keep      func(E) bool // immutable
	drop      func(E)      // immutable

	young  ring[E] // on probation
	main   ring[E]
	ghosts ghosts
}

// patience bounds the entries looked at for one eviction, about 0.1 ms, so that
// no Add has to go over all because all were used. When it ends, the least used
// of those seen is evicted: a flood so takes one in a thousand of a probation
// that is all in use, and of a smaller one none.
const patience = 1024

// maxLimit is the highest limit: a place is 31 bits.
const maxLimit = 1 << 30

// New returns an order that holds at most limit entries, at least 1. keep says
// whether an entry must not be evicted now; only such entries are held beyond
// the limit, and each Add tries anew to come down to it. drop is told of each
// entry that is evicted, when it has left the order. Neither may call the order.
func New[E Entry](limit int, keep func(E) bool, drop func(E)) *Order[E] {
	limit = min(max(limit, 1), maxLimit)
	return &Order[E]{
		limit: limit, probation: max(limit/10, 1), keep: keep, drop: drop,
		young: ring[E]{most: limit}, main: ring[E]{most: limit, tag: mainTag},
		ghosts: newGhosts(limit / 2),
	}
}

// Len returns how many entries are held.
func (o *Order[E]) Len() int { return o.young.live + o.main.live }

// Add takes in an entry that is in no order, after it evicted others until there
// is room. It never evicts e itself.
func (o *Order[E]) Add(e E) {
	for o.Len() >= o.limit && o.evict() {
	}
	if o.ghosts.knows(e.Key()) {
		o.main.push(e)
	} else {
		o.young.push(e)
	}
}

// Remove lets go of an entry without telling drop. It does nothing if the entry
// is not held.
func (o *Order[E]) Remove(e E) { o.ringOf(e).take(e) }

// Replace puts next, which is in no order, where old is held; the uses of old
// are counted as its own. If old is not held, next is added.
func (o *Order[E]) Replace(old, next E) {
	uses := old.Node().Flags.Load() & UsesMask
	next.Node().Flags.Or(uses)
	if !o.ringOf(old).swap(old, next) {
		o.Add(next)
	}
}

func (o *Order[E]) ringOf(e E) *ring[E] {
	if e.Node().place&mainTag != 0 {
		return &o.main
	}
	return &o.young
}

// evict evicts one entry, or reports that all that it saw must be kept.
//
// What is seen costs one of its uses, so that an entry stays in the main queue
// for as many rounds as it was used, and what is kept is treated as used.
func (o *Order[E]) evict() bool {
	var least, none E
	fewest := uint32(saturated + 1)
	for range patience {
		e := o.next()
		if o.keep(e) {
			o.main.push(e)
			continue
		}
		n := e.Node()
		uses := n.Flags.Load() & UsesMask
		if uses == 0 {
			o.lose(e)
			return true
		}
		n.Flags.Add(^uint32(0)) // hits alone count meanwhile, and only up
		o.main.push(e)
		if uses < fewest {
			least, fewest = e, uses
		}
	}
	if least == none {
		return false
	}
	o.main.take(least)
	o.lose(least)
	return true
}

// next takes out the entry whose turn it is.
func (o *Order[E]) next() E {
	if o.young.live >= o.probation || o.main.live == 0 {
		return o.young.pop()
	}
	return o.main.pop()
}

func (o *Order[E]) lose(e E) {
	o.ghosts.remember(e.Key())
	o.drop(e)
}
