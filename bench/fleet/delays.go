package main

import (
	"cmp"
	"slices"
)

// How long writes took to whoever watched.

// Delays say how long after its acknowledgement a watcher had a write's value
// or a newer one: 0 if before.
type delays struct {
	each     []float64 // ms, of each write and watcher
	last     []float64 // ms, of each write, to the last watcher
	begun    []float64 // ms from the beginning of the write, of each write and watcher
	lost     int       // pairs of a write and a watcher who never had it, nor anything newer
	uncached int       // writes that Redis did not take in time
}

// delaysOf compares writes with what managers of one worker after the other saw.
func delaysOf(writes []write, workers [][]arrival, managers int) delays {
	var d delays
	last := make([]float64, len(writes))
	for _, arrivals := range workers {
		for manager := range managers {
			seen := byOption(arrivals, manager)
			for i, w := range writes {
				of := seen[w.Option]
				j, _ := slices.BinarySearchFunc(of, w.Value, func(a arrival, v int64) int { return cmp.Compare(a.Value, v) })
				if j == len(of) {
					d.lost++
					continue
				}
				after := max(0, float64(of[j].At-w.Acked)/1e6)
				d.each = append(d.each, after)
				d.begun = append(d.begun, float64(of[j].At-w.Begun)/1e6)
				last[i] = max(last[i], after)
			}
		}
	}
	d.last = last
	for _, w := range writes {
		if w.Uncached {
			d.uncached++
		}
	}
	return d
}

// byOption sorts what one manager saw by option and value; values of an option
// only grow.
func byOption(arrivals []arrival, manager int) map[int][]arrival {
	seen := map[int][]arrival{}
	for _, a := range arrivals {
		if a.Manager == manager {
			seen[a.Option] = append(seen[a.Option], a)
		}
	}
	for _, of := range seen {
		slices.SortFunc(of, func(a, b arrival) int { return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(a.At, b.At)) })
	}
	return seen
}
