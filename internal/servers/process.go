//go:build unix

// One run of a server's program, from its start to its end. A goroutine starts
// it and stays until it has ended, bound to its operating system thread: on
// Linux the program is to be killed when we die, and the kernel takes the end of
// the thread that started it for that.

package servers

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

type process struct {
	pid   int           // immutable
	ended chan struct{} // closed when the process is gone and reaped
}

// startProcess runs cmd in a session of its own, so that an interrupt from the
// terminal ends us and not the server under our hands. keep stays reachable as
// long as the process runs: a guard that the garbage collector closes would end
// the server of someone who only kept its URL.
func startProcess(cmd *exec.Cmd, keep any) (*process, error) {
	cmd.SysProcAttr = processAttr(cmd.SysProcAttr)
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			close(p.ended)
		}
		runtime.KeepAlive(keep)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// waitEnd reports whether the process ended within the limit.
func (p *process) waitEnd(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return !p.running()
	}
}

// signalLimit is how long the kernel may take to stop or to end a process.
const signalLimit = 5 * time.Second

// freeze stops the process and its children, and returns them all once every
// one has stopped. The parent first: it cannot have more children then.
func (p *process) freeze() ([]int, error) {
	if err := stopAndWait(p.pid); err != nil {
		return []int{p.pid}, err
	}
	all := []int{p.pid}
	// A list of children that end meanwhile may lack others: list until it is
	// the same twice.
	for known := map[int]bool{}; ; {
		children, err := childrenOf(p.pid)
		if err != nil {
			return all, err
		}
		before := len(known)
		for _, pid := range children {
			if known[pid] {
				continue
			}
			known[pid] = true
			all = append(all, pid)
			if err := stopAndWait(pid); err != nil {
				return all, err
			}
		}
		if len(known) == before {
			return all, nil
		}
	}
}

// thaw lets the children go on, then the process.
func (p *process) thaw() error {
	children, err := childrenOf(p.pid)
	if err != nil {
		return err
	}
	for _, pid := range append(children, p.pid) {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	return nil
}

// kill ends the process and its children with SIGKILL, and returns when they
// are gone. Frozen first, for else they may have children while we look.
func (p *process) kill() error {
	all, _ := p.freeze() // whoever cannot be frozen can still be killed
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	if !p.waitEnd(signalLimit) {
		return fmt.Errorf("process %d still runs after SIGKILL", p.pid)
	}
	for _, pid := range all[1:] {
		if !eventually(signalLimit, func() bool { return gone(stateOf(pid)) }) {
			return fmt.Errorf("child %d still runs after SIGKILL", pid)
		}
	}
	return nil
}

// stopAndWait sends SIGSTOP and waits until it has its effect. A process that
// has ended meanwhile is as good as a stopped one.
func stopAndWait(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && err != syscall.ESRCH {
		return err
	}
	if !eventually(signalLimit, func() bool { s := stateOf(pid); return s == 'T' || gone(s) }) {
		return fmt.Errorf("process %d still runs after SIGSTOP", pid)
	}
	return nil
}

// gone reports whether a process in this state runs no more: reaped, or waiting
// to be by whoever adopted it.
func gone(state byte) bool { return state == 0 || state == 'Z' || state == 'X' }

// eventually polls until the condition holds or the limit has passed.
func eventually(limit time.Duration, holds func() bool) bool {
	for end := time.Now().Add(limit); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
