package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// What processes log is counted: one line per change of state, not one per read
// or per option. A journal keeps the last lines to show, with what they say
// of tiers and errors alone.

// linesPerFault is how many lines of each process one fault is worth, from its
// beginning until all is well again.
const linesPerFault = 10

const linesKept = 4 * linesPerFault

// A journal is a slog.Handler.
type journal struct {
	mu    sync.Mutex
	lines int      // guarded by mu
	begun int      // guarded by mu: incarnations
	last  []string // guarded by mu
}

// Enabled is slog.Handler's.
func (j *journal) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle is slog.Handler's.
func (j *journal) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Level.String() + " " + rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "tier" || a.Key == "error" || a.Key == "doing" {
			line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		}
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines++
	if len(j.last) == linesKept {
		j.last = slices.Delete(j.last, 0, 1)
	}
	j.last = append(j.last, line)
	return nil
}

// WithAttrs is slog.Handler's; the attributes are not shown.
func (j *journal) WithAttrs([]slog.Attr) slog.Handler { return j }

// WithGroup is slog.Handler's.
func (j *journal) WithGroup(string) slog.Handler { return j }

// begin says that another incarnation of the process writes from now on.
func (j *journal) begin() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.begun++
}

// A loudness is how much a process has logged, and in how many incarnations.
type loudness struct{ lines, begun int }

func (j *journal) loudness() loudness {
	j.mu.Lock()
	defer j.mu.Unlock()
	return loudness{j.lines, j.begun}
}

// since shows the lines after the first n, as far as they are kept.
func (j *journal) since(n int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.last[len(j.last)-min(len(j.last), j.lines-n):], "\n        ")
}

// lines are those of each process so far.
func (r *run) lines() (ns []loudness) {
	for _, s := range r.slots {
		ns = append(ns, s.journal.loudness())
	}
	return ns
}

// judgeLines reports who has logged more since before than faults are worth.
// A process that begins anew meets them twice: as it was, and as it is. On a
// machine that is too slow lines are but shown.
func (r *run) judgeLines(names string, before []loudness, faults int) {
	for i, n := range r.lines() {
		met := faults * (1 + n.begun - before[i].begun)
		got, text := n.lines-before[i].lines, r.slots[i].journal.since(before[i].lines)
		if got > met*linesPerFault && !r.starved(r.lag.recent()) {
			r.found.add(r.now(), tooLoud, i, nil, names, fmt.Sprintf("%d lines of log, %d are enough:\n        %s", got, met*linesPerFault, text))
		}
		if each := (got + met - 1) / met; each > r.loudest {
			r.loudest, r.loudestOf, r.loudestText = each, names, text
		}
	}
}
