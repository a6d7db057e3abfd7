//go:build unix

// A guard is a small shell process beside each server. Its standard input is a
// pipe that only we hold open, so it notices the end of this process whatever
// the reason, and cleans up: processes, shared memory, folder. Stop cleans up by
// the same script, which is thereby exercised by every test.
//
// On Linux the kernel kills the server itself already when we die (Pdeathsig);
// the guard is there for what the kernel leaves: children of a frozen or busy
// postgres, the folder, and all of it on other systems.

package servers

import (
	_ "embed"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

//go:embed guard.sh
var guardScript string

type guard struct {
	cmd   *exec.Cmd
	alive io.WriteCloser // its end is the signal; nothing is ever written
}

// startGuard watches over dir, which may hold no server yet.
func startGuard(dir string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "guard", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt from the terminal is not for it
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &guard{cmd: cmd, alive: alive}, nil
}

// release lets the guard clean up and waits until it has.
func (g *guard) release() error {
	_ = g.alive.Close() // the pipe's other end may be gone already; Wait tells
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}
