// Loadgen soaks fastopt: several managers, as if they were processes, read and
// write the same options through stores that are made to fail, and every single
// read is verified.
//
//	go run ./cmd/loadgen                                  embedded stores, 20 s
//	go run ./cmd/loadgen -backend local -duration 60s     private redis-server and postgres
//	go run ./cmd/loadgen -backend local -processes 8 -duration 30m -seed 1
//	go run ./cmd/loadgen -backend local -readers 1 -duty 10      2 processors: leave some to what is judged by the clock
//	go run ./cmd/loadgen -selftest                        does it see what it should see?
//
// A run of less than some minutes does not reach every kind of fault; the report
// says which it did not.
//
// It exits with 0 if nothing was wrong, 1 if something was, 2 if it could not
// run. Files, in reading order:
//
//	value.go      a value that describes itself
//	oracle.go     what was written, and what may be read; prune.go forgets what is old
//	verdict.go    is this read right?
//	weather.go    what is broken now, and which defaults that excuses
//	stale.go      when an old value becomes too old
//	process.go    one manager, which may end and begin anew
//	meter.go, journal.go, ready.go, bounds.go   what it may ask, log, say of itself, and wait for
//	reader.go, inspect.go, writer.go, doubt.go, propagation.go, recovery.go   who reads, writes and watches
//	schedule.go, backend.go, memory.go                                        what breaks
//	local.go, paths.go, sessions.go, probe.go                                 … with real servers, and whether it did
//	truth.go      what the stores hold in the end
//	run.go, report.go, progress.go, violations.go, histogram.go, lag.go       putting it together
//	selftest.go, plants.go                                                    bugs that must be seen
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
)

// What the command's exit code says.
const (
	exitRight = 0
	exitWrong = 1 // a violation, a fault that did nothing, a planted bug unseen
	exitUsage = 2 // it could not run
)

// A config is what the flags say.
type config struct {
	backend   string
	duration  time.Duration
	options   int
	processes int
	readers   int
	duty      int // percent of the time that a reader reads
	writes    int // per second, by all writers
	seed      uint64
	selftest  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command runs loadgen with args and returns its exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitRight
	}
	if err != nil {
		fmt.Fprintln(stderr, "loadgen:", err)
		return exitUsage
	}
	if c.selftest {
		return selftest(ctx, c.seed, stdout, stderr)
	}
	r, err := soak(ctx, c, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "loadgen:", err)
		if errors.Is(err, servers.ErrMissing) {
			fmt.Fprintln(stderr, "loadgen: -backend memory needs no servers")
		}
		return exitUsage
	}
	r.report(stdout)
	if r.wrong() {
		return exitWrong
	}
	return exitRight
}

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	f := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.backend, "backend", "memory", "stores: memory (embedded), or local (private redis-server and postgres)")
	f.DurationVar(&c.duration, "duration", 20*time.Second, "how long to soak, 1s to 24h")
	f.IntVar(&c.options, "options", 200, "options per process, 10 to 10000")
	f.IntVar(&c.processes, "processes", 4, "managers that share the stores, 2 to 64")
	f.IntVar(&c.readers, "readers", runtime.GOMAXPROCS(0), "goroutines that read at full speed, 1 to 256")
	f.IntVar(&c.duty, "duty", 100, "percent of the time that each of them reads, 1 to 100; fewer where timers are late")
	f.IntVar(&c.writes, "writes", 200, "writes per second in total, 1 to 10000")
	f.Uint64Var(&c.seed, "seed", 0, "order and length of the faults; 0: random, and shown")
	f.BoolVar(&c.selftest, "selftest", false, "plant known bugs and see whether each is reported")
	if err := f.Parse(args); err != nil {
		return c, fmt.Errorf("flags: %w", err)
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: everything is a flag", f.Arg(0))
	}
	if c.seed == 0 {
		c.seed = uint64(rand.Uint32()) | 1 // short enough to be typed again
	}
	return c, c.check()
}

func (c config) check() error {
	if c.backend != "memory" && c.backend != "local" {
		return fmt.Errorf("-backend %q: must be memory or local", c.backend)
	}
	if c.duration < time.Second || c.duration > 24*time.Hour {
		return fmt.Errorf("-duration %v: must be 1s to 24h", c.duration)
	}
	for _, n := range []struct {
		name            string
		value, min, max int
	}{
		{"options", c.options, 10, 10000}, {"processes", c.processes, 2, 64},
		{"readers", c.readers, 1, 256}, {"duty", c.duty, 1, 100}, {"writes", c.writes, 1, 10000},
	} {
		if n.value < n.min || n.value > n.max {
			return fmt.Errorf("-%s %d: must be %d to %d", n.name, n.value, n.min, n.max)
		}
	}
	return nil
}
