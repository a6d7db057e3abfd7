package fastopt

import (
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/fastopt/fastopt-go/internal/evict"
	"github.com/fastopt/fastopt-go/tiers"
)

// Members in memory: one compact object for each, as there may be a million. A
// reader looks at its value and one word that says whether it is fresh; what
// else an answer of a tier needs to be judged (entry.go) can be rebuilt from it.

// A member is a family's member in memory: a value, or the default because the
// tiers say that there is none. It is replaced when that changes.
type member[T any] struct {
	value T // immutable
	resident
}

// A resident is a member as seen by code that knows no T.
type resident struct {
	life atomic.Int64 // a life: only whoever holds family.mu writes it
	node evict.Node   // uses, and queued
	key  string       // immutable: what follows the prefix

	told     bool   // guarded by family.mu: the cache told it, and announces changes
	kind     kind   // immutable: kindValue or kindAbsent
	origin   Origin // immutable
	epoch    uint32 // immutable: of the stamp
	revision uint64 // immutable: of the stamp
	sum      uint64 // immutable: as in facts
}

// A life is an instant before a request was sent, in ns since Open, and whether
// its answer is fresh but for its age. Among lives of fresh answers the greater
// is the younger; all others are less than any of them.
type life = int64

// lifeBias is more than any instant's distance from Open: 73 years.
const lifeBias = 1 << 61

func freshLife(asked int64) life { return asked + lifeBias }
func endedLife(asked int64) life { return asked - lifeBias }

// lifeAt takes a life apart.
func lifeAt(l life) (asked int64, fresh bool) {
	if l > 0 {
		return l - lifeBias, true
	}
	return l + lifeBias, false
}

// end ends the freshness of r. The caller holds family.mu.
func (r *resident) end() {
	if asked, fresh := lifeAt(r.life.Load()); fresh {
		r.life.Store(endedLife(asked))
	}
}

// queued is the flag of a resident that a reader has asked a load for.
const queued = evict.UsesMask + 1

// Node and Key make a resident an entry of an order of eviction.

func (r *resident) Node() *evict.Node { return &r.node }
func (r *resident) Key() string       { return r.key }

func (r *resident) stamp() tiers.Stamp { return tiers.Stamp{Epoch: r.epoch, Revision: r.revision} }

// says reports whether m is r, confirmed anew, or kept because its row is
// invalid: sum is that row's then.
func (r *resident) says(m *meta) bool {
	return r.kind == m.kind && r.origin == m.origin && r.stamp() == m.stamp && (r.sum == m.sum || m.err != nil)
}

// facts are what a working key begins with, which asks for nothing until got.
func (r *resident) facts(k *key, boxed any, token uint64, got int64) facts {
	return facts{key: k, kind: r.kind, origin: r.origin, boxed: boxed, stamp: r.stamp(), seen: r.stamp(),
		sum: r.sum, got: got, token: token, absent: r.kind == kindAbsent}
}

// residents are the members of a family in memory, in one manager.
type residents[T any] struct {
	members *xsync.MapOf[string, *member[T]] // immutable; by what follows the prefix
	none    T                                // immutable: the default
	family
}

// A table is residents as seen by code that knows no T. Whoever changes it holds
// family.mu.
type table interface {
	find(member string) *resident // nil: it is not in memory
	boxed(member string) any      // the value of one that is
	put(member string, m *meta, l life) *resident
	drop(member string)
	clear()
	value(member string) any // Family.Get, boxed
}

func (s *residents[T]) find(key string) *resident {
	if m, ok := s.members.Load(key); ok {
		return &m.resident
	}
	return nil
}

func (s *residents[T]) boxed(key string) any {
	m, _ := s.members.Load(key)
	return m.value
}

// put replaces a member by what m says, confirmed at l.
func (s *residents[T]) put(key string, m *meta, l life) *resident {
	n := &member[T]{value: unbox[T](m.boxed), resident: resident{kind: m.kind, origin: m.origin,
		epoch: m.stamp.Epoch, revision: m.stamp.Revision, sum: m.sum, key: key}}
	n.life.Store(l)
	s.members.Store(key, n)
	return &n.resident
}

func (s *residents[T]) clear()          { s.members.Clear() }
func (s *residents[T]) drop(key string) { s.members.Delete(key) }

// fresh is the whole of a hit: it reads no clock, takes no lock, and writes
// nothing shared unless the order of eviction has use for it.
func (r *resident) fresh(from *atomic.Int64) bool {
	r.node.Used()
	return r.life.Load() >= from.Load()
}

// get is Family.Get.
func (s *residents[T]) get(key string) T {
	m, ok := s.members.Load(key)
	if ok && m.fresh(&s.freshFrom) {
		s.reads.hit()
		return m.value
	}
	return s.judged(m, key)
}

// value is Family.Get for who knows no T. It may allocate what it returns.
func (s *residents[T]) value(key string) any { return s.get(key) }

// judged is the value of m, nil if it is not in memory, by the exact clock.
func (s *residents[T]) judged(m *member[T], key string) T {
	switch {
	case m == nil:
		return s.missing(key)
	case s.usable(&m.resident):
		return m.value
	}
	return s.none
}

// missing reads a member that is not in memory, and has it loaded.
func (s *residents[T]) missing(key string) T {
	if k, ok := s.work.Load(key); ok {
		if s.usableBy(k, key) {
			return unbox[T](k.cell.load().boxed)
		}
	} else if checkFamilyKey(key) == nil {
		s.reads.missed()
		if at := s.resting.Load(); at == 0 || s.now() >= at {
			s.read(key)
		}
	}
	return s.none
}
