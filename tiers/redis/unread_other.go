//go:build !unix

package redis

import "net"

// unread is not known here: a process that is late to read is taken for a
// server that is silent.
func unread(net.Conn) bool { return false }
