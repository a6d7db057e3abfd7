package evict

import "hash/maphash"

// Ghosts are keys that were evicted lately, by 32 bits of their hash. Each key
// has one bucket, in which the newest ghosts displace the oldest, so that a
// ghost is remembered for about as many evictions as there are ghosts in all,
// at 4 bytes each. Two keys with the same hash are mistaken for each other,
// which costs one of them its probation; the seed is random, so that nobody
// can choose such keys.
type ghosts struct {
	seed    maphash.Seed // immutable
	count   int          // immutable: how many are remembered, about
	buckets [][8]uint32  // made by the first eviction; 0 is no ghost
}

func newGhosts(count int) ghosts { return ghosts{seed: maphash.MakeSeed(), count: count} }

func (g *ghosts) remember(key string) {
	if g.buckets == nil {
		g.buckets = make([][8]uint32, g.count/8+1)
	}
	b, ghost := g.bucket(key)
	copy(b[1:], b[:])
	b[0] = ghost
}

func (g *ghosts) knows(key string) bool {
	if g.buckets == nil {
		return false
	}
	b, ghost := g.bucket(key)
	for _, known := range b {
		if known == ghost {
			return true
		}
	}
	return false
}

func (g *ghosts) bucket(key string) (b *[8]uint32, ghost uint32) {
	h := maphash.String(g.seed, key)
	return &g.buckets[h>>32*uint64(len(g.buckets))>>32], uint32(h) | 1
}
