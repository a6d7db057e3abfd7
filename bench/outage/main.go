// Outage measures what readers, writers and servers notice of an outage, with
// private servers and real processes: each row breaks a store, or a process, sees
// that it is broken, and lets it come back.
//
//	go run ./outage                        # all rows; about ten minutes
//	go run ./outage -rows 'redis|frozen'   # those whose name matches
//	go run ./outage -short -window 2s      # does it work?
//
// Reads are measured in -runs parts of each fault, and their median is judged. It
// prints a table in Markdown. Its rows are figures and no tests: what was asked
// and not reached is marked, and the exit code is 0. It is 1 if a row could not be
// measured, or its fault was not seen to bite. Progress goes to standard error. It
// needs redis-server and postgres, and a Unix.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

func main() {
	if worker.IsOne() {
		if err := runWorker(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "outage: worker:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "outage:", err)
		}
		os.Exit(1)
	}
}

// run measures what args ask for. It fails if a row could not be measured; the
// others are then printed nevertheless.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	l, chosen, err := parse(args, progress)
	if err != nil {
		return err
	}
	at := measured.Place("go run ./outage", args, fmt.Sprintf("%d, of which one writes", l.processes))
	var all []measured.Result
	var errs []error
	for _, r := range chosen {
		if ctx.Err() != nil {
			break
		}
		results, err := measure(ctx, l, r)
		all = append(all, results...)
		if err != nil {
			errs = append(errs, fmt.Errorf("row %s: %w", r.name, err))
			l.say("   %v", err)
		}
	}
	fmt.Fprint(out, at)
	measured.Print(out, all)
	fmt.Fprintln(out, "\nEach part:")
	measured.PrintRuns(out, all)
	for _, err := range errs {
		fmt.Fprintf(out, "\nnot measured: %v\n", err)
	}
	return errors.Join(append(errs, ctx.Err())...)
}

func parse(args []string, progress io.Writer) (*lab, []row, error) {
	flags := flag.NewFlagSet("outage", flag.ContinueOnError)
	flags.SetOutput(progress)
	l := &lab{progress: progress}
	names := flags.String("rows", "", "a `regexp` of the names of rows; all if empty")
	flags.IntVar(&l.slices, "runs", 7, "in how `many` parts reads are measured during a fault")
	flags.DurationVar(&l.lasts, "window", 8*time.Second, "how long a fault `lasts` whose row does not say")
	flags.BoolVar(&l.short, "short", false, "no fault lasts longer than 15 s")
	flags.BoolVar(&l.verbose, "v", false, "the library's log on standard error")
	flags.IntVar(&l.processes, "processes", 8, "how many `processes` there are")
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	if l.processes < 2 || l.slices < 1 || l.lasts < time.Second || flags.NArg() > 0 {
		return nil, nil, errors.New("want -processes of 2 or more, -runs of 1 or more, -window of 1s or more, and no other arguments")
	}
	chosen, err := choose(*names)
	return l, chosen, err
}

// choose returns the rows whose names match, in the order of the table.
func choose(pattern string) (chosen []row, err error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-rows: %w", err)
	}
	var known []string
	for _, r := range rows {
		known = append(known, r.name)
		if match.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-rows: no row matches %q; there are %s", pattern, strings.Join(known, ", "))
	}
	return chosen, nil
}

// rowLimit bounds one row.
const rowLimit = 5 * time.Minute

func measure(ctx context.Context, l *lab, r row) ([]measured.Result, error) {
	start := time.Now()
	l.say("%s: %s", r.name, r.says)
	bound, cancel := context.WithTimeout(ctx, rowLimit)
	defer cancel()
	runs, err := r.measure(bound, l)
	results := measured.Collect(r.name, runs)
	for _, f := range results {
		l.say("   %s", f)
	}
	l.say("   took %.0f s", time.Since(start).Seconds())
	return results, err
}
