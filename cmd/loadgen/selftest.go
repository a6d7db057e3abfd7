package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// The self-test asks whether the checks see what they are for: short embedded
// runs, all at once, each with one bug planted between handle and checker, which
// must be reported as what it is; and one without, which must be clean.

const (
	selftestDuration = 8 * time.Second
	calmName         = "nothing"
)

// selftest runs every plant and prints what was seen. It returns the exit code.
func selftest(ctx context.Context, seed uint64, stdout, stderr io.Writer) int {
	list := append(plants(), plant{name: calmName, sow: func(*run) {}})
	runs := make([]*run, len(list))
	errs := make([]error, len(list))
	var all sync.WaitGroup
	fmt.Fprintf(stderr, "%d runs of %v, at once\n", len(list), selftestDuration)
	for i, p := range list {
		all.Go(func() { runs[i], errs[i] = soakPlanted(ctx, seed, p) })
	}
	all.Wait()
	code := exitRight
	fmt.Fprintf(stdout, "%-26s %-24s %-7s %s\n", "planted", "must be reported as", "seen", "also reported")
	for i, p := range list {
		if errs[i] != nil {
			fmt.Fprintf(stderr, "loadgen: %s: %v\n", p.name, errs[i])
			return exitUsage
		}
		if !showPlant(stdout, p, runs[i]) {
			code = exitWrong
		}
	}
	fmt.Fprintf(stdout, "\nseed %d\n", seed)
	return code
}

// soakPlanted is one run of p.
func soakPlanted(ctx context.Context, seed uint64, p plant) (*run, error) {
	c := config{backend: "memory", duration: selftestDuration, options: 20, processes: 2, readers: 1, duty: 2, writes: 100, seed: seed}
	s := openMemory()
	r, err := newRun(ctx, c, s, func(r *run) {
		keep := []string{"source refuses", "both refuse beyond grace"}
		switch p.want {
		case tooStale, ownLost, notSpread, resurrected:
			keep = nil // these want calm
		}
		if p.want == notRestored {
			keep = []string{"begun anew in the dark"}
		}
		r.faults = slices.DeleteFunc(r.faults, func(f fault) bool { return !slices.Contains(keep, f.name) })
		p.sow(r)
	})
	if err != nil {
		return nil, err
	}
	r.do(ctx, io.Discard)
	return r, nil
}

// showPlant prints a line and reports whether p was seen; the run with nothing
// planted must be clean.
func showPlant(out io.Writer, p plant, r *run) bool {
	others := ""
	for k := range kinds {
		if n := r.found.count(k); n > 0 && (k != p.want || p.name == calmName) {
			others += fmt.Sprintf("%v (%d) ", k, n)
		}
	}
	if p.name == calmName {
		seen := "clean"
		if r.wrong() {
			seen = "NOT CLEAN"
			others += r.found.first()
		}
		fmt.Fprintf(out, "%-26s %-24s %-7s %s\n", p.name, "-", seen, others)
		return !r.wrong()
	}
	seen := "yes"
	if r.found.count(p.want) == 0 {
		seen = "NO"
	}
	fmt.Fprintf(out, "%-26s %-24v %-7s %s\n", p.name, p.want, seen, others)
	return seen == "yes"
}
