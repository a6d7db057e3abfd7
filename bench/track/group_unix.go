//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// endWhole has the end of its context end also what a command started itself: go
// test starts the benchmarks, which would go on without it.
func endWhole(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
