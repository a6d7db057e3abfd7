//go:build unix

package redis

import (
	"net"
	"syscall"
)

// unread reports whether something has arrived on conn that nobody has read.
func unread(conn net.Conn) (is bool) {
	socket, ok := below(conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) { // an error says that it is closed
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		is = err == nil && n > 0
	})
	return is
}
