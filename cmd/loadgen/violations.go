package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Violations are counted by kind and kept, up to a few, with the last writes of
// the key; the run goes on.
type violations struct {
	total atomic.Int64

	mu     sync.Mutex
	counts [kinds]int      // guarded by mu
	shown  [kinds]int      // guarded by mu: how many of them are kept
	kept   []string        // guarded by mu
	told   map[string]bool // guarded by mu: of each kept one, what it says
}

const (
	maxKept    = 20
	maxPerKind = 5 // so that one kind does not hide the others
)

// first is the first one, in words.
func (v *violations) first() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.kept) == 0 {
		return ""
	}
	return v.kept[0]
}

// add records one. k may be nil; weather is what was broken.
func (v *violations) add(now int64, what kind, process int, k *key, weather string, text string) {
	v.total.Add(1)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts[what]++
	same := fmt.Sprint(what, process, text)
	if k != nil {
		same += k.name
	}
	if v.told[same] || v.shown[what] == maxPerKind || len(v.kept) >= maxKept {
		return
	}
	if v.told == nil {
		v.told = map[string]bool{}
	}
	v.told[same] = true
	v.shown[what]++
	if weather == "" {
		weather = "no fault"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v at %v (%s)", what, time.Duration(now).Round(time.Millisecond), weather)
	if process >= 0 {
		fmt.Fprintf(&b, ", process %d", process)
	}
	if k != nil {
		fmt.Fprintf(&b, ", %s", k.name)
	}
	fmt.Fprintf(&b, ": %s", text)
	if k != nil {
		for _, w := range k.recent(6) {
			fmt.Fprintf(&b, "\n        %v", w)
		}
	}
	v.kept = append(v.kept, b.String())
}

func (v *violations) count(k kind) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts[k]
}

func (w write) String() string {
	op := "set"
	if w.deleted {
		op = "delete"
	}
	at := func(ns int64) string { return fmt.Sprintf("%.3fs", time.Duration(ns).Seconds()) }
	s := fmt.Sprintf("write %d: %s by process %d, %s", w.number, op, w.process, at(w.start))
	if w.end != 0 {
		s += " to " + at(w.end)
	}
	s += ", " + w.outcome.String()
	if w.outcome == acked {
		s += fmt.Sprintf(", stamp %v, cached %v", w.stamp, w.cached)
	}
	return s
}
