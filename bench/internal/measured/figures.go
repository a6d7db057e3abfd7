// Package measured turns what was measured into figures and a table of them,
// with what was asked beside, and says where it was.
package measured

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// A Figure is one number of one run of a row. Over several runs its median and
// its worst are reported.
type Figure struct {
	Name  string
	Unit  string
	Value float64 // +Inf: it did not happen within the time given
	Asked float64 // at most; 0: nothing is asked, or with exact the number itself
	Exact bool    // asked may be 0
}

// Since is a figure in ms from one instant to another; never if at is 0.
func Since(name string, from, at int64, asked time.Duration) Figure {
	f := Figure{Name: name, Unit: "ms", Value: math.Inf(1), Asked: float64(asked) / 1e6}
	if at != 0 {
		f.Value = max(0, float64(at-from)/1e6)
	}
	return f
}

// A Result is a figure over all runs of its row.
type Result struct {
	row    string
	Figure // of the first run
	runs   []float64
}

// Collect merges the figures of the runs of one row, in the order of the first.
func Collect(row string, runs [][]Figure) (all []Result) {
	at := map[string]int{}
	for _, run := range runs {
		for _, f := range run {
			i, ok := at[f.Name]
			if !ok {
				i = len(all)
				at[f.Name] = i
				all = append(all, Result{row: row, Figure: f})
			}
			all[i].runs = append(all[i].runs, f.Value)
		}
	}
	return all
}

func (r Result) worst() float64 { return Percentile(r.runs, 1) }

// reached says whether the median, or else the worst, is what was asked.
func (r Result) reached() string {
	if r.Asked == 0 && !r.Exact {
		return ""
	}
	switch {
	case r.worst() <= r.Asked:
		return "yes"
	case Median(r.runs) <= r.Asked:
		return "median"
	}
	return "**no**"
}

func (r Result) wanted() string {
	switch {
	case r.Asked != 0:
		return "≤ " + WithUnit(r.Asked, r.Unit)
	case r.Exact:
		return "0"
	}
	return ""
}

// WithUnit tells a value for people.
func WithUnit(v float64, unit string) string {
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

// Head opens a table.
const Head = "| row | what | asked | seen, median | worst | runs | reached |\n|---|---|---|---|---|---|---|\n"

func (r Result) line() string {
	return "| " + strings.Join([]string{r.row, r.Name, r.wanted(), WithUnit(Median(r.runs), r.Unit),
		WithUnit(r.worst(), r.Unit), fmt.Sprint(len(r.runs)), r.reached()}, " | ") + " |\n"
}

// Print writes the table.
func Print(out io.Writer, all []Result) {
	fmt.Fprint(out, Head)
	for _, r := range all {
		fmt.Fprint(out, r.line())
	}
}

// String tells a result while others are still being measured.
func (r Result) String() string {
	mark := ""
	if r.reached() == "**no**" {
		mark = ", asked " + r.wanted()
	}
	return fmt.Sprintf("%-64s %s, worst %s%s", r.Name, WithUnit(Median(r.runs), r.Unit), WithUnit(r.worst(), r.Unit), mark)
}

// PrintRuns writes what each run of each figure gave, for the record.
func PrintRuns(out io.Writer, all []Result) {
	for _, r := range all {
		if len(r.runs) < 2 {
			continue
		}
		fmt.Fprintf(out, "%s: %s:", r.row, r.Name)
		for _, v := range r.runs {
			fmt.Fprintf(out, " %s", short(v))
		}
		fmt.Fprintln(out)
	}
}
