//go:build unix

// The temporary folder of a server: "log" is what it printed, "data" is its
// working directory. Postgres refuses to run as root, so the folder belongs to
// the user who runs the server, and that user must be able to reach it.

package servers

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An account is a user that runs a server; nil means the one we are.
type account struct{ uid, gid int }

// unprivileged returns the user to run postgres as: nil unless we are root.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &account{uid: uid, gid: gid}, nil
	}
	return nil, errors.New("postgres does not run as root, and there is neither a user postgres nor nobody")
}

// attr makes a process run as the account. Root's further groups do not go along.
func (a *account) attr() *syscall.SysProcAttr {
	if a == nil {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}}
}

// newFolder creates a folder of the account with an empty data folder in it.
func newFolder(name string, a *account) (dir string, err error) {
	parent, err := filepath.EvalSymlinks(temporary()) // the guard compares real paths
	if err != nil {
		return "", fmt.Errorf("temporary folder: %w", err)
	}
	if a != nil && !reachable(parent) {
		parent = "/tmp"
	}
	dir, err = os.MkdirTemp(parent, "fastopt-"+name+"-*")
	if err != nil {
		return "", fmt.Errorf("temporary folder: %w", err)
	}
	data := filepath.Join(dir, "data")
	err = os.Mkdir(data, 0o700)
	for _, d := range []string{data, dir} {
		if err == nil && a != nil {
			err = os.Chown(d, a.uid, a.gid)
		}
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("temporary folder: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

// temporary returns the folder for temporary ones: $TMPDIR if set, else memory
// where there is plenty, else the usual one. A thousand files come and go with
// each postgres, and ext4 searches ever longer for inodes that were not deleted a
// moment ago: 1.1 s a copy on disk, 0.1 s in memory, measured after twenty.
func temporary() string {
	const memory = "/dev/shm"
	if os.Getenv("TMPDIR") == "" && freeMemory(memory) >= 2<<30 {
		return memory
	}
	return os.TempDir()
}

// reachable reports whether everyone may pass through dir and all above it.
func reachable(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
