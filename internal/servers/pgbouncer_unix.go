//go:build unix

// How pgbouncer is run: like postgres not by root.

package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func startPgBouncer(ctx context.Context, p *PostgresServer, o Options) (*server, error) {
	program, err := findPgBouncer()
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	runAs, err := unprivileged()
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	write := func(data, name, text string) error {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil || runAs == nil {
			return err
		}
		return os.Chown(path, runAs.uid, runAs.gid)
	}
	return newServer(ctx, kind{
		name:    "pgbouncer",
		program: program,
		prepare: func(data string, port int) error {
			return write(data, "pgbouncer.ini", pgBouncerConfig(p, port, o.Settings))
		},
		args:    func(data string, _ int) []string { return []string{filepath.Join(data, "pgbouncer.ini")} },
		account: runAs,
		quit:    syscall.SIGTERM, // at once; SIGINT would wait for clients
		ready:   func(_ int, _, log string) bool { return strings.Contains(log, "process up") },
	}, o.port, func(data string) error { return write(data, "users", fmt.Sprintf("%q \"\"\n", superuser)) })
}
