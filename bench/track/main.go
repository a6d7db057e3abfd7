// Track follows what the library costs from commit to commit. record runs the
// benchmarks and keeps what they print; compare tells whether the working tree is
// slower than another revision; report draws the tables and plots of
// BENCHMARKS.md from what was kept.
//
//	cd bench && go run ./track record|compare|report -help
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Exit codes: a row got slower, and something did not work.
const (
	exitSlower = 1
	exitFailed = 2
)

// errSlower ends a comparison in which a row got slower.
var errSlower = errors.New("slower")

// commands by name; each parses its own flags.
var commands = map[string]func(ctx context.Context, root string, args []string) error{
	"record": recordCommand, "compare": compareCommand, "report": reportCommand,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errSlower):
		os.Exit(exitSlower)
	default:
		fmt.Fprintln(os.Stderr, "track:", err)
		os.Exit(exitFailed)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("say what to do: record, compare or report (each explains itself with -help)")
	}
	root, err := repository(".")
	if err != nil {
		return err
	}
	return commands[args[0]](ctx, root, args[1:])
}

// repository returns the top folder of the repository that dir lies in.
func repository(dir string) (string, error) {
	cmd := exec.Command("git", "rev-parse", "--show-toplevel")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the repository with git: %w", said(err))
	}
	return filepath.FromSlash(strings.TrimSpace(string(out))), nil
}

// said adds to an error of a command what the command printed about it.
func said(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
