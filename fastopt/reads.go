package fastopt

import (
	"sync/atomic"
	"unsafe"
)

// Counting reads, where Config.CountReads asks for it. A counter that all readers
// share costs more with every processor, so it has stripes; a reader picks one by
// where its stack lies, which is as good as by processor and free. Off, the counter
// is nil, and a read pays one branch that is always predicted.

// ReadStats counts reads from memory since Open. They are read one by one.
type ReadStats struct {
	// Family is the prefix of the family whose members were read. "": declared
	// options were read by name, by Manager.Get or Lookup.
	Family string
	// Hits gave a value, or the default because it is known that there is none.
	// Of a declared option they count whether fresh or stale: it is renewed
	// unread, and Stats.Stale says how many are late.
	Hits uint64
	// Stale gave a member's value past its TTL, or one that a push has overtaken,
	// while it is renewed.
	Stale uint64
	// Misses gave the default because nothing is known: the option was never
	// loaded, has expired, or the member is not in memory.
	Misses uint64
}

// stripes is how many readers can count at once without meeting, if they are lucky.
const stripes = 64 // a power of two

// A readCounter counts reads. All methods may be called on nil, which counts
// nothing, and by any number of goroutines at once; they are wait-free.
type readCounter struct {
	family string // immutable
	stripe [stripes]readStripe
}

// A readStripe fills a cache line, so that neighbours do not slow each other.
type readStripe struct {
	hits, old, misses atomic.Uint64

	_ [40]byte
}

// hit counts a read that gave what is known.
func (c *readCounter) hit() {
	if c != nil {
		c.stripe[stripeHere()].hits.Add(1)
	}
}

// found is hit or missed.
func (c *readCounter) found(known bool) {
	if known {
		c.hit()
	} else {
		c.missed()
	}
}

// stale counts a read that gave what is known and should be renewed.
func (c *readCounter) stale() {
	if c != nil {
		c.stripe[stripeHere()].old.Add(1)
	}
}

// missed counts a read that gave the default because nothing is known.
func (c *readCounter) missed() {
	if c != nil {
		c.stripe[stripeHere()].misses.Add(1)
	}
}

// stripeHere picks a stripe for the goroutine that calls. The address is only a
// number here. Stacks are at least 2 KiB; that two goroutines share a stripe, or
// that one moves to another, costs time and loses nothing.
func stripeHere() uintptr {
	var here byte
	at := uintptr(unsafe.Pointer(&here))
	return (at>>11 ^ at>>17) % stripes
}

// stats returns the sums.
func (c *readCounter) stats() ReadStats {
	s := ReadStats{Family: c.family}
	for i := range c.stripe {
		p := &c.stripe[i]
		s.Hits += p.hits.Load()
		s.Stale += p.old.Load()
		s.Misses += p.misses.Load()
	}
	return s
}

// countReads returns a counter for the members of a family, or, for "", of
// declared options, which Stats reports in the order of these calls; nil if reads
// are not counted. Only Open calls it.
func (m *Manager) countReads(family string) *readCounter {
	if !m.cfg.CountReads {
		return nil
	}
	c := &readCounter{family: family}
	m.counted = append(m.counted, c)
	return c
}

// readStats is Stats.Reads.
func (m *Manager) readStats() []ReadStats {
	var all []ReadStats
	for _, c := range m.counted {
		all = append(all, c.stats())
	}
	return all
}
