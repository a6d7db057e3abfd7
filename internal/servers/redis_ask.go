// A redis-server asked by hand, one connection a command: what breaks servers
// does not stand on the client that is tested with them.

package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// call sends a command and returns its answer: a string, an int64, nil or a
// []any of such. An error reply is an error.
func call(ctx context.Context, addr string, command ...string) (answer any, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("redis %s: %s: %w", addr, strings.Join(command[:min(2, len(command))], " "), err)
		}
	}()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return nil, err
	}
	answer, err = readAnswer(bufio.NewReader(conn))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return answer, err
}

func readAnswer(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, rest := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil || kind != ':' && kind != '$' && kind != '*':
		return nil, fmt.Errorf("answer not understood: %q", line)
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return string(text[:n]), err
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = readAnswer(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// callList is call for an answer that is a list; it may be of another length.
func callList(ctx context.Context, addr string, command ...string) ([]any, error) {
	answer, err := call(ctx, addr, command...)
	if err != nil {
		return nil, err
	}
	list, ok := answer.([]any)
	if !ok {
		return nil, fmt.Errorf("redis %s: %s: the answer is no list", addr, command[0])
	}
	return list, nil
}

// at returns element i of a list, as it would be printed; "" if there is none.
func at(list []any, i int) string {
	if i >= len(list) || list[i] == nil {
		return ""
	}
	return fmt.Sprint(list[i])
}

// await polls until holds returns true, the limit has passed or ctx has ended.
// The error names what was waited for, and the last error of holds, which is
// otherwise taken for "not yet", except for ErrNotRunning.
func await(ctx context.Context, limit time.Duration, what string, holds func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		ok, err := holds(ctx)
		if ok && err == nil {
			return nil
		}
		if errors.Is(err, ErrNotRunning) { // nobody starts it meanwhile
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", what, ctx.Err()), last)
		}
	}
}
