//go:build unix

// How postgres is run.

package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func startPostgres(ctx context.Context, o Options) (*server, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	runAs, err := unprivileged()
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return newServer(ctx, kind{
		name:    "postgres",
		program: filepath.Join(bin, "postgres"),
		args:    func(data string, port int) []string { return postgresArgs(data, port, o.Settings) },
		account: runAs,
		quit:    syscall.SIGINT, // fast shutdown: clients are cut off, a checkpoint is written
		ready:   func(pid int, data, _ string) bool { return postmasterReady(pid, data) },
	}, o.port, func(data string) error { return template{bin: bin, account: runAs}.copyTo(ctx, data) })
}

func postgresArgs(data string, port int, settings []string) []string {
	args := []string{"-D", data}
	for _, s := range append([]string{
		"port=" + strconv.Itoa(port),
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=", // their paths may be too long, and nobody uses them
		// The machine stays up, the server does not: what it has written survives,
		// so fsync can go. What it has acknowledged must be written when Kill comes,
		// and a page may be half written then: synchronous_commit and
		// full_page_writes must stay.
		"fsync=off",
		"shared_buffers=32MB",
		"max_wal_size=128MB",              // the folder may be in memory
		"dynamic_shared_memory_type=mmap", // in the data folder: gone with it, even after SIGKILL
	}, settings...) {
		args = append(args, "-c", s)
	}
	return args
}

// postmasterReady reads what postgres says of itself in postmaster.pid: the
// first line is its process id, the eighth "ready". Unlike a connection, that
// cannot be the answer of another server on the port.
func postmasterReady(pid int, data string) bool {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	return len(lines) >= 8 && lines[0] == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}
