// Medians reads the output of go test -bench from standard input and prints a
// table in Markdown: per benchmark and unit the median of all runs, with the
// least and the greatest beside it.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "medians:", err)
		os.Exit(1)
	}
}

var processors = regexp.MustCompile(`-\d+$`)

// run prints the table of what in holds. It fails if in holds no benchmark.
func run(in io.Reader, out io.Writer) error {
	var order []string // of benchmarks and units, as first seen
	values := map[string][]float64{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(processors.ReplaceAllString(words[0], ""), "Benchmark")
		for i := 2; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			row := "| " + name + " | " + words[i+1]
			if values[row] == nil {
				order = append(order, row)
			}
			values[row] = append(values[row], v)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(order) == 0 {
		return fmt.Errorf("no benchmark in the input")
	}
	fmt.Fprint(out, "| benchmark | unit | median | least | greatest | runs |\n|---|---|---|---|---|---|\n")
	for _, row := range order {
		v := slices.Sorted(slices.Values(values[row]))
		fmt.Fprintf(out, "%s | %s | %s | %s | %d |\n", row, short((v[len(v)/2]+v[(len(v)-1)/2])/2), short(v[0]), short(v[len(v)-1]), len(v))
	}
	return nil
}

// short gives three digits, or all before the point.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
