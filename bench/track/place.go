package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A place is where and of what something was measured, as configuration lines of
// Go's benchmark format: keys have no capitals and no spaces.

type line struct{ key, value string }

// place returns the lines that come before any result. Those that this system
// cannot tell are left out.
func place(ctx context.Context, root string, now time.Time) ([]line, error) {
	commit, err := git(ctx, root, "rev-parse", "HEAD")
	if err != nil {
		return nil, err
	}
	code := "as committed"
	if changed, err := git(ctx, root, "status", "--porcelain", "--", "*.go", "*go.mod"); err != nil {
		return nil, err
	} else if changed != "" {
		code = "changed since"
	}
	lines := []line{
		{"commit", commit}, {"code", code}, {"date", now.UTC().Format(time.RFC3339)},
		{"toolchain", runtime.Version()}, {"processors", strconv.Itoa(runtime.NumCPU())},
	}
	for _, l := range []line{{"system", system(ctx)}, {"memory", memory()}, {"load-before", load()}} {
		if l.value != "" {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// system is the kernel and its version.
func system(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "uname", "-srm").Output()
	if err != nil {
		return runtime.GOOS + " " + runtime.GOARCH
	}
	return strings.TrimSpace(string(out))
}

// memory and load are what Linux tells about the machine.

func memory() string {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(text)) {
		if size, ok := strings.CutPrefix(l, "MemTotal:"); ok {
			return strings.Join(strings.Fields(size), " ")
		}
	}
	return ""
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
