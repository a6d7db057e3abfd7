package main

import (
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

func TestStoresHoldNothingThatWasRefused(t *testing.T) {
	k := history("sS")
	r := &run{weather: newTestWeather()}
	held := func(n uint32) tiers.Result {
		w, _ := k.read(n)
		return tiers.Result{Record: tiers.Record{Kind: tiers.Value, Data: []byte(`"` + w.value + `"`)}}
	}
	r.judgeTrace(k, "cache", held(1))
	r.judgeTrace(k, "cache", tiers.Result{Err: tiers.ErrMiss})
	r.judgeTrace(k, "cache", tiers.Result{Record: tiers.Record{Kind: tiers.Absent}})
	if r.wrong() {
		t.Fatal(r.found.first())
	}
	r.judgeTrace(k, "cache", held(2))
	r.judgeTrace(k, "source", tiers.Result{Record: tiers.Record{Kind: tiers.Value, Data: []byte(`"x"`)}})
	r.judgeTrace(k, "source", tiers.Result{Record: tiers.Record{Kind: tiers.Value, Data: []byte(`"` + newValue(k.hash, 9, 0, 0) + `"`)}})
	for _, want := range []kind{failedWrite, tornValue, invented} {
		if r.found.count(want) != 1 {
			t.Errorf("%v: %d reports", want, r.found.count(want))
		}
	}
}
