package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A comparison builds the tests of two revisions again and again, each time in
// another layout, and runs them in turns, so that the machine treats both alike.

// readPath are the rows that are compared unless others are asked for.
const readPath = `^Benchmark(OptionGet|OptionGetMany|ManagerGet|ByName|Lookup|FamilyGet|Inspect|LoadFresh)$`

// costly are those of them that take long to set up, or time a rival alone; they
// are left out unless -bench asks for them.
const costly = `^BenchmarkFamilyGet$/uniform1M|^BenchmarkByName$/./plain-map`

type comparison struct {
	root      string // of the working tree, which is the head
	base      string // a revision that git knows
	pkg       string // folder of the package
	bench     string
	skip      string // benchmarks, as go test -skip takes it
	benchtime string
	rounds    int
	layouts   int // of each revision; fewer than rounds: they are used again in turn
	cpus      string
	out       io.Writer
	progress  io.Writer
}

func compareCommand(ctx context.Context, root string, args []string) error {
	c := comparison{root: root, out: os.Stdout, progress: os.Stderr}
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.StringVar(&c.base, "base", "", "the `revision` to compare the working tree with, as git names it; required")
	flags.StringVar(&c.pkg, "pkg", "./fastopt", "`folder` of the package, from the top of the repository")
	flags.StringVar(&c.bench, "bench", readPath, "`regexp` of benchmarks, as go test -bench takes it")
	flags.StringVar(&c.benchtime, "benchtime", "50ms", "`time` of one run of one row")
	flags.IntVar(&c.rounds, "rounds", 16, fmt.Sprintf("runs of each row and revision, at least %d", minRounds))
	flags.StringVar(&c.cpus, "cpus", strconv.Itoa(runtime.NumCPU()-1), "processors to run on, as taskset -c takes them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.base == "" || flags.NArg() > 0 {
		return errors.New("compare: say with what: make bench-compare BASE=ref")
	}
	if c.rounds < minRounds {
		return fmt.Errorf("compare: %d rounds prove nothing: at least %d", c.rounds, minRounds)
	}
	if c.layouts = c.rounds; c.bench == readPath {
		c.skip = costly
	}
	verdicts, err := c.run(ctx)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	if slices.ContainsFunc(verdicts, func(v verdict) bool { return v.worse }) {
		return errSlower
	}
	return nil
}

