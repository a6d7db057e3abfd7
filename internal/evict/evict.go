// Package evict decides which entries of a bounded map leave it: those that
// were not read lately. It knows nothing of what it orders. A hit costs a load
// of one word that lies in the entry, and at most one conditional write to it;
// everything else happens when an entry is added.
package evict

import "sync/atomic"

// A Node is what an entry keeps for its Order, 8 bytes to embed. The zero value
// is ready for Add.
type Node struct {
	// Flags holds the count of uses in its lowest four bits (UsesMask). The
	// others are the owner's, who changes them by compare-and-swap, Or or And,
	// never by Store.
	Flags atomic.Uint32
	place uint32 // guarded by the owner's lock: where in the order; 0 is nowhere
}

// UsesMask are the bits of Node.Flags that belong to the order.
const UsesMask = 1<<4 - 1

// saturated is where uses are no longer counted, and hits write nothing.
const saturated = 3

// Used counts a hit. It may be called without any lock, by any number of
// goroutines, also for an entry that left the order. A hit among several at
// once may go uncounted.
func (n *Node) Used() {
	if w := n.Flags.Load(); w&UsesMask < saturated {
		n.Flags.CompareAndSwap(w, w+1)
	}
}

// An Entry is a pointer to what is ordered. Key is read when an entry is added
// and when it is evicted, and is the same each time.
type Entry interface {
	comparable
	Node() *Node
	Key() string
}

// An Order is the order of eviction of at most limit entries. It is guarded by
// its owner's lock, which is held during all calls, also those of keep and
// drop; Node.Used alone needs none.
type Order[E Entry] struct {
	limit int          // immutable
	keep  func(E) bool // immutable
	drop  func(E)      // immutable

	ring []E // oldest first
}

// New returns an order that holds at most limit entries, at least 1. keep says
// whether an entry must not be evicted now; such ones may be held beyond the
// limit. drop is told of each that is evicted, which has left the order by
// then. Neither may call the order.
func New[E Entry](limit int, keep func(E) bool, drop func(E)) *Order[E] {
	return &Order[E]{limit: max(limit, 1), keep: keep, drop: drop}
}

// Len returns how many entries are held.
func (o *Order[E]) Len() int { return len(o.ring) }

// Add takes in an entry that is in no order, and evicts others until there is
// room. It never evicts e itself.
func (o *Order[E]) Add(e E) {
	for range len(o.ring) * (saturated + 1) {
		if len(o.ring) < o.limit {
			break
		}
		old := o.ring[0]
		o.ring = o.ring[1:]
		n := old.Node()
		if w := n.Flags.Load(); w&UsesMask > 0 || o.keep(old) {
			if w&UsesMask > 0 {
				n.Flags.Add(^uint32(0))
			}
			o.ring = append(o.ring, old)
			continue
		}
		n.place = 0
		o.drop(old)
	}
	e.Node().place = 1
	o.ring = append(o.ring, e)
}

// Remove lets go of an entry without telling drop. It does nothing if the entry
// is not held.
func (o *Order[E]) Remove(e E) {
	if i := o.index(e); i >= 0 {
		e.Node().place = 0
		o.ring = append(o.ring[:i], o.ring[i+1:]...)
	}
}

// Replace puts next, which is in no order, where old is held; next inherits the
// uses of old. If old is not held, next is added.
func (o *Order[E]) Replace(old, next E) {
	i := o.index(old)
	if i < 0 {
		o.Add(next)
		return
	}
	n, was := next.Node(), old.Node()
	n.Flags.Or(was.Flags.Load() & UsesMask)
	n.place, was.place = was.place, 0
	o.ring[i] = next
}

func (o *Order[E]) index(e E) int {
	if e.Node().place == 0 {
		return -1
	}
	for i, have := range o.ring {
		if have == e {
			return i
		}
	}
	return -1
}
