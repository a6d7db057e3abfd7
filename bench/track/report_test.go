package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Generated text is compared with files in testdata, which -update writes anew.

var update = flag.Bool("update", false, "write what is generated into testdata")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs from what is generated (go test ./track -update):\n%s", file, got)
	}
}

func testResults(t *testing.T) []result {
	t.Helper()
	files, err := readResults("testdata")
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

func TestMarksAreFilledFromResults(t *testing.T) {
	page, err := os.ReadFile("testdata/page.md")
	if err != nil {
		t.Fatal(err)
	}
	filled, missing, err := fill(string(page), testResults(t))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "page.golden.md", filled)
	if !strings.Contains(strings.Join(missing, "\n"), "table hit-ratio: no result file holds it") {
		t.Errorf("what was never measured is not told of: %q", missing)
	}
	if again, _, err := fill(filled, testResults(t)); err != nil || again != filled {
		t.Errorf("filled twice, it is another page (%v):\n%s", err, again)
	}
}

func TestTheNewestFileWithARowCounts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.txt", "date: 2026-01-01\nBenchmarkInspect 1 3 ns/op\nBenchmarkOptionGet/bool 1 3 ns/op\n")
	write(t, dir, "c.txt", "date: 2026-01-02T00:00:00Z\nBenchmarkInspect 1 4 ns/op\n")
	write(t, dir, "a.txt", "date: 2026-01-03T00:00:00Z\nBenchmarkInspect 1 5 ns/op\n")
	write(t, dir, "note.txt", "BenchmarkInspect 1 6 ns/op\n") // of nobody knows when
	files, err := readResults(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	page := "<!-- bench:by-name begin -->\n<!-- bench:by-name end --><!-- bench:option-get begin -->\n<!-- bench:option-get end --><!-- bench:environment begin -->\n<!-- bench:environment end -->"
	filled, _, err := fill(page, files)
	if err != nil || !strings.Contains(filled, "| Inspect | 5 |") || !strings.Contains(filled, "| bool | 3 |") || !strings.Contains(filled, "| | `b.txt` | `a.txt` |") {
		t.Errorf("%v:\n%s", err, filled)
	}
}

func TestWrongMarksAreErrors(t *testing.T) {
	for name, page := range map[string]string{
		"unknown":     "<!-- bench:nosuch begin -->\n<!-- bench:nosuch end -->",
		"closed by":   "<!-- bench:peers begin -->\n<!-- bench:memory end -->",
		"not closed":  "<!-- bench:peers begin -->\n",
		"only an end": "<!-- bench:peers end -->\n",
	} {
		if _, _, err := fill(page, testResults(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPlotsAreTheSameForTheSameResults(t *testing.T) {
	for _, c := range charts {
		svg, err := c.draw(testResults(t))
		if errors.Is(err, errNotMeasured) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		golden(t, c.name+".golden.svg", string(svg))
		for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s is not XML: %v", c.name, err)
			}
		}
		if !strings.Contains(string(svg), "prefers-color-scheme:dark") {
			t.Errorf("%s cannot be read on a dark page", c.name)
		}
	}
}

// What is drawn as the library's is nobody else's.
func TestPlotOfReadsIsOfTheLibrary(t *testing.T) {
	for _, c := range charts {
		if c.name == "reads" && (!c.picks("ByName/zipf/Manager.Get") || c.picks("ByName/zipf/plain-map")) {
			t.Error("of the reads by name, the plot must have Manager.Get and not the map that it is compared with")
		}
	}
}

// The page of this repository says what its results say.
func TestPageIsUpToDate(t *testing.T) {
	const page, results = "../../BENCHMARKS.md", "../results"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	files, err := readResults(results)
	if err != nil {
		t.Fatal(err)
	}
	filled, _, err := fill(string(text), files)
	if err != nil {
		t.Fatal(err)
	}
	if filled != string(text) {
		t.Error("BENCHMARKS.md does not say what bench/results holds: make bench-report")
	}
	for _, c := range charts {
		svg, err := c.draw(files)
		if errors.Is(err, errNotMeasured) {
			continue
		}
		kept, readErr := os.ReadFile(filepath.Join(results, "plots", c.name+".svg"))
		if err != nil || readErr != nil || string(kept) != string(svg) {
			t.Errorf("plot %s does not show what bench/results holds: make bench-report (%v, %v)", c.name, err, readErr)
		}
	}
}

func TestNumberOfProcessorsIsNoPartOfAName(t *testing.T) {
	for text, want := range map[string]string{
		"BenchmarkA/chain-512-2 1 1 ns/op\nBenchmarkB-2 1 1 ns/op\n": "A/chain-512 B",
		"BenchmarkA/chain-512 1 1 ns/op\nBenchmarkB 1 1 ns/op\n":     "A/chain-512 B",
		"BenchmarkA 1 1 ns/op\nBenchmarkA-2 1 1 ns/op\n":             "A A-2",
	} {
		s, err := readSamples(strings.NewReader(text), "text")
		if err != nil || strings.Join(s.names, " ") != want || len(s.rows) != 2 {
			t.Errorf("%q is read as %q, %v", text, s.names, err)
		}
	}
}
