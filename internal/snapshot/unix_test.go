//go:build unix

package snapshot_test

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fastopt/fastopt-go/internal/snapshot"
)

// The owner reads and writes it, nobody else, whatever the umask.
func TestOnlyTheOwnerReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f := open(t, path)
	for _, mask := range []int{0, 0o022, 0o777} {
		old := syscall.Umask(mask)
		err := f.Write([]byte("x"))
		syscall.Umask(old)
		must(t, err)
		is, err := os.Stat(path)
		must(t, err)
		if is.Mode() != 0o600 {
			t.Errorf("umask %03o: mode %v", mask, is.Mode())
		}
	}
}

// A link is not followed: neither one in the place of the file, nor one that
// somebody laid where it is written first.
func TestLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	prey, path := filepath.Join(dir, "prey"), filepath.Join(dir, "s")
	must(t, os.WriteFile(prey, []byte("precious"), 0o600))
	must(t, os.Symlink(prey, path))
	if f, err := snapshot.Open(path); err == nil {
		t.Error("a link was taken for the file")
		f.Close()
	}
	must(t, os.Remove(path))
	f := open(t, path)
	must(t, os.Symlink(prey, path+".tmp"))
	must(t, f.Write([]byte("mine")))
	if text, err := os.ReadFile(prey); string(text) != "precious" {
		t.Errorf("it was written to: %q, %v", text, err)
	}
}

const fullEnv = "FASTOPT_SNAPSHOT_FULL" // the path that a process writes which may have no file of more than 4 KiB

// A disk that is full (here: a limit, which a process sets itself) is said by
// the probe and by each write, and costs nothing that is there.
func TestAFullDiskIsSaid(t *testing.T) {
	if path := os.Getenv(fullEnv); path != "" {
		writeWithoutRoom(t, path)
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	f := open(t, path)
	must(t, f.Write([]byte("one")))
	must(t, f.Close())
	binary, err := os.Executable()
	must(t, err)
	child := exec.CommandContext(t.Context(), binary, "-test.run=^TestAFullDiskIsSaid$")
	child.Env = append(os.Environ(), fullEnv+"="+path)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := names(t, dir); got != "s s.lock" {
		t.Errorf("the folder holds %s", got)
	}
}

func writeWithoutRoom(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4 << 10, Max: 4 << 10}))
	f := open(t, path)
	must(t, f.Probe(4<<10))
	if err := f.Probe(4<<10 + 1); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("the probe: %v", err)
	}
	if err := f.Write(make([]byte, 1<<20)); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("the write: %v", err)
	}
	if got := read(t, f); got != "one" {
		t.Errorf("%.10q", got)
	}
}

// Who removes the lock file, as what tidies temporary folders does, takes the lock
// with it. Its owner notices before it writes, and takes it anew or gives way.
func TestALostLockIsTakenAnewOrGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := open(t, path)
	must(t, os.Remove(path+".lock"))
	must(t, first.Write([]byte("one")))
	if _, err := snapshot.Open(path); !errors.Is(err, snapshot.ErrLocked) {
		t.Errorf("after a write it is owned again: %v", err)
	}
	must(t, os.Remove(path+".lock"))
	second := open(t, path)
	must(t, second.Write([]byte("two")))
	for range 2 {
		if err := first.Write([]byte("three")); !errors.Is(err, snapshot.ErrLocked) {
			t.Errorf("two wrote one file: %v", err)
		}
	}
	if got := read(t, second); got != "two" {
		t.Errorf("%q", got)
	}
	must(t, second.Close())
	must(t, first.Write([]byte("three")))
}

// A folder that is removed, and made again by somebody, is written to again, and
// owned again.
func TestAFolderMayComeBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	must(t, os.Mkdir(dir, 0o700))
	f := open(t, filepath.Join(dir, "s"))
	must(t, os.RemoveAll(dir))
	if err := f.Write([]byte("one")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	must(t, os.Mkdir(dir, 0o700))
	must(t, f.Write([]byte("two")))
	if _, err := snapshot.Open(f.Path()); !errors.Is(err, snapshot.ErrLocked) {
		t.Errorf("%v", err)
	}
}

const blindEnv = "FASTOPT_SNAPSHOT_BLIND" // the path that a process writes which may not read its folder

// In a folder that may be written and not read a file is replaced all the same, and
// nobody is told that it was not.
func TestAFolderNeedNotBeReadable(t *testing.T) {
	if path := os.Getenv(blindEnv); path != "" {
		f := open(t, path)
		must(t, f.Probe(1))
		must(t, f.Write([]byte("one")))
		if got := read(t, f); got != "one" {
			t.Errorf("%q", got)
		}
		return
	}
	dir, err := os.MkdirTemp("", "blind") // that of t nobody else may enter
	must(t, err)
	defer os.RemoveAll(dir)
	binary, err := os.Executable()
	must(t, err)
	child := exec.CommandContext(t.Context(), binary, "-test.run=^TestAFolderNeedNotBeReadable$")
	child.Env = append(os.Environ(), blindEnv+"="+filepath.Join(dir, "s"))
	if os.Geteuid() == 0 { // whom modes do not hold back
		const nobody = 65534
		must(t, os.Chown(dir, nobody, nobody))
		copied := filepath.Join(dir, "test")
		text, err := os.ReadFile(binary)
		must(t, err)
		must(t, os.WriteFile(copied, text, 0o755))
		child.Path, child.Dir = copied, dir
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	must(t, os.Chmod(dir, 0o300))
	defer os.Chmod(dir, 0o700)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
