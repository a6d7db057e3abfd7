package measured

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// Place says what is about to be measured, and where: the command and its
// arguments, and what processes there are.
func Place(command string, args []string, processes string) string {
	return fmt.Sprintf(`command: %s
commit: %s
date: %s
go: %s %s/%s
processors: %d
load average before: %s
processes: %s

`, strings.Join(append([]string{command}, args...), " "), commit(), time.Now().UTC().Format(time.DateOnly),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), loadAverage(), processes)
}

// loadAverage tells what else the machine does, where the system says so.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// commit is what the working copy is at, as far as git can tell.
func commit() string {
	id, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		if info, ok := debug.ReadBuildInfo(); ok {
			return info.Main.Version
		}
		return "unknown"
	}
	at := strings.TrimSpace(string(id))
	if exec.Command("git", "diff", "--quiet", "HEAD").Run() != nil {
		at += ", changed since"
	}
	return at
}
