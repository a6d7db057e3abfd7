package serverstats

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// A plain client of Redis, one command at a time: the unrelated client whose
// latency is measured, and who asks for statistics. The library's client would
// add commands of its own to what is counted.

// A Client is for one goroutine.
type Client struct {
	conn  net.Conn
	in    *bufio.Reader
	limit time.Duration
}

// DialRedis connects. limit is for that, and for each command.
func DialRedis(addr string, limit time.Duration) (*Client, error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, in: bufio.NewReader(conn), limit: limit}, nil
}

// Do sends one command and returns its answer: of a nil "", of an array the
// texts of its elements, a line each.
func (c *Client) Do(args ...string) (string, error) {
	c.conn.SetDeadline(time.Now().Add(c.limit))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return "", err
	}
	answer, err := readAnswer(c.in)
	if err != nil {
		return "", fmt.Errorf("redis: %s: %w", args[0], err)
	}
	return answer, nil
}

func readAnswer(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", errors.New("an empty answer")
	}
	switch rest := line[1:]; line[0] {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		text := make([]byte, n+2)
		_, err = io.ReadFull(in, text)
		return string(text[:n]), err
	case '*':
		n, err := strconv.Atoi(rest)
		var all []string
		for i := 0; i < n && err == nil; i++ {
			var one string
			one, err = readAnswer(in)
			all = append(all, one)
		}
		return strings.Join(all, "\n"), err
	}
	return "", fmt.Errorf("an answer of unknown kind %q", line[:1])
}

// Close ends the connection.
func (c *Client) Close() { _ = c.conn.Close() }
