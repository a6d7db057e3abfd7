// Package passes times rivals in turns, so that their ratio is honest on a
// machine that is shared: whatever slows one pass slows all rivals in it, and
// the median forgets the passes that were disturbed.
package passes

import (
	"slices"
	"time"
)

// Passes is how many passes [Time] makes. Odd, so that a median is one of them.
const Passes = 101

// A Rival does n operations.
type Rival func(n int)

// Figures are what [Time] measured of one rival: medians over all passes.
type Figures struct {
	NS    float64 // per operation
	Ratio float64 // to the first rival, in the same pass
}

// Time lets each rival do at least ops operations in all, divided into short
// passes. Who begins a pass changes from pass to pass.
func Time(ops int, rivals ...Rival) []Figures {
	n := ops/Passes + 1
	spent := make([][]float64, len(rivals)) // per rival and pass, in ns per operation
	for i := range spent {
		spent[i] = make([]float64, Passes)
	}
	for pass := range Passes {
		for turn := range rivals {
			i := (pass + turn) % len(rivals)
			start := time.Now()
			rivals[i](n)
			spent[i][pass] = float64(max(time.Since(start), 1)) / float64(n)
		}
	}
	figures := make([]Figures, len(rivals))
	for i, own := range spent {
		ratios := make([]float64, Passes)
		for pass := range ratios {
			ratios[pass] = own[pass] / spent[0][pass]
		}
		figures[i] = Figures{NS: median(own), Ratio: median(ratios)}
	}
	return figures
}

// median is that of an odd number of values.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
