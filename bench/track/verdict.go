package main

import (
	"fmt"
	"math"
	"slices"
)

// A verdict says whether a row got slower. Each round gives one pair of values,
// of the two revisions, measured side by side, each in a layout of the program of
// its own. So noise, and the place that the linker gives to code, are differences
// between rounds; what all rounds agree on is the change.
//
// The rule: an interval holds the true median of the difference with 99.9 %
// confidence (order statistics: it assumes nothing of the distribution; Conover,
// Practical Nonparametric Statistics, 3.2). A row is slower if the whole interval
// lies beyond the least effect that counts, faster if so on the other side, and
// else unchanged: no difference that this many rounds could prove.

// minRounds is how many pairs it takes to prove anything with this confidence,
// which is so high because a run has many rows, and one false alarm spoils it.
const (
	confidence = 0.999
	minRounds  = 11
)

// A least effect is one that counts. It must be exceeded in proportion and in
// itself: below, the place of a loop within its function decides, which no layout
// of functions varies, and a third of a nanosecond is one cycle.
type least struct {
	relative float64
	absolute float64
	more     string // the words of a verdict
	fewer    string
}

// judged are the units that are judged. All others are printed, no more.
var judged = map[string]least{
	"ns/op":     {relative: 0.05, absolute: 0.1, more: "slower", fewer: "faster"},
	"B/op":      {relative: 0.05, absolute: 8, more: "more bytes", fewer: "fewer bytes"},
	"allocs/op": {relative: 0.01, absolute: 0.5, more: "more allocations", fewer: "fewer allocations"},
}

const unchanged = "unchanged"

// A verdict on one row and unit.
type verdict struct {
	row, unit  string
	base, head float64 // medians
	ratio      float64 // median of head/base within a round
	low, high  float64 // the interval of ratio
	word       string
	worse      bool
}

// judge compares the values of two revisions; the i-th of each are of one round.
// There are at least minRounds.
func judge(name, unit string, base, head []float64) verdict {
	ratios, steps := make([]float64, len(base)), make([]float64, len(base))
	for i := range base {
		steps[i] = head[i] - base[i]
		switch {
		case base[i] != 0:
			ratios[i] = head[i] / base[i]
		case head[i] == 0:
			ratios[i] = 1
		default:
			ratios[i] = math.Inf(1)
		}
	}
	v := verdict{row: name, unit: unit, base: median(base), head: median(head), ratio: median(ratios), word: unchanged}
	v.low, v.high = interval(ratios)
	leastStep, mostStep := interval(steps)
	l := judged[unit]
	switch {
	case v.low > 1+l.relative && leastStep > l.absolute:
		v.word, v.worse = l.more, true
	case v.high < 1/(1+l.relative) && mostStep < -l.absolute:
		v.word = l.fewer
	}
	return v
}

// interval returns the values between which the true median lies with at least
// the confidence asked for.
func interval(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	k := outside(len(sorted))
	return sorted[k], sorted[len(sorted)-1-k]
}

// outside is how many of n values may be left out at each end: the probability
// that so few, or fewer, lie on one side of the true median is at most half of
// what the confidence leaves over, by the binomial distribution.
func outside(n int) int {
	tail, choose := 0.0, 1.0
	for k := range n / 2 {
		tail += choose * math.Pow(0.5, float64(n))
		if tail > (1-confidence)/2 {
			return max(k-1, 0)
		}
		choose *= float64(n-k) / float64(k+1)
	}
	return 0
}

// explain states the threshold as users read it.
func explain(rounds int) string {
	l := judged["ns/op"]
	return fmt.Sprintf("A row is slower or faster if the %.1f %% interval of its median over %d rounds lies wholly beyond %.0f %% and %.1f ns (bytes: %.0f %% and %.0f; allocations: half a one).",
		confidence*100, rounds, l.relative*100, l.absolute, judged["B/op"].relative*100, judged["B/op"].absolute)
}
