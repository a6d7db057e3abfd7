//go:build unix

// The programs by which data of one postgres become those of another one.

package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func startStandby(ctx context.Context, p *PostgresServer, o Options) (*server, error) {
	return startPostgresOn(ctx, o, func(with programs, data string) error {
		return with.baseBackup(ctx, p.addr, data, "--write-recovery-conf")
	})
}

// baseBackup copies the data of the server at addr into the folder to.
func (p programs) baseBackup(ctx context.Context, addr, to string, further ...string) error {
	host, port, _ := strings.Cut(addr, ":")
	args := append([]string{
		"-D", to, "-h", host, "-p", port, "-U", superuser, "--no-password",
		"--checkpoint=fast", "--no-sync", "--wal-method=stream",
	}, further...)
	_, err := p.run(ctx, "/", "", "pg_basebackup", args...)
	return err
}

// baseBackup puts a backup beside the data of its server, and returns its path.
func baseBackup(ctx context.Context, p *PostgresServer) (string, error) {
	with, err := findPrograms()
	if err != nil {
		return "", err
	}
	path, err := os.MkdirTemp(p.srv.dir, "backup-*")
	if err != nil {
		return "", err
	}
	if with.account != nil {
		if err := os.Chown(path, with.account.uid, with.account.gid); err != nil {
			return "", err
		}
	}
	return path, with.baseBackup(ctx, p.addr, path)
}

func restorePostgres(ctx context.Context, b *PostgresBackup, point string, o Options) (*server, error) {
	// As arguments, and not in the data: whoever copies the server does not get them.
	o.Settings = append([]string{
		fmt.Sprintf(`restore_command=cp "%s/pg_wal/%%f" "%%p"`, b.of.data()),
		"recovery_target_name=" + point,
		"recovery_target_action=promote",
	}, o.Settings...)
	return startPostgresOn(ctx, o, func(with programs, data string) error {
		if err := with.copy(ctx, b.path, data); err != nil {
			return err
		}
		signal := filepath.Join(data, "recovery.signal")
		if err := os.WriteFile(signal, nil, 0o600); err != nil {
			return err
		}
		if with.account == nil {
			return nil
		}
		return os.Chown(signal, with.account.uid, with.account.gid)
	})
}

func dumpPostgres(ctx context.Context, from, to string) error {
	with, err := findPrograms()
	if err != nil {
		return err
	}
	roles, err := with.run(ctx, "/", "", "pg_dumpall", "--roles-only", "--dbname", from)
	if err != nil {
		return err
	}
	if _, err := with.run(ctx, "/", roles, "psql", "-X", "-q", "--dbname", to); err != nil { // those that are there are errors, and passed over
		return err
	}
	data, err := with.run(ctx, "/", "", "pg_dump", "--dbname", from)
	if err != nil {
		return err
	}
	_, err = with.run(ctx, "/", data, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "--dbname", to)
	return err
}

func upgradePostgres(ctx context.Context, old *server, o Options) (*server, error) {
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.stopped {
		return nil, ErrNotRunning
	}
	if err := old.quitLocked(); err != nil {
		return nil, err
	}
	return startPostgresOn(ctx, o, func(with programs, data string) error {
		return with.upgrade(ctx, old.data(), data)
	})
}

// upgrade fills the folder to from the data of a server that has ended.
func (p programs) upgrade(ctx context.Context, from, to string) error {
	if _, err := p.run(ctx, "/", "", "initdb", append([]string{"-D", to}, initdbArgs...)...); err != nil {
		return err
	}
	// Since version 15 databases keep their object ids. That of "postgres" is fixed,
	// and the old server has it under another name: make room.
	version, err := p.run(ctx, "/", "", "postgres", "--version")
	if err != nil {
		return err
	}
	if major := regexp.MustCompile(`\d+`).FindString(version); len(major) > 1 && major >= "15" {
		for _, sql := range []string{"DROP DATABASE postgres", "CREATE DATABASE postgres OID = 4000000000"} {
			if err := p.single(ctx, to, sql); err != nil {
				return err
			}
		}
	}
	var ports []string
	for range 2 {
		port, err := freePort()
		if err != nil {
			return err
		}
		ports = append(ports, strconv.Itoa(port))
	}
	args := slices.Concat([]string{"-b", p.bin, "-B", p.bin, "-d", from, "-D", to}, []string{
		"-p", ports[0], "-P", ports[1], "-U", superuser, "-s", to, "--no-sync",
		"-o", "-c fsync=off", "-O", "-c fsync=off",
	})
	_, err = p.run(ctx, to, "", "pg_upgrade", args...) // in the data folder, where it may write and the guard finds it
	return err
}
