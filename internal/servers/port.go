// Free ports, chosen below the range from which the kernel takes the ports of
// outgoing connections. Inside that range a client that redials a dead server
// may be given the server's port as its own: it then connects to itself, and the
// server cannot come back.

package servers

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Linux gives 32768 and up to outgoing connections, macOS 49152 and up.
const (
	lowestPort  = 16384
	highestPort = 32767
)

// freePort returns a port on which nothing listens. Another process may take it
// before our server does: the start is then tried on another one.
func freePort() (int, error) {
	for range 100 {
		if port := lowestPort + rand.IntN(highestPort-lowestPort+1); available(port) {
			return port, nil
		}
	}
	return 0, errors.New("find a free port: 100 random ones are all taken")
}

// available reports whether nothing listens on the port.
func available(port int) bool {
	l, err := net.Listen("tcp", address(port))
	return err == nil && l.Close() == nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
