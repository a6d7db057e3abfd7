package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Recording: all suites, one after the other, into one file that benchstat and
// report read. It appears under its name when it is complete.

// A suite is a package with benchmarks, or those of them that need to be run in
// another way. Those that time rivals in turns report medians over many passes, so
// that to run them often takes long and tells little.
type suite struct {
	module    string // folder, from the top of the repository
	pkg       string
	skip      string // regexp of benchmarks that another suite has
	count     int    // runs; 0: as asked for
	benchtime string // "": as asked for
}

var suites = []suite{
	{module: ".", pkg: "./fastopt"},
	{module: "bench", pkg: ".", skip: `^Benchmark(Tail|HitRatio)$`, count: 3},
	// Hits of the same sequences are counted: there are as many in each run.
	{module: "bench", pkg: ".", skip: `^Benchmark([^H]|H[^i])`, count: 1, benchtime: "1x"},
	// A p99.99 takes this many batches.
	{module: "bench", pkg: ".", skip: `^Benchmark([^T]|T[^a])`, count: 1, benchtime: "20000x"},
	{module: "bench", pkg: "./peers", count: 1, benchtime: "100ms"},
}

type recording struct {
	root      string
	out       string // folder
	bench     string
	benchtime string
	count     int
	suites    []suite
	progress  io.Writer
}

func recordCommand(ctx context.Context, root string, args []string) error {
	r := recording{root: root, progress: os.Stderr}
	for _, s := range suites {
		if _, err := os.Stat(filepath.Join(root, s.module, s.pkg)); err == nil {
			r.suites = append(r.suites, s)
		}
	}
	flags := flag.NewFlagSet("record", flag.ContinueOnError)
	flags.StringVar(&r.out, "out", filepath.Join(root, "bench", "results"), "`folder` of the result file")
	flags.StringVar(&r.bench, "bench", ".", "`regexp` of benchmarks, as go test -bench takes it")
	flags.StringVar(&r.benchtime, "benchtime", "500ms", "`time` of one run of one row")
	flags.IntVar(&r.count, "count", 7, "runs of each row of fastopt's own benchmarks; those beside peers take turns inside, and are run 1 or 3 times")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || r.count < 1 {
		return errors.New("record: takes flags only; -count is at least 1")
	}
	file, err := r.run(ctx)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	fmt.Fprintln(r.progress, "written:", file)
	return nil
}

// run returns the file that it wrote.
func (r recording) run(ctx context.Context) (file string, err error) {
	begun := time.Now()
	config, err := place(ctx, r.root, begun)
	if err != nil {
		return "", err
	}
	config = append(config, line{"benchtime", r.benchtime}, line{"count", strconv.Itoa(r.count)}, line{"bench", r.bench})
	part, err := os.CreateTemp(r.out, "unfinished-*.part")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w (what there is, is in %s)", err, part.Name()), part.Close())
		}
	}()
	for _, l := range config {
		fmt.Fprintf(part, "%s: %s\n", l.key, l.value)
	}
	fmt.Fprintln(r.progress, r.expected())
	rows := 0
	for i, s := range r.suites {
		n, err := r.suite(ctx, s, part, fmt.Sprintf("[%d of %d]", i+1, len(r.suites)), begun)
		if err != nil {
			return "", err
		}
		rows += n
	}
	if rows == 0 {
		return "", fmt.Errorf("no benchmark matches %s", r.bench)
	}
	fmt.Fprintf(part, "load-after: %s\nduration: %s\n", load(), time.Since(begun).Round(time.Second))
	if err := part.Close(); err != nil {
		return "", err
	}
	return keep(part.Name(), r.out, begun.UTC().Format(time.DateOnly)+"-"+short12(config))
}

// short12 is the commit as file names have it.
func short12(config []line) string {
	for _, l := range config {
		if l.key == "commit" {
			return l.value[:min(12, len(l.value))]
		}
	}
	return "unknown"
}

// keep gives the finished file its name; a run of the same day and commit that is
// there already stays, for it may hold other rows.
func keep(part, dir, name string) (file string, err error) {
	for i := 1; ; i++ {
		file = filepath.Join(dir, name+".txt")
		if i > 1 {
			file = filepath.Join(dir, fmt.Sprintf("%s-%d.txt", name, i))
		}
		if _, err := os.Lstat(file); err == nil {
			continue
		}
		return file, errors.Join(os.Chmod(part, 0o644), os.Rename(part, file))
	}
}

// expected says how long it took last time.
func (r recording) expected() string {
	results, err := readResults(r.out)
	if err == nil {
		for _, f := range slices.Backward(results) {
			if d := f.config["duration"]; d != "" && f.config["bench"] == r.bench && f.config["benchtime"] == r.benchtime && f.config["count"] == strconv.Itoa(r.count) {
				return "about " + d + ", as last time (" + f.name + ")"
			}
		}
	}
	return "how long this takes is not known yet"
}

// suite runs one package, and returns how many rows there were.
func (r recording) suite(ctx context.Context, s suite, out io.Writer, label string, begun time.Time) (rows int, err error) {
	count, benchtime := cmp.Or(s.count, r.count), cmp.Or(s.benchtime, r.benchtime)
	args := []string{"test", "-run", "^$", "-bench", r.bench, "-benchmem", "-benchtime", benchtime, "-count", strconv.Itoa(count), "-timeout", "2h"}
	if s.skip != "" {
		args = append(args, "-skip", s.skip)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, s.pkg)...)
	cmd.Dir = filepath.Join(r.root, s.module)
	endWhole(cmd)
	var errs strings.Builder
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		fmt.Fprintln(out, lines.Text())
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") || seen[words[0]] {
			continue
		}
		seen[words[0]] = true
		fmt.Fprintf(r.progress, "%s %s  %d: %s %s %s\n", time.Since(begun).Round(time.Second), label, len(seen), words[0], words[2], words[3])
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		return 0, fmt.Errorf("benchmarks of %s: %w\n%s", s.pkg, err, errs.String())
	}
	return len(seen), nil
}
