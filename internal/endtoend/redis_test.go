package endtoend

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// redisDo sends one command past the library.
func (w *world) redisDo(args ...string) error {
	_, err := w.redisAsk(args...)
	return err
}

// redisAsk is redisDo, and returns the first line of the answer.
func (w *world) redisAsk(args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", w.redis.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line[0] == '-' {
		return "", fmt.Errorf("redis: %s", strings.TrimSpace(line[1:]))
	}
	return strings.TrimSpace(line), err
}
