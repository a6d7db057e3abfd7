package fastopt

import (
	"syscall"
	"time"
	"unsafe"
)

// How long a Linux machine slept: its boot clock runs on meanwhile, its monotonic
// clock, which is Go's, does not. (A raw call of the kernel, which does not wait,
// rather than a dependency for one number.)

const (
	clockMonotonic = 1
	clockBoottime  = 7
)

// sleptSinceBoot returns how long the machine has slept since it was started, give
// or take the time between two calls; false: that cannot be told.
func sleptSinceBoot() (time.Duration, bool) {
	var boot, mono syscall.Timespec
	if !readClock(clockBoottime, &boot) || !readClock(clockMonotonic, &mono) {
		return 0, false
	}
	return time.Duration(boot.Nano() - mono.Nano()), true
}

func readClock(clock uintptr, t *syscall.Timespec) bool {
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(t)), 0)
	return errno == 0
}
