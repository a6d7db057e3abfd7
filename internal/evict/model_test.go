package evict

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// A slow, obvious model: two lists. It is given the order's ghosts, whose
// buckets are a matter of chance, and must agree in all else: who is evicted,
// and when.
type model struct {
	limit       int
	young, main []*entry
	gone        []*entry
}

func (m *model) held() int { return len(m.young) + len(m.main) }

func (m *model) evict() bool {
	var least *entry
	var fewest uint32
	for range patience {
		from := &m.main
		if len(m.young) >= max(m.limit/10, 1) || len(m.main) == 0 {
			from = &m.young
		}
		e := (*from)[0]
		*from = (*from)[1:]
		switch {
		case e.kept:
		case e.uses() == 0:
			m.gone = append(m.gone, e)
			return true
		case least == nil || e.uses() < fewest:
			least, fewest = e, e.uses()
		}
		m.main = append(m.main, e)
		// The use that this costs is taken by the order: both look at one word.
		if !e.kept {
			e.node.Flags.Add(^uint32(0))
		}
	}
	if least != nil {
		m.remove(least)
		m.gone = append(m.gone, least)
	}
	return least != nil
}

func (m *model) add(e *entry, ghost bool) {
	for m.held() >= m.limit && m.evict() {
	}
	if ghost {
		m.main = append(m.main, e)
	} else {
		m.young = append(m.young, e)
	}
}

func (m *model) remove(e *entry) {
	is := func(have *entry) bool { return have == e }
	m.young, m.main = slices.DeleteFunc(m.young, is), slices.DeleteFunc(m.main, is)
}

func (m *model) replace(old, next *entry) {
	for _, list := range [][]*entry{m.young, m.main} {
		if i := slices.Index(list, old); i >= 0 {
			list[i] = next
		}
	}
}

// A pair runs an order and its model side by side, on entries of their own that
// have the same keys.
type pair struct {
	t     *testing.T
	order *Order[*entry]
	model model
	gone  []*entry
	twin  map[*entry]*entry // of the order's entry, the model's
	held  []*entry          // what the order should hold
}

func newPair(t *testing.T, limit int) *pair {
	p := &pair{t: t, model: model{limit: limit}, twin: map[*entry]*entry{}}
	p.order = New(limit, func(e *entry) bool { return e.kept }, func(e *entry) { p.gone = append(p.gone, e) })
	return p
}

func (p *pair) make(key string) *entry {
	e := &entry{key: key}
	p.twin[e] = &entry{key: key}
	return e
}

// step does one thing, of a kind and to an entry that the numbers choose.
func (p *pair) step(kind byte, which uint16) {
	at := -1
	if len(p.held) > 0 {
		at = int(which) % len(p.held)
	}
	switch kind %= 8; {
	case kind < 3 || at < 0:
		p.add("k" + strconv.Itoa(int(which)))
	case kind == 3:
		e := p.held[at]
		p.held = slices.Delete(p.held, at, at+1)
		p.order.Remove(e)
		p.model.remove(p.twin[e])
	case kind == 4:
		old, next := p.held[at], p.make(p.held[at].key)
		next.kept, p.twin[next].kept = old.kept, old.kept
		p.twin[next].node.Flags.Or(p.twin[old].uses())
		p.order.Replace(old, next)
		p.model.replace(p.twin[old], p.twin[next])
		p.held[at] = next
	case kind == 5:
		e := p.held[at]
		e.kept = !e.kept
		p.twin[e].kept = e.kept
	default:
		p.held[at].node.Used()
		p.twin[p.held[at]].node.Used()
	}
	p.check()
}

func (p *pair) add(key string) {
	if slices.ContainsFunc(p.held, func(e *entry) bool { return e.key == key }) {
		return // a map has a key once
	}
	e := p.make(key)
	kept := 0
	for _, have := range p.held {
		if have.kept {
			kept++
		}
	}
	p.order.Add(e)
	inMain := e.node.place&mainTag != 0
	p.model.add(p.twin[e], inMain)
	if n := p.order.Len(); n > p.order.limit+kept {
		p.t.Fatalf("%d are held, the limit is %d, and %d are kept", n, p.order.limit, kept)
	}
	for _, lost := range p.gone {
		i := slices.Index(p.held, lost)
		switch {
		case i < 0:
			p.t.Fatalf("%s was evicted twice, or is not held, or is what was added", lost.key)
		case lost.kept:
			p.t.Fatalf("%s was evicted, though it is kept", lost.key)
		case lost.node.place != 0:
			p.t.Fatalf("%s was evicted, and has a place", lost.key)
		}
		p.held = slices.Delete(p.held, i, i+1)
	}
	p.held = append(p.held, e)
}

func (p *pair) check() {
	p.t.Helper()
	if len(p.gone) != len(p.model.gone) {
		p.t.Fatalf("%d were evicted, by the model %d", len(p.gone), len(p.model.gone))
	}
	for i, e := range p.gone {
		if p.twin[e] != p.model.gone[i] {
			p.t.Fatalf("%s was evicted, by the model %s", e.key, p.model.gone[i].key)
		}
		delete(p.twin, e)
	}
	p.gone, p.model.gone = p.gone[:0], p.model.gone[:0]
	if n := p.order.Len(); n != len(p.held) || n != p.model.held() {
		p.t.Fatalf("Len is %d, want %d", n, len(p.held))
	}
}

// end checks that each entry has the place that it says, and no other.
func (p *pair) end() {
	places := map[uint32]bool{}
	for _, e := range p.held {
		r := p.order.ringOf(e)
		if _, ok := r.find(e); !ok || places[e.node.place] {
			p.t.Fatalf("%s has no place, or another's", e.key)
		}
		places[e.node.place] = true
		if e.uses() != p.twin[e].uses() {
			p.t.Fatalf("%s was used %d times, in the model %d", e.key, e.uses(), p.twin[e].uses())
		}
	}
}

func TestTheOrderDoesAsItsModel(t *testing.T) {
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 1))
		p := newPair(t, []int{1, 2, 3, 10, 50, 200}[seed%6])
		keys := 1 + random.IntN(4*p.order.limit+2)
		often := random.IntN(8) // one kind of step prevails
		for range 1500 {
			kind := byte(random.IntN(8))
			if random.IntN(3) == 0 {
				kind = byte(often)
			}
			p.step(kind, uint16(random.IntN(keys)))
		}
		p.end()
	}
}

func FuzzOrder(f *testing.F) {
	f.Add(byte(1), []byte{0, 0, 1, 0, 0, 2, 0, 0, 3})
	f.Add(byte(3), []byte{0, 0, 1, 5, 0, 0, 0, 0, 2, 5, 0, 1, 0, 0, 3, 5, 0, 2, 0, 0, 4, 0, 0, 5}) // all are kept
	f.Add(byte(4), []byte{0, 0, 1, 6, 0, 0, 0, 0, 2, 4, 0, 0, 3, 0, 1, 0, 0, 7, 0, 0, 8, 0, 0, 9, 0, 0, 1})
	f.Add(byte(20), []byte{0, 0, 1, 0, 0, 2, 3, 0, 0, 3, 0, 0, 0, 0, 1, 7, 0, 0, 4, 0, 0, 4, 0, 0})
	f.Fuzz(func(t *testing.T, limit byte, steps []byte) {
		p := newPair(t, int(limit)%64+1)
		for ; len(steps) >= 3; steps = steps[3:] {
			p.step(steps[0], binary.BigEndian.Uint16(steps[1:]))
		}
		p.end()
	})
}
