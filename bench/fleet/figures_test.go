package main

import (
	"bufio"
	"math"
	"reflect"
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
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("percentile %v of %d values: %v, want %v", c.p, len(c.values), got, c.want)
		}
	}
	if !math.IsNaN(percentile(nil, 0.5)) || !math.IsNaN(median(nil)) {
		t.Error("nothing has a percentile")
	}
	for want, values := range map[float64][]float64{5: {5}, 2: {1, 2}, 3: {9, 1, 3}, 4: {1, 4, 3, 9}} {
		if got := median(values); got != want {
			t.Errorf("median of %v: %v, want %v", values, got, want)
		}
	}
}

func TestDelaysCountFromTheAcknowledgement(t *testing.T) {
	const ms = int64(1e6)
	at := func(manager, option int, value, at int64) arrival {
		return arrival{update: update{option, value}, Manager: manager, At: at * ms}
	}
	writes := []write{
		{update: update{0, 1}, Begun: 8 * ms, Acked: 10 * ms},
		{update: update{1, 2}, Begun: 18 * ms, Acked: 20 * ms, Uncached: true},
		{update: update{0, 3}, Begun: 28 * ms, Acked: 30 * ms},
	}
	d := delaysOf(writes, [][]arrival{
		{at(0, 1, 0, 1), at(0, 0, 0, 1), at(0, 0, 1, 9), at(0, 1, 2, 25), at(0, 0, 3, 32)}, // the first came before its acknowledgement
		{at(0, 0, 3, 40), at(0, 1, 0, 1), at(1, 1, 2, 99)},                                 // skipped 1, never had 2; manager 1 is not asked
	}, 1)
	want := delays{
		each:     []float64{0, 5, 2, 30, 10},
		last:     []float64{30, 5, 10},
		begun:    []float64{1, 7, 4, 32, 12},
		lost:     1,
		uncached: 1,
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("%+v\nwant %+v", d, want)
	}
}

func TestCommandStatsAreParsed(t *testing.T) {
	before, err := parseCommandStats("# Commandstats\r\ncmdstat_get:calls=21,usec=175,usec_per_call=8.33\r\ncmdstat_info:calls=9,usec=1\r\n" +
		"cmdstat_client|caching:calls=3,usec=2\r\ncmdstat_ping:calls=4,usec=1\r\n")
	if want := (counts{"get": 21, "client|caching": 3, "ping": 4}); err != nil || !reflect.DeepEqual(before, want) {
		t.Fatalf("%v, %v", before, err)
	}
	after := counts{"get": 25, "client|caching": 3, "ping": 4, "set": 2, "evalsha": 3}
	diff := after.since(before)
	if want := (counts{"get": 4, "set": 2, "evalsha": 3}); !reflect.DeepEqual(diff, want) {
		t.Errorf("%v", diff)
	}
	if diff.total(nil) != 9 || scripts(diff) != 3 || stored(diff) != 2 {
		t.Errorf("%v: total %d, scripts %d, stored %d", diff, diff.total(nil), scripts(diff), stored(diff))
	}
	if _, err := parseCommandStats("cmdstat_get:calls=many,usec=1"); err == nil {
		t.Error("no error for a count that is none")
	}
}

func TestAnswersOfRedisAreRead(t *testing.T) {
	in := bufio.NewReader(strings.NewReader("+OK\r\n:12\r\n$5\r\na\r\nbc\r\n$-1\r\n*2\r\n$1\r\nx\r\n:3\r\n-ERR no\r\n?\r\n"))
	for _, want := range []string{"OK", "12", "a\r\nbc", "", "x\n3"} {
		if got, err := readAnswer(in); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	for _, want := range []string{"ERR no", "unknown kind", "EOF"} {
		if got, err := readAnswer(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, %v; want the error %q", got, err, want)
		}
	}
}

func TestTheTableMarksWhatWasNotReached(t *testing.T) {
	run := func(a, b, c float64, at int64) []figure {
		return []figure{
			{name: "a", unit: "ms", value: a, asked: 5},
			{name: "b", unit: "/s", value: b},
			{name: "c", value: c, exact: true},
			since("d", 1e6, at, 2*time.Second),
		}
	}
	results := collect("r", [][]figure{run(4, 1000, 0, 3e6), run(6, 10, 0, 0), run(2, 20, 0, 5e6)})
	var out strings.Builder
	printTable(&out, results)
	want := tableHead +
		"| r | a | ≤ 5 ms | 4 ms | 6 ms | 3 | median |\n" +
		"| r | b |  | 20/s | 1000/s | 3 |  |\n" +
		"| r | c | 0 | 0 | 0 | 3 | yes |\n" +
		"| r | d | ≤ 2000 ms | 4 ms | never | 3 | median |\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	for want, f := range map[string]figure{"**no**": {value: 6, asked: 5}, "": {value: 6}, "yes": {value: 5, asked: 5}} {
		if got := collect("r", [][]figure{{f}})[0].reached(); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}

func TestTheRelayIsToldFromTheOthers(t *testing.T) {
	before := []status{{Relays: 1}, {CPU: 5e8}, {}, {}}
	after := []status{{CPU: 1e9, Allocs: 90}, {CPU: 1e9, Allocs: 20}, {CPU: 5e8, Allocs: 40, Relays: 1}, {CPU: 25e7, Allocs: 10}}
	var got []float64
	for _, f := range ownCosts("", before, after, 2) {
		got = append(got, f.value)
	}
	if want := []float64{50, 45, 25, 10}; !reflect.DeepEqual(got, want) {
		t.Errorf("processor and allocations of the relay, and of the others: %v, want %v", got, want)
	}
}
