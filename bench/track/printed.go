package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// What a comparison prints below benchstat's table: one plain word per row.

// judgeAll returns the verdicts on all rows that both have: on time always, on
// the rest if it changed.
func judgeAll(base, head *samples) (verdicts []verdict) {
	for _, name := range base.names {
		for _, unit := range slices.Sorted(maps.Keys(judged)) {
			b, h := base.rows[name][unit], head.rows[name][unit]
			if n := min(len(b), len(h)); n >= minRounds {
				if v := judge(name, unit, b[:n], h[:n]); unit == "ns/op" || v.word != unchanged {
					verdicts = append(verdicts, v)
				}
			}
		}
	}
	return verdicts
}

func printVerdicts(out io.Writer, verdicts []verdict, base, head *samples, rounds int) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tunit\tbase\thead\thead/base\t\tverdict")
	for _, v := range verdicts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.2f\t(%.2f–%.2f)\t%s\n", v.row, v.unit, short(v.base), short(v.head), v.ratio, v.low, v.high, v.word)
	}
	w.Flush()
	only(out, base, head, "only in the base")
	only(out, head, base, "new, not in the base")
	fmt.Fprintf(out, "\n%s\n", explain(rounds))
}

// only lists the rows that the other does not have.
func only(out io.Writer, s, other *samples, what string) {
	for _, name := range s.names {
		if other.rows[name] == nil {
			fmt.Fprintf(out, "%s: %s\n", name, what)
		}
	}
}

// short gives three digits, or all before the point.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
