package peers

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/passes"
)

// Workloads do what their names say, whatever the lengths of the passes.

// A tally counts what is asked of a store.
type tally struct {
	Store
	reads, sets, invalidated int
}

func (s *tally) Sum(ask Ask) int                   { s.reads += len(ask.At); return 0 }
func (s *tally) Walk(_ []string, at, n int) int    { s.reads += n; return at }
func (s *tally) Set(int, string, int) error        { s.sets++; return nil }
func (s *tally) Invalidate(at int, _ string) error { s.invalidated++; return nil }

// lengths of passes, 100,000 operations in all.
var lengths = []int{1, 2, 3, 994, 9_000, 20_000, 70_000}

func TestWorkloadsMakeAsManyOperationsAsTheyAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		name        string
		prepare     preparation
		reads, sets int
	}{
		{"in order", inOrder(Uniform, 1<<10), 100_000, 0},
		{"in chain", inChain, 100_000, 0},
		{"one write in ten", mixed(10), 90_000, 10_000},
		{"one write in a thousand", mixed(1000), 99_900, 100},
		{"by request", byRequest, 100_000 * RequestSize, 0},
	} {
		s := new(tally)
		r := c.prepare(100)(s)
		for _, n := range lengths {
			r.do(n)
		}
		if s.reads != c.reads || s.sets != c.sets {
			t.Errorf("%s: %d reads and %d writes, want %d and %d", c.name, s.reads, s.sets, c.reads, c.sets)
		}
	}
}

// Changes beside short passes keep the pace, too: none is made for the mere
// reason that a pass begins, and the rest goes on from pass to pass.
func TestChangesKeepTheirPace(t *testing.T) {
	reader := passes.Rival(func(int) {
		for end := time.Now().Add(time.Millisecond); time.Now().Before(end); {
		}
	})
	r := new(rival)
	do := r.beside(reader, time.Hour, func() { t.Error("a change within the hour") })
	for range 20 {
		do(1)
	}
	r, changes := new(rival), 0
	do = r.beside(reader, 300*time.Millisecond, func() { changes++ })
	for end := time.Now().Add(10 * time.Second); changes == 0; do(1) {
		if time.Now().After(end) {
			t.Fatal("no change in passes that are shorter than the rest")
		}
	}
	if got := int(r.changes.Load()); got != changes {
		t.Errorf("%d changes, %d counted", changes, got)
	}
}
