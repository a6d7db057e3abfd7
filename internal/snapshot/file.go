package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/gofrs/flock"
)

// The file: one owner at a time, and replaced whole or not at all. What is
// written goes beside it, to the disk, and only then takes its name, so that a
// crash, at whatever instant, leaves the newest or the one before. The lock is
// the kernel's: it ends with the process, however that ends.

// ErrLocked: another process, or another part of this one, owns the file.
var ErrLocked = errors.New("another process, or another manager of this one, uses it: give each a path of its own")

// mode lets the owner alone read.
const mode = 0o600

// A File is a path that this process owns. Its methods are not safe for
// concurrent use.
type File struct {
	path string
	lock *flock.Flock
}

// Open takes path for this process, and removes what a killed owner left half
// written. It does not wait. ErrLocked: somebody owns it. Beside path it uses
// path+".lock", ".tmp" and ".bad". The folder must exist.
func Open(path string) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, lock: flock.New(path+".lock", flock.SetPermissions(mode))}
	if is, err := os.Lstat(path); err == nil && !is.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if err := f.own(); err != nil {
		return nil, err
	}
	if err := os.Remove(f.temp()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("cannot remove what an earlier process left: %w", bare(err)), f.Close())
	}
	return f, nil
}

// own returns nil if the path is this process' own. Whoever tidies up may have
// removed the lock file, and with it the lock, which somebody else can have
// taken by now: then it is taken anew.
func (f *File) own() error {
	if f.lock.Locked() {
		has, err := f.lock.Stat()
		is, missing := os.Lstat(f.lock.Path())
		if err == nil && missing == nil && os.SameFile(has, is) {
			return nil
		}
		if err := f.lock.Close(); err != nil {
			return err
		}
	}
	switch ok, err := f.lock.TryLock(); {
	case err != nil:
		return fmt.Errorf("cannot lock %s.lock: %w", filepath.Base(f.path), bare(err))
	case !ok:
		return ErrLocked
	}
	return nil
}

// Close gives the path up. The lock file stays: who removed it could take the
// lock of another.
func (f *File) Close() error { return f.lock.Close() }

// Path is absolute.
func (f *File) Path() string { return f.path }

// Read returns the bytes of the file; nil if there is none. ErrDamaged: it is
// larger than any snapshot.
func (f *File) Read() ([]byte, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, bare(err)
	}
	defer file.Close()
	if is, err := file.Stat(); err == nil && is.Size() > MaxSize {
		return nil, ErrDamaged
	}
	raw, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	switch {
	case err != nil:
		return nil, bare(err)
	case len(raw) > MaxSize:
		return nil, ErrDamaged
	}
	return raw, nil
}

// Write replaces the file by raw. After an error the one before is still there, but
// after one of the disk that has the new name. ErrLocked: the lock was lost, and
// somebody else has it.
func (f *File) Write(raw []byte) error {
	if err := f.own(); err != nil {
		return err
	}
	err := f.beside(func(w io.Writer) error { _, err := w.Write(raw); return err })
	if err == nil {
		err = os.Rename(f.temp(), f.path)
	}
	if err != nil {
		os.Remove(f.temp())
		return bare(err)
	}
	return syncFolder(filepath.Dir(f.path))
}

// Probe reports whether n bytes could be written now.
func (f *File) Probe(n int64) error {
	err := f.beside(func(w io.Writer) error { _, err := io.CopyN(w, zeros{}, n); return err })
	return bare(errors.Join(err, ignoreMissing(os.Remove(f.temp()))))
}

// PutAside renames the file to path+".bad", for people to look at, in place of
// one that was put there earlier. Without a file it does nothing.
func (f *File) PutAside() error { return bare(ignoreMissing(os.Rename(f.path, f.path+".bad"))) }

func (f *File) temp() string { return f.path + ".tmp" }

// beside creates the temporary file, has it filled, and brings it to the disk.
func (f *File) beside(fill func(io.Writer) error) error {
	if err := ignoreMissing(os.Remove(f.temp())); err != nil {
		return err
	}
	// Exclusive: a link that somebody laid there is not followed.
	file, err := os.OpenFile(f.temp(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = file.Chmod(mode) // whatever the umask
	if err == nil {
		err = fill(file)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// syncFolder brings the names in a folder to the disk. Where that cannot be asked
// for, since the folder may not be read or its file system has no such call, the
// file has its new name all the same: a power cut may bring the one before.
func syncFolder(name string) error {
	if runtime.GOOS == "windows" {
		return nil // there is no such call: its file system keeps the order
	}
	dir, err := os.Open(name)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	for _, cannot := range []error{fs.ErrPermission, errors.ErrUnsupported, syscall.EINVAL} {
		if errors.Is(err, cannot) {
			return nil
		}
	}
	return bare(err)
}

// bare is err without the path, which whoever reports it names once.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
