package main

import "math/bits"

// A histogram counts durations: exactly to 4 µs, above to 0.4 %.
type histogram map[int]int64 // by the number of the bucket

const (
	exactBelow = 1 << 12 // ns
	finer      = 8       // bits of a power of two above
	buckets    = exactBelow + (63-12)<<finer
)

// bucket returns the bucket of a duration.
func bucket(ns int64) int {
	if ns < exactBelow {
		return int(max(ns, 0))
	}
	e := bits.Len64(uint64(ns)) - 1
	return exactBelow + (e-12)<<finer + int(ns>>(e-finer))&(1<<finer-1)
}

// least returns the least duration of a bucket.
func least(b int) int64 {
	if b < exactBelow {
		return int64(b)
	}
	e, m := (b-exactBelow)>>finer+12, (b-exactBelow)&(1<<finer-1)
	return int64(1<<finer+m) << (e - finer)
}

// A tally is a histogram that is being filled.
type tally []int64

func newTally() tally { return make(tally, buckets) }

// histogram returns what was counted, and forgets it.
func (t tally) histogram() histogram {
	h := histogram{}
	for b, n := range t {
		if n > 0 {
			h[b] = n
		}
	}
	clear(t)
	return h
}

// add counts what o has counted, too.
func (h histogram) add(o histogram) {
	for b, n := range o {
		h[b] += n
	}
}

// quantile returns the least duration that at least the share p of all does not
// exceed, to the precision of the histogram. 0 of none.
func (h histogram) quantile(p float64) int64 {
	top, total := 0, int64(0)
	for b, n := range h {
		top, total = max(top, b), total+n
	}
	rank := int64(p * float64(total))
	for b, seen := 0, int64(0); b <= top; b++ {
		if seen += h[b]; seen > rank || seen == total {
			return least(b)
		}
	}
	return 0
}
