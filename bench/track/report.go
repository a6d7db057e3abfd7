package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Reporting: BENCHMARKS.md and its plots, drawn from the result files. What stands
// between marks is generated, all else is written by hand; the same files give the
// same bytes.

// benchFolder is where the commands of this module run, and go tool finds it.
const benchFolder = "."

func reportCommand(_ context.Context, root string, args []string) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	results := flags.String("results", filepath.Join(root, "bench", "results"), "`folder` of result files")
	page := flags.String("page", filepath.Join(root, "BENCHMARKS.md"), "`file` with the marks")
	if err := flags.Parse(args); err != nil {
		return err
	}
	files, err := readResults(*results)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	text, err := os.ReadFile(*page)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	filled, missing, err := fill(string(text), files)
	if err != nil {
		return fmt.Errorf("report: %s: %w", *page, err)
	}
	for _, what := range missing {
		fmt.Fprintln(os.Stderr, what)
	}
	if err := os.WriteFile(*page, []byte(filled), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return writePlots(filepath.Join(*results, "plots"), files)
}

// writePlots draws what there is data for; a plot without stays as it was.
func writePlots(dir string, files []result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for _, c := range charts {
		svg, err := c.draw(files)
		if errors.Is(err, errNotMeasured) {
			fmt.Fprintf(os.Stderr, "plot %s: %v\n", c.name, err)
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, c.name+".svg"), svg, 0o644)
		}
		if err != nil {
			return fmt.Errorf("report: plot %s: %w", c.name, err)
		}
	}
	return nil
}

var mark = regexp.MustCompile(`(?s)<!-- bench:([\w-]+) begin -->\n(.*?)<!-- bench:([\w-]+) end -->`)

const environment = "environment"

// fill replaces what stands between marks. A table that was never measured keeps
// what it has, and is told of.
func fill(page string, files []result) (filled string, missing []string, err error) {
	used := map[string]bool{} // files that tables are drawn from
	generated := map[string]string{}
	for _, t := range tables {
		text, from, err := t.markdown(files)
		if err != nil {
			missing = append(missing, fmt.Sprintf("table %s: %v", t.name, err))
			continue
		}
		generated[t.name] = text
		used[from] = used[from] || strings.Contains(page, "<!-- bench:"+t.name+" begin")
	}
	for _, c := range charts {
		if g, err := c.grid(files); err == nil {
			generated["plot-"+c.name] = fmt.Sprintf("![%s](bench/results/plots/%s.svg)\n", c.title, c.name)
			used[g.from.name] = used[g.from.name] || strings.Contains(page, "<!-- bench:plot-"+c.name+" begin")
		}
	}
	generated[environment] = environmentOf(files, used)
	filled = mark.ReplaceAllStringFunc(page, func(whole string) string {
		m := mark.FindStringSubmatch(whole)
		text, ok := generated[m[1]]
		switch {
		case m[1] != m[3]:
			err = errors.Join(err, fmt.Errorf("mark %s is closed by %s", m[1], m[3]))
		case ok:
			return fmt.Sprintf("<!-- bench:%s begin -->\n%s<!-- bench:%s end -->", m[1], text, m[1])
		case !slices.ContainsFunc(tables, func(t table) bool { return t.name == m[1] }) &&
			!slices.ContainsFunc(charts, func(c chart) bool { return "plot-"+c.name == m[1] }):
			err = errors.Join(err, fmt.Errorf("no table or plot is called %s", m[1]))
		}
		return whole
	})
	if begun := strings.Count(page, "<!-- bench:"); begun != 2*len(mark.FindAllString(page, -1)) {
		err = errors.Join(err, errors.New("a mark is not closed"))
	}
	return filled, missing, err
}

// environmentOf is a table of the configuration of each file that is used.
func environmentOf(files []result, used map[string]bool) string {
	var b strings.Builder
	files = slices.DeleteFunc(slices.Clone(files), func(r result) bool { return !used[r.name] })
	b.WriteString("| |")
	for _, r := range files {
		fmt.Fprintf(&b, " `%s` |", r.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(files)) + "\n")
	keys := map[string]bool{}
	for _, r := range files {
		for k := range r.config {
			keys[k] = k != "pkg"
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !keys[k] {
			continue
		}
		fmt.Fprintf(&b, "| %s |", k)
		for _, r := range files {
			fmt.Fprintf(&b, " %s |", strings.ReplaceAll(r.config[k], "|", `\|`))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// A grid is the content of a table: medians by line and column.
type grid struct {
	from  result
	lines []string
	heads []string
	cells map[string]map[string][]float64 // by line and head
}

// grid collects the rows of a table from the newest file that has any.
func (t table) grid(files []result) (grid, error) {
	r, names, err := newestWith(files, t.picks)
	if err != nil {
		return grid{}, err
	}
	g := grid{from: r, cells: map[string]map[string][]float64{}}
	row, col := t.rows.SubexpIndex("row"), t.rows.SubexpIndex("col")
	for _, c := range t.columns {
		for _, name := range names {
			m := t.rows.FindStringSubmatch(name)
			head := c.head
			if col >= 0 {
				head = m[col]
			}
			g.put(m[row], head, r.rows[name][c.unit])
		}
	}
	if t.columns == nil {
		for _, key := range names {
			name, unit, _ := strings.Cut(key, " ")
			m := t.rows.FindStringSubmatch(key)
			g.put(m[row], m[col], r.rows[name][unit])
		}
	}
	if len(g.lines) == 0 {
		return grid{}, errNotMeasured
	}
	return g, nil
}

func (g *grid) put(line, head string, values []float64) {
	if len(values) == 0 {
		return
	}
	if g.cells[line] == nil {
		g.lines, g.cells[line] = append(g.lines, line), map[string][]float64{}
	}
	if g.cells[line][head] = append(g.cells[line][head], values...); !slices.Contains(g.heads, head) {
		g.heads = append(g.heads, head)
	}
}

// picks reports whether a table shows a row, or a row's unit.
func (t table) picks(name string) bool {
	return t.rows.MatchString(name) && (t.but == nil || !t.but.MatchString(name))
}

// markdown returns the table, and the file that it is drawn from.
func (t table) markdown(files []result) (text, from string, err error) {
	g, err := t.grid(files)
	if err != nil {
		return "", "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |\n|---|%s\n", t.first, strings.Join(g.heads, " | "), strings.Repeat("---|", len(g.heads)))
	for _, line := range g.lines {
		fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(line, "/", ", "))
		for _, head := range g.heads {
			fmt.Fprintf(&b, " %s |", cell(head, g.cells[line][head]))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n`bench/results/%s`\n", g.from.name)
	return b.String(), g.from.name, nil
}

// cell is the median; of a ratio that was measured more than once, in brackets,
// the least and the greatest.
func cell(head string, values []float64) string {
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 1 && strings.Contains(head, "×"):
		return fmt.Sprintf("%.2f (%.2f–%.2f)", median(values), slices.Min(values), slices.Max(values))
	}
	return short(median(values))
}
