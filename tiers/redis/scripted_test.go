package redis

// A server that says what a test tells it to: for answers in an order in which
// a real one rarely gives them.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// answers says what a server replies to a command of one connection, in the
// protocol's own spelling; "" is silence.
type answers func(command string) string

// scripted starts a server; each connection gets answers of its own.
func scripted(t *testing.T, connected func() answers) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	t.Cleanup(func() { l.Close(); talks.Wait() })
	talks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talks.Go(func() { talk(conn, connected()) })
		}
	})
	return l.Addr().String()
}

func talk(conn net.Conn, reply answers) {
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		command, err := readCommand(r)
		if err != nil {
			return
		}
		io.WriteString(conn, reply(command))
	}
}

func readCommand(r *bufio.Reader) (string, error) {
	n, err := readCount(r)
	var words []string
	for ; n > 0 && err == nil; n-- {
		var size int
		if size, err = readCount(r); err == nil {
			word := make([]byte, size+len("\r\n"))
			_, err = io.ReadFull(r, word)
			words = append(words, string(word[:size]))
		}
	}
	return strings.Join(words, " "), err
}

func readCount(r *bufio.Reader) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 4 {
		return 0, fmt.Errorf("%q: %w", line, io.ErrUnexpectedEOF)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// greets answers what a connection begins with, and heartbeats; all else is next's.
func greets(next answers) answers {
	return func(command string) string {
		switch word, _, _ := strings.Cut(command, " "); {
		case word == "HELLO":
			return "%3\r\n$5\r\nproto\r\n:3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
		case strings.HasPrefix(command, "CLIENT TRACKING"):
			return "+OK\r\n"
		case word == "PING":
			return "+PONG\r\n"
		}
		return next(command)
	}
}
