package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Results are the files that were kept, oldest first. A table is drawn from the
// newest file that has rows of it, and from no other: a run of a few benchmarks
// replaces the tables that they are in, rows that it did not run included.

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

// newestWith returns the newest result that has a row that is picked, and those
// rows: names, or names and units.
func newestWith(results []result, picked func(key string) bool) (result, []string, error) {
	for _, r := range slices.Backward(results) {
		var keys []string
		for _, name := range r.names {
			keys = append(keys, name)
			for _, unit := range slices.Sorted(maps.Keys(r.rows[name])) {
				keys = append(keys, name+" "+unit)
			}
		}
		if keys = slices.DeleteFunc(keys, func(k string) bool { return !picked(k) }); len(keys) > 0 {
			return r, keys, nil
		}
	}
	return result{}, nil, errNotMeasured
}

var errNotMeasured = errors.New("no result file holds it")
