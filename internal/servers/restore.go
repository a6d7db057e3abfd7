// The ways in which a database is moved or set back: restored to an earlier point
// of time, dumped and read again, upgraded. Each ends in a server that is a copy
// and goes on by itself; the old one stays as it was.

package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

// A PostgresBackup is a base backup, from which a server can be restored as of any
// restore point after it. It lives as long as its server's folder, that is until
// Stop, and so do the restore points: WAL is read from that server's own, of which
// 128 MB are sure to be kept.
type PostgresBackup struct {
	of   *server
	path string
}

// Backup takes a base backup, in about 0.2 s. ErrExternal.
func (p *PostgresServer) Backup(ctx context.Context) (*PostgresBackup, error) {
	if p.srv == nil {
		return nil, fmt.Errorf("backup: %w", ErrExternal)
	}
	path, err := baseBackup(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return &PostgresBackup{of: p.srv, path: path}, nil
}

// RestorePoint marks this moment, for Restore: after every commit acknowledged so
// far, before every one that begins after it returns.
func (p *PostgresServer) RestorePoint(ctx context.Context) (name string, err error) {
	name = fmt.Sprintf("fastopt_%016x", rand.Uint64())
	if err := p.exec(ctx, "SELECT pg_create_restore_point('"+name+"')"); err != nil {
		return "", fmt.Errorf("restore point: %w", err)
	}
	if err := p.exec(ctx, "SELECT pg_switch_wal()"); err != nil { // else it might not be written yet
		return "", fmt.Errorf("restore point: %w", err)
	}
	return name, nil
}

// Restore starts a server with the data as of a restore point after the backup. It
// has the system identifier of the old server and the next timeline that the old
// one does not know of, and takes writes when Restore returns. The old server may
// run, and may be dead. Errors as those of StartPostgres.
func (b *PostgresBackup) Restore(ctx context.Context, point string, o Options) (*PostgresServer, error) {
	srv, err := restorePostgres(ctx, b, point, o)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	p := newPostgresServer(srv)
	if err := p.awaitPrimary(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("restore: %w", err), p.Stop())
	}
	return p, nil
}

// DumpInto copies the database of p into the empty one of other by pg_dump and
// psql, with the roles that other lacks. What p commits meanwhile is not copied.
func (p *PostgresServer) DumpInto(ctx context.Context, other *PostgresServer) error {
	if err := dumpPostgres(ctx, p.url, other.url); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	return nil
}

// Upgrade ends p and starts, from a copy of its data made by pg_upgrade to the same
// version, a server with a system identifier of its own, on timeline 1. It takes
// some seconds. p's Restart brings the old server back. ErrExternal, ErrNotRunning
// after Stop, and as StartPostgres.
func (p *PostgresServer) Upgrade(ctx context.Context, o Options) (*PostgresServer, error) {
	if p.srv == nil {
		return nil, fmt.Errorf("upgrade: %w", ErrExternal)
	}
	srv, err := upgradePostgres(ctx, p.srv, o)
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return newPostgresServer(srv), nil
}
