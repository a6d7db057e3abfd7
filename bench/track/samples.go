package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// Samples: what benchmarks printed, by name and unit, and where it was measured.

// Samples holds the results of one or more runs.
type samples struct {
	config map[string]string // configuration lines, as at the end of the input
	names  []string          // of rows, without "Benchmark", in the order first seen
	rows   map[string]row
}

// A row is one benchmark: all its values, by unit, in the order of the runs.
type row map[string][]float64

func newSamples() *samples {
	return &samples{config: map[string]string{}, rows: map[string]row{}}
}

// read adds what in holds. Lines that are not of Go's benchmark format are of no
// concern: go test prints others, too.
func (s *samples) read(in io.Reader, file string) error {
	r := benchfmt.NewReader(in, file)
	for r.Scan() {
		result, ok := r.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		for _, c := range result.Config {
			s.config[c.Key] = string(c.Value)
		}
		name := withoutProcessors(string(result.Name))
		if s.rows[name] == nil {
			s.names, s.rows[name] = append(s.names, name), row{}
		}
		for _, v := range result.Values {
			unit, value := v.Unit, v.Value
			if v.OrigUnit != "" {
				unit, value = v.OrigUnit, v.OrigValue
			}
			s.rows[name][unit] = append(s.rows[name][unit], value)
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// withoutProcessors drops from a name the -2 that says how many processors were
// used, and keeps it of a benchmark that compares numbers of processors: there it
// is written cpu=2 in the name itself.
func withoutProcessors(name string) string {
	at := strings.LastIndexByte(name, '-')
	if at < 0 || at == len(name)-1 || strings.Trim(name[at+1:], "0123456789") != "" {
		return name
	}
	return name[:at]
}

// median of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
}
