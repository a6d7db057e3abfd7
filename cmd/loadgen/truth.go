package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What the stores hold at the end: readers may never have asked for it. The
// source has what it acknowledged last, and neither has what was refused (I14).

func (r *run) judgeTruth() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for keys := range slices.Chunk(r.oracle.keys, tiers.MaxBatch) {
		names := make([]string, len(keys))
		for i, k := range keys {
			names[i] = k.name
		}
		for i, res := range r.stores.truth().Load(ctx, namespace, names) {
			if bad := keys[i].judgeRow(res); bad != "" {
				r.violate(lostWrite, -1, keys[i], bad)
			}
			r.judgeTrace(keys[i], "source", res)
		}
		for i, res := range r.stores.shared().Load(ctx, namespace, names) {
			r.judgeTrace(keys[i], "cache", res)
		}
	}
}

// judgeRow says what is wrong with what the source holds of k, if its last
// write that may have been applied was acknowledged.
func (k *key) judgeRow(res tiers.Result) string {
	last := k.last(func(w *write) bool { return w.outcome != refused })
	switch {
	case last.number == 0 || last.outcome != acked:
		return ""
	case res.Err != nil:
		return fmt.Sprintf("the source does not answer for write %d: %v", last.number, res.Err)
	case last.deleted:
		if res.Kind != tiers.Absent {
			return fmt.Sprintf("the source still holds a value, deleted by write %d", last.number)
		}
		return ""
	}
	var held string
	if err := json.Unmarshal(res.Data, &held); err != nil || held != last.value {
		return fmt.Sprintf("the source does not hold write %d", last.number)
	}
	return ""
}

// judgeTrace reports a store that holds what was refused, or never written.
func (r *run) judgeTrace(k *key, store string, res tiers.Result) {
	if res.Err != nil || res.Kind != tiers.Value {
		return
	}
	var held string
	err := json.Unmarshal(res.Data, &held)
	n, f := openValue(held, k.hash)
	if err != nil || f != whole {
		r.violate(tornValue, -1, k, fmt.Sprintf("the %s holds %q", store, res.Data))
		return
	}
	switch w, ok := k.read(n); {
	case !ok:
		r.violate(invented, -1, k, fmt.Sprintf("the %s holds write %d, which was never issued", store, n))
	case w.outcome == refused:
		r.violate(failedWrite, -1, k, fmt.Sprintf("the %s holds write %d, which was refused", store, n))
	}
}
