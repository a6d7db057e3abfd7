package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
)

func TestHistogramsAreExactToFourMicrosecondsAndNearAbove(t *testing.T) {
	for ns := range int64(exactBelow) {
		if got := least(bucket(ns)); got != ns {
			t.Fatalf("%d ns count as %d", ns, got)
		}
	}
	for range 100_000 {
		ns := rand.Int64N(1 << rand.IntN(62))
		b := bucket(ns)
		if b < 0 || b >= buckets {
			t.Fatalf("%d ns are in bucket %d of %d", ns, b, buckets)
		}
		if got := least(b); got > ns || float64(ns-got) > 0.004*float64(ns) || ns >= exactBelow && least(b+1) <= ns {
			t.Fatalf("%d ns count as %d, bucket %d", ns, got, b)
		}
	}
}

func TestQuantilesAreOfWhatWasCounted(t *testing.T) {
	one := newTally()
	for ns := range int64(9990) {
		one[bucket(ns%100)]++
	}
	h := one.histogram()
	other := newTally()
	for range 10 {
		other[bucket(int64(time.Millisecond))]++
	}
	h.add(other.histogram())
	for q, want := range map[float64]int64{0: 0, 0.5: 50, 0.99: 99, 0.9995: least(bucket(int64(time.Millisecond))), 1: least(bucket(int64(time.Millisecond)))} {
		if got := h.quantile(q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if len(one.histogram()) > 0 || (histogram{}).quantile(0.5) != 0 {
		t.Error("a tally keeps what it gave, or nothing has a quantile")
	}
}

func TestReadsAreJudgedByTheirOwnSlice(t *testing.T) {
	h := func(ns int64, n int64) histogram { return histogram{bucket(ns): n} }
	p := passage{seen: []observation{
		{Slices: []slice{{Gets: h(1100, 10), Bare: h(1000, 10), Clock: 20}, {Gets: h(500, 10), Bare: h(1000, 10), Waited: 2}}},
		{Slices: []slice{{Gets: h(1100, 10), Bare: h(1000, 10), Clock: 30}, {Gets: h(500, 10), Bare: h(1000, 10), Mirror: 1}}},
	}}
	runs := p.reads()
	want := [][]float64{{1080.0 / 980, 1080.0 / 980, 0, 0}, {0.5, 0.5, 2, 1}}
	for i, run := range runs {
		for j, v := range want[i] {
			if run[j].Value != v {
				t.Errorf("part %d: %s is %v, want %v", i, run[j].Name, run[j].Value, v)
			}
		}
	}
}

func TestLongBatchesAreThoseBeyondTheOtherKind(t *testing.T) {
	const ms = int64(time.Millisecond)
	if n := over([]int64{15 * ms, 16 * ms, 40 * ms}, 6*ms); n != 1 {
		t.Errorf("%d batches are over by more than 10 ms, want 1", n)
	}
}

func TestTheCanaryKnowsWhatWasLateMeanwhile(t *testing.T) {
	c := canary{ticks: []tick{{10, 11}, {20, 29}, {30, 33}, {40, 47}}}
	for _, x := range []struct{ from, to, lag int64 }{
		{0, 100, 9}, {12, 19, 0}, {25, 26, 9}, {30, 39, 3}, {34, 40, 7}, {48, 60, 0},
	} {
		if got := c.lag(x.from, x.to); got != x.lag {
			t.Errorf("from %d to %d timers were %d late, want %d", x.from, x.to, got, x.lag)
		}
	}
	if c.after(30) != 33 || c.after(48) != 0 {
		t.Error("the first tick after an instant is another one")
	}
}

func TestGoodputIsComparedWithThatBefore(t *testing.T) {
	const second = int64(time.Second)
	var bins []bin
	for at := int64(0); at < 30*second; at += int64(binEvery) {
		b := bin{At: at, Due: 100, Good: 100}
		switch {
		case at >= 5*second && at < 15*second:
			b.Good = 20 // dead
		case at >= 15*second && at < 18*second:
			b.Good = 50
		}
		bins = append(bins, b)
	}
	got := goodput([][]bin{bins}, 5*second, 15*second)
	for i, want := range []float64{100, 20, 0, 3000} {
		if got[i].Value != want {
			t.Errorf("%s: %v, want %v", got[i].Name, got[i].Value, want)
		}
	}
	for i := range bins[60:] {
		bins[60+i].Good = 90 // it never comes back
	}
	got = goodput([][]bin{bins}, 5*second, 15*second)
	if got[2].Value != 10 || measured.WithUnit(got[3].Value, "ms") != "never" {
		t.Errorf("a load that stays broken: lost %v %%, right after %v", got[2].Value, got[3].Value)
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for want, args := range map[string][]string{
		`no row matches "nonsense"`: {"-rows", "nonsense"},
		"missing closing":           {"-rows", "("},
		"-processes of 2":           {"-processes", "1"},
		"-runs of 1":                {"-runs", "0"},
		"-window of 1s":             {"-window", "1ms"},
		"other arguments":           {"redis-killed"},
	} {
		var out, progress strings.Builder
		err := run(t.Context(), args, &out, &progress)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", args, err, want)
		}
		if out.Len() > 0 {
			t.Errorf("%v: printed %s", args, out.String())
		}
	}
}

func TestRowsAreChosenByPattern(t *testing.T) {
	chosen, err := choose("^redis-|frozen")
	names := map[string]bool{}
	for _, r := range chosen {
		names[r.name] = true
	}
	if err != nil || len(chosen) != 7 || !names["pg-frozen"] || !names["frozen"] || !names["redis-slow"] {
		t.Errorf("%v, %v", names, err)
	}
	names = map[string]bool{}
	for _, r := range rows {
		if names[r.name] || r.says == "" || r.measure == nil {
			t.Errorf("row %q is incomplete, or there twice", r.name)
		}
		names[r.name] = true
	}
}
