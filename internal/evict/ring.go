package evict

// A ring is a queue of entries in an array, with holes where entries were taken
// out of its middle. It costs 8 bytes an entry; a linked list would cost 16 and
// a miss of the processor's cache for each neighbour.
//
// Invariant: an entry e is in the ring exactly if slots[e.place&^tag-1] is e.
// The zero E marks a hole and a slot that is not in use.
type ring[E Entry] struct {
	slots []E
	head  int    // where the oldest slot in use is
	used  int    // slots in use from head on, holes among them
	live  int    // entries in them
	most  int    // immutable: entries expected at most
	tag   uint32 // immutable: what marks the places of this ring
}

// mainTag tells the places of an order's main ring from those of the other.
const mainTag = 1 << 31

// push appends e.
func (r *ring[E]) push(e E) {
	if r.used == len(r.slots) {
		r.move(r.roomier())
	}
	r.put(r.wrap(r.head+r.used), e)
	r.used++
	r.live++
}

// pop takes out the oldest entry, of which there must be one.
func (r *ring[E]) pop() E {
	var none E
	for {
		e := r.slots[r.head]
		r.slots[r.head] = none
		r.head = r.wrap(r.head + 1)
		r.used--
		if e == none {
			continue
		}
		r.live--
		e.Node().place = 0
		if len(r.slots) > 64 && r.used < len(r.slots)/4 {
			r.move(2 * r.used)
		}
		return e
	}
}

// take takes e out, wherever it is. It reports whether it was in the ring.
func (r *ring[E]) take(e E) bool {
	i, ok := r.find(e)
	if ok {
		var none E
		r.slots[i] = none
		r.live--
		e.Node().place = 0
	}
	return ok
}

// swap puts next in the place of old. It reports whether old was in the ring.
func (r *ring[E]) swap(old, next E) bool {
	i, ok := r.find(old)
	if ok {
		old.Node().place = 0
		r.put(i, next)
	}
	return ok
}

func (r *ring[E]) put(i int, e E) {
	r.slots[i] = e
	e.Node().place = uint32(i+1) | r.tag
}

func (r *ring[E]) find(e E) (i int, ok bool) {
	i = int(e.Node().place&^mainTag) - 1
	return i, i >= 0 && i < len(r.slots) && r.slots[i] == e
}

// wrap returns the index of a slot that is less than one round past the end.
func (r *ring[E]) wrap(i int) int {
	if i >= len(r.slots) {
		i -= len(r.slots)
	}
	return i
}

// roomier returns how many slots there should be when all are in use: half as
// many again as there are entries, but not without need more than are expected,
// and always room enough to pay for the move.
func (r *ring[E]) roomier() int {
	return max(min(r.live+r.live/2, r.most), r.live+r.live/8+8)
}

// move moves all entries to an array of so many slots, without holes.
func (r *ring[E]) move(slots int) {
	from := *r
	var none E
	r.slots, r.head, r.used = make([]E, slots), 0, 0
	for i := range from.used {
		if e := from.slots[from.wrap(from.head+i)]; e != none {
			r.put(r.used, e)
			r.used++
		}
	}
}
