package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// sixteen gives the values of a row over sixteen rounds.
func sixteen(value func(i int) float64) []float64 {
	values := make([]float64, 16)
	for i := range values {
		values[i] = value(i)
	}
	return values
}

func TestVerdicts(t *testing.T) {
	same := func(v float64) func(int) float64 { return func(int) float64 { return v } }
	for name, c := range map[string]struct {
		unit       string
		base, head func(i int) float64
		want       string
	}{
		"equal":                        {"ns/op", same(10), same(10), unchanged},
		"two ns in a third of one":     {"ns/op", same(0.3), same(2.3), "slower"},
		"the reverse":                  {"ns/op", same(2.3), same(0.3), "faster"},
		"within the least proportion":  {"ns/op", same(100), same(104), unchanged},
		"beyond it":                    {"ns/op", same(100), same(106), "slower"},
		"a quarter, and a quarter ns":  {"ns/op", same(0.28), same(0.35), unchanged},
		"one disturbed round":          {"ns/op", same(10), func(i int) float64 { return 10 + 50*float64(i/15) }, unchanged},
		"slower but in one round":      {"ns/op", same(10), func(i int) float64 { return 12 - 4*float64(i/15) }, "slower"},
		"slower but in two rounds":     {"ns/op", same(10), func(i int) float64 { return 12 - 4*float64(i/14) }, unchanged},
		"both swing alike, and differ": {"ns/op", func(i int) float64 { return 10 + float64(i%3)*10 }, func(i int) float64 { return 11 + float64(i%3)*11 }, "slower"},
		"half of the layouts are slow": {"ns/op", same(10), func(i int) float64 { return 10 + 2*float64(i%2) }, unchanged},
		"an allocation":                {"allocs/op", same(0), same(1), "more allocations"},
		"one less":                     {"allocs/op", same(1), same(0), "fewer allocations"},
		"bytes that round differently": {"B/op", same(0), same(3), unchanged},
		"a word and a half":            {"B/op", same(0), same(12), "more bytes"},
	} {
		v := judge(name, c.unit, sixteen(c.base), sixteen(c.head))
		if v.word != c.want || v.worse != (c.want == "slower" || c.want == "more allocations" || c.want == "more bytes") {
			t.Errorf("%s: %+v, want %s", name, v, c.want)
		}
	}
}

// Where nothing changed, noise as great as any that was seen on a shared machine
// must not look like a change.
func TestNoiseAloneIsUnchanged(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(int) float64 { return 10 * math.Exp(random.NormFloat64()/4) }
	wrong := 0
	for range 10_000 {
		if judge("row", "ns/op", sixteen(noise), sixteen(noise)).word != unchanged {
			wrong++
		}
	}
	if wrong > 10 { // one in a thousand, as the confidence says
		t.Errorf("%d of 10,000 rows without a change are judged to have one", wrong)
	}
}

func TestIntervalIsThatOfTheBinomialDistribution(t *testing.T) {
	// Half of what is left over is 0.0005: P(X ≤ k) for X of n fair coins.
	for n, want := range map[int]int{11: 0, 12: 0, 14: 0, 16: 1, 18: 1, 20: 2, 24: 3, 30: 5} {
		if got := outside(n); got != want {
			t.Errorf("of %d values %d are left out at each end, want %d", n, got, want)
		}
	}
}
