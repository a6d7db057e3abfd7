package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/internal/snapshot"
)

func crc(prefix string, rest []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(append([]byte(prefix), rest...), crc32.MakeTable(crc32.Castagnoli)))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) *snapshot.File {
	t.Helper()
	f, err := snapshot.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func read(t testing.TB, f *snapshot.File) string {
	t.Helper()
	raw, err := f.Read()
	must(t, err)
	return string(raw)
}

func names(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	found, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range found {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestAFileIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "s"))
	if raw, err := f.Read(); raw != nil || err != nil {
		t.Errorf("%q, %v", raw, err)
	}
	for _, text := range []string{"one", "two, which is longer", ""} {
		must(t, f.Write([]byte(text)))
		if got := read(t, f); got != text {
			t.Errorf("%q", got)
		}
	}
	must(t, f.Probe(1<<20))
	if got := names(t, dir); got != "s s.lock" {
		t.Errorf("the folder holds %s", got)
	}
	must(t, f.PutAside())
	must(t, f.PutAside()) // nothing to be done
	if got := names(t, dir); got != "s.bad s.lock" {
		t.Errorf("the folder holds %s", got)
	}
}

// Of two owners the second is told, also within one process, until the first
// gives the file up.
func TestAFileHasOneOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f := open(t, path)
	if _, err := snapshot.Open(path); !errors.Is(err, snapshot.ErrLocked) {
		t.Errorf("%v", err)
	}
	must(t, f.Close())
	open(t, path)
}

// What a killed owner left half written is gone once somebody owns the file.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "s"), []byte("whole"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "s.tmp"), []byte("ha"), 0o600))
	f := open(t, filepath.Join(dir, "s"))
	if got := names(t, dir); got != "s s.lock" || read(t, f) != "whole" {
		t.Errorf("the folder holds %s", got)
	}
}

// A write that fails leaves the file before it, and works again afterwards.
func TestAFailedWriteLeavesTheOneBefore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	must(t, os.Mkdir(dir, 0o700))
	f := open(t, filepath.Join(dir, "s"))
	must(t, f.Write([]byte("one")))
	must(t, os.Mkdir(filepath.Join(dir, "s.tmp"), 0o700)) // in its way
	must(t, os.WriteFile(filepath.Join(dir, "s.tmp", "x"), nil, 0o600))
	if err := f.Write([]byte("two")); err == nil || strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if f.Probe(1) == nil {
		t.Error("the probe saw nothing")
	}
	if got := read(t, f); got != "one" {
		t.Errorf("%q", got)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "s.tmp")))
	must(t, f.Write([]byte("two")))
	if got := read(t, f); got != "two" {
		t.Errorf("%q", got)
	}
}

func TestPathsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for path, want := range map[string]string{
		dir:                             "no regular file",
		filepath.Join(dir, "no", "s"):   "no such file",
		filepath.Join(dir, "file", "s"): "not a directory",
	} {
		f, err := snapshot.Open(path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

// A file larger than any snapshot is not taken into memory.
func TestAHugeFileIsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f := open(t, path)
	must(t, os.WriteFile(path, nil, 0o600))
	if err := os.Truncate(path, snapshot.MaxSize+1); err != nil {
		t.Fatal(err) // sparse: it costs no disk
	}
	if _, err := f.Read(); !errors.Is(err, snapshot.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

func BenchmarkWrite1000(b *testing.B) {
	f := open(b, filepath.Join(b.TempDir(), "s"))
	s := many(1000)
	b.ReportAllocs()
	for b.Loop() {
		must(b, f.Write(encode(b, s, nil)))
	}
	if raw, err := f.Read(); err != nil || !bytes.HasPrefix(raw, []byte("fastopt-snapshot ")) {
		b.Error(err)
	}
	if _, err := os.Stat(f.Path() + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		b.Error(err)
	}
}
