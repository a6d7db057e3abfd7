package measured

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestPercentilesAreMeasuredValues(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		values []float64
		p      float64
		want   float64
	}{
		{hundred, 0, 1}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 0.991, 100}, {hundred, 1, 100},
		{[]float64{7}, 0.5, 7}, {[]float64{3, 1}, 0.5, 1}, {[]float64{3, 1}, 0.51, 3},
	} {
		if got := Percentile(c.values, c.p); got != c.want {
			t.Errorf("percentile %v of %d values: %v, want %v", c.p, len(c.values), got, c.want)
		}
	}
	if !math.IsNaN(Percentile(nil, 0.5)) || !math.IsNaN(Median(nil)) {
		t.Error("nothing has a percentile")
	}
	for want, values := range map[float64][]float64{5: {5}, 2: {1, 2}, 3: {9, 1, 3}, 4: {1, 4, 3, 9}} {
		if got := Median(values); got != want {
			t.Errorf("median of %v: %v, want %v", values, got, want)
		}
	}
}

func TestTheTableMarksWhatWasNotReached(t *testing.T) {
	run := func(a, b, c float64, at int64) []Figure {
		return []Figure{
			{Name: "a", Unit: "ms", Value: a, Asked: 5},
			{Name: "b", Unit: "/s", Value: b},
			{Name: "c", Value: c, Exact: true},
			Since("d", 1e6, at, 2*time.Second),
		}
	}
	results := Collect("r", [][]Figure{run(4, 1000, 0, 3e6), run(6, 10, 0, 0), run(2, 20, 0, 5e6)})
	var out strings.Builder
	Print(&out, results)
	want := Head +
		"| r | a | ≤ 5 ms | 4 ms | 6 ms | 3 | median |\n" +
		"| r | b |  | 20/s | 1000/s | 3 |  |\n" +
		"| r | c | 0 | 0 | 0 | 3 | yes |\n" +
		"| r | d | ≤ 2000 ms | 4 ms | never | 3 | median |\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	for want, f := range map[string]Figure{"**no**": {Value: 6, Asked: 5}, "": {Value: 6}, "yes": {Value: 5, Asked: 5}} {
		if got := Collect("r", [][]Figure{{f}})[0].reached(); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}
