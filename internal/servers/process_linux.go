// What Linux tells of processes, from /proc.

package servers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// processAttr asks the kernel to kill the process when the thread that started
// it ends.
func processAttr(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	attr.Setsid = true
	attr.Pdeathsig = syscall.SIGKILL
	return attr
}

// childrenOf returns the children of all threads of the process.
func childrenOf(pid int) ([]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var children []int
	for _, file := range files {
		list, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			children = append(children, child)
		}
	}
	return children, nil
}

// stateOf returns the state letter of a process, as in proc(5), and 0 if there
// is no such process.
func stateOf(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// "pid (name) S …", and the name may contain anything.
	if i := bytes.LastIndexByte(stat, ')'); i >= 0 && i+2 < len(stat) {
		return stat[i+2]
	}
	return 0
}

// freeMemory returns the free bytes of dir if it is a file system in memory that
// we may write to, else 0.
func freeMemory(dir string) uint64 {
	const tmpfs = 0x01021994
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Type != tmpfs || syscall.Access(dir, 2) != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}
