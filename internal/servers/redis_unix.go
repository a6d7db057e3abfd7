//go:build unix

// How redis-server is run.

package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

func startRedis(ctx context.Context, o Options) (*server, error) {
	program, err := findRedis()
	if err != nil {
		return nil, err
	}
	major, err := redisMajor(ctx, program)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	return newServer(ctx, kind{
		name:    "redis",
		program: program,
		args: func(data string, port int) []string {
			return append(redisArgs(data, port, major, o.Settings), o.args()...)
		},
		quit: syscall.SIGKILL, // it has nothing to save, and an orderly end takes up to 0.1 s
		ready: func(_ int, _, log string) bool {
			return strings.Contains(log, "Ready to accept connections")
		},
	}, o.port, func(string) error { return nil })
}

func redisArgs(data string, port, major int, settings []string) []string {
	args := []string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", data,
		"--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0", // else the first replica waits 5 s for others
	}
	if major >= 7 { // before, DEBUG was always allowed and this setting an error
		args = append(args, "--enable-debug-command", "yes")
	}
	for _, s := range settings {
		name, value, _ := cutSetting(s)
		args = append(args, "--"+name, value)
	}
	return args
}

// startSentinel starts the sentinel of number self on its port of ports.
func startSentinel(ctx context.Context, ports []int, self int, nodes []string) (*server, error) {
	program, err := findRedis()
	if err != nil {
		return nil, err
	}
	config := func(data string) string { return filepath.Join(data, "sentinel.conf") }
	k := kind{
		name:    "sentinel",
		program: program,
		args: func(data string, port int) []string {
			return []string{config(data), "--sentinel", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", data}
		},
		quit:  syscall.SIGKILL,
		ready: func(_ int, _, log string) bool { return strings.Contains(log, "+monitor master") },
	}
	pick := func() (int, error) { return ports[self], nil } // the others know it
	return newServer(ctx, k, pick, func(data string) error {
		return os.WriteFile(config(data), []byte(sentinelConfig(ports, self, nodes)), 0o600)
	})
}

var redisVersion = regexp.MustCompile(`v=(\d+)`)

func redisMajor(ctx context.Context, program string) (int, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask for the version: %w", err)
	}
	m := redisVersion.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("ask for the version: answer not understood: %q", out)
	}
	return strconv.Atoi(string(m[1]))
}
