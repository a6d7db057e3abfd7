package measured

import (
	"math"
	"slices"
)

// Orders of values, by the nearest rank: what is returned was measured.

// Percentile returns the least value that at least the share p of all values,
// 0 to 1, do not exceed. NaN without values.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Median of an even number of values is the greater of the middle two: a run
// more or less must not make a figure look better.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
