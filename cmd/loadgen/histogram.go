package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are 1/64 of their size wide, so
// that percentiles are exact to about 1.6 %; the maximum is exact. It is not safe
// for concurrent use: everyone has their own, and they are added up at the end.
type histogram struct {
	buckets [64 * 64]uint64
	total   uint64
	max     int64
}

const subBits = 6

func bucketOf(v int64) int {
	if v < 1<<subBits {
		return int(max(v, 0))
	}
	e := bits.Len64(uint64(v)) - 1 - subBits
	return (e+1)<<subBits + int(v>>e)&(1<<subBits-1)
}

// floorOf is the least value of a bucket.
func floorOf(b int) int64 {
	if b < 1<<subBits {
		return int64(b)
	}
	e := b>>subBits - 1
	return int64(1<<subBits+b&(1<<subBits-1)) << e
}

func (h *histogram) add(v int64) {
	h.buckets[bucketOf(v)]++
	h.total++
	h.max = max(h.max, v)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// percentile returns the least value that q (0 to 1) of all do not exceed, 0 of
// an empty histogram.
func (h *histogram) percentile(q float64) int64 {
	if h.total == 0 {
		return 0
	}
	need := uint64(q * float64(h.total))
	if float64(need) < q*float64(h.total) {
		need++
	}
	var sum uint64
	for b, n := range h.buckets {
		if sum += n; n > 0 && sum >= need {
			return min(floorOf(b+1)-1, h.max)
		}
	}
	return h.max
}

func (h *histogram) at(q float64) time.Duration { return time.Duration(h.percentile(q)) }
