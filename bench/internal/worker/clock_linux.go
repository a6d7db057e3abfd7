package worker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Times of several processes are compared, so they are read from one clock of
// the machine that no clock setting moves: CLOCK_MONOTONIC counts from the boot.

// Now returns the time in ns, for comparison with Now in other processes of
// this machine alone.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the kernel has had this clock for twenty years
	}
	return t.Nano()
}

// orphanless lets the kernel kill a child when the thread that started it ends,
// also a frozen one, which does not hear that its standard input has ended.
func orphanless() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
