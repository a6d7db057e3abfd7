package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// A figure is one number of one run of a row. Over several runs its median and
// its worst are reported.
type figure struct {
	name  string
	unit  string
	value float64 // +Inf: it did not happen within the time given
	asked float64 // at most; 0: nothing is asked, or with exact the number itself
	exact bool    // asked may be 0
}

// since is a figure in ms from one instant to another; never if at is 0.
func since(name string, from, at int64, asked time.Duration) figure {
	f := figure{name: name, unit: "ms", value: math.Inf(1), asked: float64(asked) / 1e6}
	if at != 0 {
		f.value = max(0, float64(at-from)/1e6)
	}
	return f
}

// A result is a figure over all runs of its row.
type result struct {
	row    string
	figure // of the first run
	runs   []float64
}

// collect merges the figures of the runs of one row, in the order of the first.
func collect(row string, runs [][]figure) (all []result) {
	at := map[string]int{}
	for _, run := range runs {
		for _, f := range run {
			i, ok := at[f.name]
			if !ok {
				i = len(all)
				at[f.name] = i
				all = append(all, result{row: row, figure: f})
			}
			all[i].runs = append(all[i].runs, f.value)
		}
	}
	return all
}

func (r result) worst() float64 { return percentile(r.runs, 1) }

// reached says whether the median, or else the worst, is what was asked.
func (r result) reached() string {
	if r.asked == 0 && !r.exact {
		return ""
	}
	switch {
	case r.worst() <= r.asked:
		return "yes"
	case median(r.runs) <= r.asked:
		return "median"
	}
	return "**no**"
}

func (r result) wanted() string {
	switch {
	case r.asked != 0:
		return "≤ " + withUnit(r.asked, r.unit)
	case r.exact:
		return "0"
	}
	return ""
}

func withUnit(v float64, unit string) string {
	text := short(v)
	switch {
	case unit == "" || math.IsInf(v, 0) || math.IsNaN(v):
		return text
	case unit == "/s" || unit == "%":
		return text + unit
	}
	return text + " " + unit
}

// short gives three digits, or all before the point.
func short(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "never"
	case math.IsNaN(v):
		return "-"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

const tableHead = "| row | what | asked | seen, median | worst | runs | reached |\n|---|---|---|---|---|---|---|\n"

func (r result) line() string {
	return "| " + strings.Join([]string{r.row, r.name, r.wanted(), withUnit(median(r.runs), r.unit),
		withUnit(r.worst(), r.unit), fmt.Sprint(len(r.runs)), r.reached()}, " | ") + " |\n"
}

func printTable(out io.Writer, all []result) {
	fmt.Fprint(out, tableHead)
	for _, r := range all {
		fmt.Fprint(out, r.line())
	}
}
