package main

import (
	"reflect"
	"testing"
)

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

func TestTheRelayIsToldFromTheOthers(t *testing.T) {
	before := []status{{Relays: 1}, {CPU: 5e8}, {}, {}}
	after := []status{{CPU: 1e9, Allocs: 90}, {CPU: 1e9, Allocs: 20}, {CPU: 5e8, Allocs: 40, Relays: 1}, {CPU: 25e7, Allocs: 10}}
	var got []float64
	for _, f := range ownCosts("", before, after, 2) {
		got = append(got, f.Value)
	}
	if want := []float64{50, 45, 25, 10}; !reflect.DeepEqual(got, want) {
		t.Errorf("processor and allocations of the relay, and of the others: %v, want %v", got, want)
	}
}
