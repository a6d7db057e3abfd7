package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Results are the files that were kept, oldest first. A table is drawn from the
// newest file that has rows of it, so that a run of a few benchmarks replaces
// their rows and no others.

type result struct {
	*samples
	name string // of the file
}

// readResults reads the files of a folder that hold benchmarks and say when they
// were made; what else is kept there is written for readers.
func readResults(dir string) ([]result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var results []result
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		r := result{name: filepath.Base(file)}
		r.samples, err = readSamples(f, r.name)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if len(r.names) > 0 && r.config["date"] != "" {
			results = append(results, r)
		}
	}
	slices.SortStableFunc(results, func(a, b result) int {
		return strings.Compare(a.config["date"]+" "+a.name, b.config["date"]+" "+b.name)
	})
	return results, nil
}

// newestWith returns the newest result that has a row that is picked, and those rows.
func newestWith(results []result, picked func(name string) bool) (result, []string, error) {
	for _, r := range slices.Backward(results) {
		if names := slices.DeleteFunc(slices.Clone(r.names), func(n string) bool { return !picked(n) }); len(names) > 0 {
			return r, names, nil
		}
	}
	return result{}, nil, errNotMeasured
}

var errNotMeasured = fmt.Errorf("no result file holds it")
