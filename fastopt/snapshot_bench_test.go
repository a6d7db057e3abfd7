package fastopt

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// What writing the snapshot of a thousand options costs, off the read path: look
// at all entries, encode them, and bring the file to the disk.
func BenchmarkSnapshotOf1000(b *testing.B) {
	var r Registry
	for i := range 1000 {
		New(&r, fmt.Sprintf("service.option.%d", i), i)
	}
	m, err := Open(context.Background(), Config{Source: memory.NewSource(), Snapshot: filepath.Join(b.TempDir(), "s")}, &r)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	for i, k := range m.keys {
		if _, err := k.set(context.Background(), i+1, nil); err != nil {
			b.Fatal(err)
		}
	}
	file, err := snapshot.Open(filepath.Join(b.TempDir(), "another")) // the manager's own is the writer's
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	s := &snapshots{m: m, file: file}
	for name, write := range map[string]func(){
		"look":  func() { s.collect() },
		"write": func() { s.write(context.Background(), true) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				write()
			}
			if s.failures.Load() > 0 {
				b.Fatal("it could not be written")
			}
		})
	}
}