// run measures, prints, and returns the verdicts.
func (c comparison) run(ctx context.Context) (verdicts []verdict, err error) {
	temp, err := os.MkdirTemp("", "bench-compare-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	base := revision{label: labels[0], dir: filepath.Join(temp, "tree"), pkg: c.pkg}
	head := revision{label: labels[1], dir: c.root, pkg: c.pkg}
	commit, err := git(ctx, c.root, "rev-parse", "--short", "--verify", c.base+"^{commit}")
	if err != nil {
		return nil, err
	}
	remove, err := checkOut(ctx, c.root, commit, base.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()

	pin, how := pinned(c.cpus)
	fmt.Fprintf(c.progress, "base: %s (%s); head: the working tree; %s\n", c.base, commit, how)
	r := rounds{comparison: c, temp: temp, pin: pin}
	if err := r.measure(ctx, base, head); err != nil {
		return nil, err
	}
	if err := r.benchstat(ctx); err != nil {
		return nil, err
	}
	verdicts = judgeAll(r.samples[0], r.samples[1])
	printVerdicts(c.out, verdicts, r.samples[0], r.samples[1], c.rounds)
	c.warnOfOtherBenchmarks(ctx, commit)
	return verdicts, nil
}

// warnOfOtherBenchmarks says if the two revisions do not measure the same.
func (c comparison) warnOfOtherBenchmarks(ctx context.Context, commit string) {
	if _, err := git(ctx, c.root, "diff", "--quiet", commit, "--", c.pkg+"/*_test.go", "internal/passes"); err != nil {
		fmt.Fprintln(c.out, "Note: tests of this package differ between the two; a row may not measure the same thing.")
	}
}

// labels are as long as each other, for even the length of a path moves a stack.
var labels = [2]string{"base", "head"}

// rounds are the runs of both revisions, the first of them base.
type rounds struct {
	comparison
	temp    string
	pin     []string
	groups  []string // patterns of the benchmarks, run one after the other
	raw     [2]strings.Builder
	samples [2]*samples
	rows    int
}

// measure runs all rounds. Who is first changes from round to round: base head,
// head base, base head …
func (r *rounds) measure(ctx context.Context, base, head revision) error {
	begun := time.Now()
	for i := range r.rounds {
		var programs [2]program
		for j, rev := range []revision{base, head} {
			layout := i % r.layouts
			p := program{file: filepath.Join(r.temp, fmt.Sprintf("%s-%d.test", rev.label, layout)), dir: filepath.Join(rev.dir, filepath.FromSlash(rev.pkg)), pin: r.pin, skip: r.skip}
			// Layouts are never shared: whether one suits is luck, and no merit of a revision.
			if i == layout {
				if err := rev.build(ctx, 1+2*layout+j, p.file); err != nil {
					return err
				}
			}
			programs[j] = p
		}
		if i == 0 {
			if err := r.discover(ctx, programs); err != nil {
				return err
			}
		}
		for _, group := range r.groups {
			for turn := range programs {
				j := (turn + i) % 2
				text, err := r.again(ctx, programs[j], group, r.benchtime)
				if err != nil {
					return err
				}
				r.raw[j].WriteString(text)
			}
		}
		left := time.Since(begun) / time.Duration(i+1) * time.Duration(r.rounds-1-i)
		fmt.Fprintf(r.progress, "round %d of %d, %d rows; about %v left\n", i+1, r.rounds, r.rows, left.Round(time.Second))
	}
	for j := range r.samples {
		s, err := readSamples(strings.NewReader(r.raw[j].String()), labels[j])
		if err != nil {
			return err
		}
		r.samples[j] = s
	}
	return nil
}

// again runs a group, once more and once more if it fails: on a machine that is
// starved, a benchmark may not even get its world together.
func (r *rounds) again(ctx context.Context, p program, group, benchtime string) (text string, err error) {
	for range 3 {
		if text, err = p.bench(ctx, group, benchtime); err == nil || ctx.Err() != nil {
			return text, err
		}
		fmt.Fprintf(r.progress, "failed, and is tried again: %v\n", err)
	}
	return "", err
}

// discover runs each benchmark for a moment, to learn the names.
func (r *rounds) discover(ctx context.Context, programs [2]program) error {
	names := map[string]bool{}
	for _, p := range programs {
		text, err := r.again(ctx, p, r.bench, "1x")
		if err != nil {
			return err
		}
		s, err := readSamples(strings.NewReader(text), p.file)
		if err != nil {
			return err
		}
		for _, name := range s.names {
			names[name] = true
			if group := r.group(name); !slices.Contains(r.groups, group) {
				r.groups = append(r.groups, group)
			}
		}
	}
	if r.rows = len(names); r.rows == 0 {
		return fmt.Errorf("no benchmark of %s matches %s", r.pkg, r.bench)
	}
	// A run of a row takes a little more than twice its time, as testing tries out
	// how many operations fill it; and each round links two programs.
	if d, err := time.ParseDuration(r.benchtime); err == nil {
		row := d*5/2 + 100*time.Millisecond
		fmt.Fprintf(r.progress, "%d rows, %d rounds: about %v\n", r.rows, r.rounds, (time.Duration(2*r.rounds) * (time.Duration(r.rows)*row + 1500*time.Millisecond)).Round(time.Second))
	}
	return nil
}

// group returns the pattern with which a row is run: its benchmark alone, so that
// the two revisions take short turns; but what A|B/c selects only all of it says.
func (r *rounds) group(name string) string {
	if strings.Contains(r.bench, "/") {
		return r.bench
	}
	top, _, _ := strings.Cut(name, "/")
	return "^Benchmark" + top + "$"
}

// benchstat prints the table that users of Go know.
func (r *rounds) benchstat(ctx context.Context) error {
	var args []string
	for j, label := range labels {
		file := filepath.Join(r.temp, label+".txt")
		if err := os.WriteFile(file, []byte(r.raw[j].String()), 0o600); err != nil {
			return err
		}
		args = append(args, label+"="+file)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"tool", "benchstat", "-filter", ".unit:(ns/op OR B/op OR allocs/op)"}, args...)...)
	cmd.Dir = benchFolder
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("benchstat: %w", said(err))
	}
	_, err = fmt.Fprintf(r.out, "%s\n", out)
	return err
}
