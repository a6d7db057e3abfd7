package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
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

// readSamples reads what in holds. Lines that are not of Go's benchmark format are
// of no concern: go test prints others, too.
func readSamples(in io.Reader, file string) (*samples, error) {
	s := &samples{config: map[string]string{}, rows: map[string]row{}}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	// Results take on the configuration above them; what stands below all, as how
	// long it took, is of the file, too.
	for _, m := range configuration.FindAllStringSubmatch(string(text[bytes.LastIndex(text, []byte("\nBenchmark"))+1:]), -1) {
		s.config[m[1]] = m[2]
	}
	r := benchfmt.NewReader(bytes.NewReader(text), file)
	for r.Scan() {
		result, ok := r.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		for _, c := range result.Config {
			s.config[c.Key] = string(c.Value)
		}
		name := string(result.Name)
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
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	s.dropProcessors()
	return s, nil
}

// dropProcessors takes from names the -2 that says how many processors were used,
// if all have the same. On one processor there is none, and
// what looks like it is part of a name.
func (s *samples) dropProcessors() {
	suffix := ""
	for i, name := range s.names {
		own := processors.FindString(name)
		if own == "" || i > 0 && own != suffix {
			return
		}
		suffix = own
	}
	for i, name := range s.names {
		short := strings.TrimSuffix(name, suffix)
		s.names[i], s.rows[short] = short, s.rows[name]
		if suffix != "" {
			delete(s.rows, name)
		}
	}
}

var configuration = regexp.MustCompile(`(?m)^([a-z][a-z-]*): (.*)$`)

var processors = regexp.MustCompile(`-\d+$`)

// median of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
}
