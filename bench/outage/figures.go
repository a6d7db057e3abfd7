package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/fastopt"
)

// What a window with a fault is summed up to, with what the issue asks.

// reads gives the figures of each slice: a run of its own, since what is asked
// is asked of their median.
func (p passage) reads() [][]measured.Figure {
	var runs [][]measured.Figure
	for i := range p.seen[0].Slices {
		gets, bare := histogram{}, histogram{}
		clock, waited, mirror := int64(math.MaxInt64), 0, 0
		for _, o := range p.seen {
			s := o.Slices[i]
			gets.add(s.Gets)
			bare.add(s.Bare)
			clock = min(clock, s.Clock)
			waited, mirror = waited+s.Waited, mirror+s.Mirror
		}
		ratio := func(q float64) float64 {
			return float64(gets.quantile(q)-clock) / float64(max(bare.quantile(q)-clock, 1))
		}
		runs = append(runs, []measured.Figure{
			{Name: "`Get` / bare load, batches of 1,000: p50", Value: ratio(0.5), Asked: 1.1},
			{Name: "`Get` / bare load: p99.99", Value: ratio(0.9999), Asked: 1.5},
			{Name: "batches of `Get` > 10 ms over the longest bare one", Value: float64(waited), Exact: true},
			{Name: "… and of bare loads over the longest of `Get`", Value: float64(mirror)},
			{Name: "a bare load, p50", Unit: "ns", Value: float64(bare.quantile(0.5)-clock) / batch},
		})
	}
	return runs
}

// figures gives the rest of a window with the fault f; before is the same without.
func (p passage) figures(w *world, f fault, before passage) []measured.Figure {
	all := p.loads()
	if f.redis {
		all = append(all, requests("Redis", p.redis, before.redis))
	}
	if f.postgres {
		all = append(all, requests("Postgres", p.pg, before.pg))
	}
	if p.lived {
		all = append(all, p.postgres(w)...)
	}
	return append(all, p.writes()...)
}

// loads gives what a Load of a cold key took.
func (p passage) loads() []measured.Figure {
	var took, less []float64
	lag := int64(0)
	for _, o := range p.seen {
		lag = max(lag, o.Lag)
		for _, l := range o.Loads {
			took, less = append(took, ms(l.Took)), append(less, ms(l.Took-l.Lag))
		}
	}
	return []measured.Figure{
		{Name: "`Load` of a cold key, p50", Unit: "ms", Value: measured.Percentile(took, 0.5)},
		{Name: "`Load` of a cold key, max", Unit: "ms", Value: measured.Percentile(took, 1)},
		{Name: "… less the lag of its process' timer meanwhile", Unit: "ms", Value: measured.Percentile(less, 1), Asked: 300},
		{Name: "lag of a timer, max", Unit: "ms", Value: ms(lag)},
	}
}

func requests(tier string, now, healthy float64) measured.Figure {
	return measured.Figure{
		Name:  fmt.Sprintf("requests to %s: %.1f/s, healthy %.1f/s: ×", tier, now, healthy),
		Value: now / healthy, Asked: 1.5,
	}
}

// The library's budgets of one process.
var (
	optionBudget = fastopt.Budget{Rate: 5, Burst: 20}
	familyBudget = fastopt.Budget{Rate: 20, Burst: 40}
)

// bucket is how many requests a fleet may send in so many seconds.
func (w *world) bucket(seconds float64) float64 {
	of := func(b fastopt.Budget) float64 { return float64(b.Burst) + b.Rate*seconds }
	return float64(w.lab.processes) * (of(optionBudget) + of(familyBudget))
}

const sessionsName = "… of those that read options"

// postgres gives what was asked of a Postgres that lived.
func (p passage) postgres(w *world) []measured.Figure {
	return []measured.Figure{
		{Name: "reads of options that Postgres was sent", Value: float64(p.asked.queries), Asked: w.bucket(p.seconds)},
		{Name: "names per such read", Value: float64(p.asked.names) / math.Max(1, float64(p.asked.queries))},
		{Name: "sessions of a process at Postgres, max", Value: float64(p.sessions[0])},
		{Name: sessionsName, Value: float64(p.sessions[1])},
	}
}

// sets returns all that were made in the window.
func (p passage) sets() []set { return slices.Concat(p.seen[0].Sets, p.struck) }

// writes gives how long Sets took, and how they ended.
func (p passage) writes() []measured.Figure {
	most := int64(0)
	n := map[class]int{}
	for _, s := range p.sets() {
		n[s.Class]++
		most = max(most, s.Took)
	}
	all := []measured.Figure{{Name: "`Set`, slowest", Unit: "ms", Value: ms(most), Asked: 1000}}
	for _, c := range []class{acked, unavailable, unknown} {
		all = append(all, measured.Figure{Name: fmt.Sprintf("`Set`s: %s", c), Value: float64(n[c])})
	}
	return append(all, measured.Figure{Name: fmt.Sprintf("`Set`s: %s", other), Value: float64(n[other]), Exact: true})
}
