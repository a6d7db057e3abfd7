// Fleet measures what a fleet of processes does on one machine, with private
// servers and real processes: how long a change takes to reach everyone, how
// long until all is right again after something was killed, frozen or lost, and
// what a fleet at rest, one write and one cold key cost the servers, by their
// own counts.
//
//	go run ./fleet                      # all rows; about half an hour
//	go run ./fleet -rows idle,one-set   # some
//	go run ./fleet -quick               # few writes and short waits: does it work?
//
// It prints a table in Markdown. Its rows are figures and no tests: what was
// asked and not reached is marked, and the exit code is 0. Progress goes to
// standard error. It needs redis-server and postgres, and a Unix.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

func main() {
	if worker.IsOne() {
		if err := runWorker(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "fleet: worker:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "fleet:", err)
		}
		os.Exit(1)
	}
}

// run measures what args ask for. It fails if a row could not be measured; the
// others are then printed nevertheless.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(progress)
	l := &lab{progress: progress}
	names := flags.String("rows", "", "comma-separated `names` of rows; all if empty")
	flags.BoolVar(&l.quick, "quick", false, "few writes, short waits, one run of each row")
	flags.BoolVar(&l.verbose, "v", false, "the library's log on standard error")
	flags.IntVar(&l.processes, "processes", 8, "how many `processes` read")
	runs := flags.Int("runs", 3, "`how` often each row is measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if l.processes < 2 || *runs < 1 || flags.NArg() > 0 {
		return errors.New("want -processes of 2 or more, -runs of 1 or more, and no other arguments")
	}
	if l.quick {
		*runs = 1
	}
	chosen, err := choose(*names)
	if err != nil {
		return err
	}
	at := measured.Place("go run ./fleet", args, fmt.Sprintf("%d that read, and one that writes", l.processes))
	var all []measured.Result
	var errs []error
	for _, r := range chosen {
		results, err := measure(ctx, l, r, *runs)
		all = append(all, results...)
		if err != nil {
			errs = append(errs, fmt.Errorf("row %s: %w", r.name, err))
			l.say("%s: %v", r.name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Fprint(out, at)
	measured.Print(out, all)
	return errors.Join(errs...)
}

// choose returns the rows of the given names, in the order of the table.
func choose(names string) ([]row, error) {
	if names == "" {
		return rows, nil
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(names, ",") {
		wanted[strings.TrimSpace(name)] = true
	}
	var chosen []row
	var known []string
	for _, r := range rows {
		known = append(known, r.name)
		if wanted[r.name] {
			chosen = append(chosen, r)
			delete(wanted, r.name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("-rows: there is no row %q; there are %s", name, strings.Join(known, ", "))
	}
	return chosen, nil
}

// runLimit bounds one run of one row.
const runLimit = 10 * time.Minute

func measure(ctx context.Context, l *lab, r row, runs int) ([]measured.Result, error) {
	var all [][]measured.Figure
	for i := range runs {
		start := time.Now()
		l.say("%s, run %d of %d: %s", r.name, i+1, runs, r.says)
		bound, cancel := context.WithTimeout(ctx, runLimit)
		figures, err := r.measure(bound, l)
		cancel()
		if err != nil {
			return measured.Collect(r.name, all), err
		}
		for _, f := range figures {
			l.say("   %-60s %s", f.Name, measured.WithUnit(f.Value, f.Unit))
		}
		l.say("   took %.0f s", time.Since(start).Seconds())
		all = append(all, figures)
	}
	return measured.Collect(r.name, all), nil
}
