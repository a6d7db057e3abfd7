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
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true // never wait
	})
	return err == nil && quiet
}
