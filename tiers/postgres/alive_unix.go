//go:build unix

package postgres

import (
	"syscall"

	"github.com/jackc/pgx/v5"
)

// alive reports whether an idle connection may be used. An end of file or
// anything else to read, such as the last words of a server that shut down,
// means that it may not: what is written to it could be lost without an answer,
// and a write would be of unknown outcome. It waits for nothing.
func alive(c *pgx.Conn) bool {
	sc, ok := socket(c).(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	// Control and not Read, which queues behind another reader: after a slow
	// write pgx leaves one in the background that waits for the next answer.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK) // Go's sockets do not block
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return err == nil && quiet
}
