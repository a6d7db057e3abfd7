//go:build unix && !linux

// What other Unix systems tell of processes, by ps. They cannot be asked to kill
// a process when its parent dies: there the guard does it alone.

package servers

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

func processAttr(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	attr.Setsid = true
	return attr
}

// childrenOf returns the children of the process.
func childrenOf(pid int) ([]int, error) {
	list, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var children []int
	for line := range strings.Lines(string(list)) {
		var child, parent int
		if _, err := fmt.Sscan(line, &child, &parent); err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		if parent == pid {
			children = append(children, child)
		}
	}
	return children, nil
}

// stateOf returns the state letter of a process, as in ps(1), and 0 if there is
// no such process.
func stateOf(pid int) byte {
	state, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	if letters := strings.TrimSpace(string(state)); err == nil && letters != "" {
		return letters[0]
	}
	return 0
}

// freeMemory is for Linux.
func freeMemory(string) uint64 { return 0 }
