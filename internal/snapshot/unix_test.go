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
