//go:build linux || darwin

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A benchmark that goes on after its recording was interrupted disturbs whatever is
// measured next. This one holds a lock for as long as it lives.
func TestInterruptedRecordingEndsItsBenchmarks(t *testing.T) {
	dir, out := smallRepository(t), t.TempDir()
	name := filepath.Join(out, "lock")
	write(t, dir, "long_test.go", strings.ReplaceAll(`package small

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func BenchmarkRowOfAMinute(b *testing.B) {
	f, err := os.Create("FILE")
	if err != nil || syscall.Flock(int(f.Fd()), syscall.LOCK_EX) != nil || os.WriteFile("FILE.held", nil, 0o600) != nil {
		b.Fatal(err)
	}
	time.Sleep(time.Minute)
}
`, "FILE", name))
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1)
	go func() {
		r := recording{root: dir, out: out, bench: "RowOfAMinute", benchtime: "1x", count: 1, suites: []suite{{module: ".", pkg: "."}}, progress: &strings.Builder{}}
		_, err := r.run(ctx)
		ended <- err
	}()
	for begun := false; !begun; {
		select {
		case err := <-ended:
			t.Fatalf("it ended before it began: %v", err)
		case <-time.After(10 * time.Millisecond):
			_, err := os.Stat(name + ".held")
			begun = err == nil
		}
	}
	interrupt()
	late := time.After(30 * time.Second)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it says that it is complete")
		}
	case <-late:
		t.Fatal("it waits for a benchmark of a minute")
	}
	lock, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		select {
		case <-late:
			t.Fatal("the benchmark still runs")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
