//go:build unix

// The template: an initialized data folder that each new postgres gets a copy
// of, since initdb takes most of a second. It stands in the user's cache, once
// per program and account, together with a listing of its files. A template that
// differs from its listing is built again. One that someone else could have
// written is never used: then each start pays for an initdb of its own.

package servers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

type template struct{ programs }

// The recipe is part of the template's name: change it, and templates are built
// anew.
var (
	initdbArgs = []string{"-N", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", superuser}
	initdbSQL  = "ALTER DATABASE postgres RENAME TO " + database // a further one is 300 files more to copy
)

// copyTo fills the empty folder data, which belongs to the account.
func (t template) copyTo(ctx context.Context, data string) error {
	place, err := t.place(ctx)
	if err != nil {
		return fmt.Errorf("postgres template: %w", err)
	}
	if place == "" {
		return t.build(ctx, data)
	}
	if !intact(place) {
		if err := t.install(ctx, place); err != nil {
			return fmt.Errorf("postgres template: %w", err)
		}
	}
	return t.copy(ctx, filepath.Join(place, "data"), data)
}

// place returns where the template stands or should stand; "" where no place is
// safe from others.
func (t template) place(ctx context.Context) (string, error) {
	version, err := exec.CommandContext(ctx, t.path("postgres"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask for the version: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil || !onlyOurs(cache) && os.MkdirAll(cache, 0o700) != nil {
		return "", nil
	}
	dir := filepath.Join(cache, "fastopt-servers")
	if err := os.MkdirAll(dir, 0o700); err != nil || !onlyOurs(cache) || !onlyOurs(dir) {
		return "", nil
	}
	recipe := sha256.Sum256(fmt.Appendf(nil, "%s %s %v %q %q", version, t.bin, t.account, initdbArgs, initdbSQL))
	return filepath.Join(dir, fmt.Sprintf("postgres-%x", recipe[:8])), nil
}

// onlyOurs reports whether dir is a folder that we alone may write to.
func onlyOurs(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// build makes a data folder in dir from nothing.
func (t template) build(ctx context.Context, dir string) error {
	if _, err := t.run(ctx, "/", "", "initdb", append([]string{"-D", dir}, initdbArgs...)...); err != nil {
		return err
	}
	if err := t.single(ctx, dir, initdbSQL); err != nil {
		return fmt.Errorf("name the database: %w", err)
	}
	return nil
}

// install builds the template elsewhere and moves it to its place as a whole, so
// that nobody sees half of one. Of several processes that do so at the same time
// the first one wins, and the others find its template intact.
func (t template) install(ctx context.Context, place string) (err error) {
	work, err := newFolder("initdb", t.account) // not the cache: the account may have no way into it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := t.build(ctx, filepath.Join(work, "data")); err != nil {
		return err
	}
	next, err := os.MkdirTemp(filepath.Dir(place), "new-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(next)) }()
	if err := t.copy(ctx, filepath.Join(work, "data"), filepath.Join(next, "data")); err != nil {
		return err
	}
	files, err := listing(next)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(next, "listing"), []byte(files), 0o600); err != nil {
		return err
	}
	return replace(next, place)
}

// replace moves next to place, away from which it moves what is there unless that
// is an intact template by now.
func replace(next, place string) error {
	for {
		err := os.Rename(next, place) // fails if there is a folder with something in it
		if err == nil || intact(place) {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
		old, err := os.MkdirTemp(filepath.Dir(place), "old-*")
		if err != nil {
			return err
		}
		err = os.Rename(place, filepath.Join(old, "broken"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, os.RemoveAll(old))
		}
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
}

// copy copies a data folder with owners and rights; cp shares the blocks of the
// files where the file system can.
func (p programs) copy(ctx context.Context, from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	out, err := exec.CommandContext(ctx, "cp", "-a", from+"/.", to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy a data folder: %w; it says: %s", err, tail(string(out)))
	}
	return nil
}

// intact reports whether a template is there and has all its files at full length.
func intact(place string) bool {
	want, err := os.ReadFile(filepath.Join(place, "listing"))
	if err != nil {
		return false
	}
	files, err := listing(place)
	return err == nil && files == string(want)
}

// listing names the files of a template's data folder, their sizes, rights and
// owners.
func listing(place string) (string, error) {
	var list strings.Builder
	err := filepath.WalkDir(filepath.Join(place, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size := info.Size()
		if d.IsDir() {
			size = 0 // the file system's affair
		}
		owner := -1
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = int(stat.Uid)
		}
		fmt.Fprintf(&list, "%s %v %d %d\n", strings.TrimPrefix(path, place), info.Mode(), size, owner)
		return nil
	})
	return list.String(), err
}
