package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Bugs that are planted between handle and checker: each makes of a value that
// the library gave what a broken library might have given. What a reader saw
// before is kept per process and key.

// A plant is one such bug and what it must be reported as.
type plant struct {
	name string
	want kind
	sow  func(*run)
}

// plantDelay is when planted bugs begin: everything was written by then.
const plantDelay = 300 * time.Millisecond

func plants() []plant {
	return []plant{
		{"stale value", tooStale, func(r *run) { shimmed(staleValue)(r); r.writeFrom = 1 }},
		{"value from before", older, shimmed(valueFromBefore)},
		{"own write forgotten", ownLost, shimmed(ownForgotten)},
		{"torn value", tornValue, shimmed(tornHalves)},
		{"number never issued", invented, shimmed(neverIssued)},
		{"another key's value", invented, shimmed(anotherKeys)},
		{"value of a failed write", failedWrite, shimmed(failedValue)},
		{"resurrected delete", resurrected, shimmed(undeleted)},
		{"default without reason", noReason, shimmed(defaulted)},
		{"value past its grace", pastGrace, shimmed(immortal)},
		{"lost propagation", notSpread, func(r *run) { r.deaf = func(p int) bool { return p == 0 } }},
		{"lost write", lostWrite, func(r *run) { r.stores = forgetful{r.stores} }},
		{"budget overspent", overBudget, func(r *run) { r.poursTimes = 50 }},
		{"a line per read", tooLoud, chatty},
		{"write that dawdles", tooSlow, func(r *run) { r.dawdles = 3 * time.Second }},
		{"ready during an outage", wrongReady, func(r *run) { r.pretends = true }},
		{"snapshot not read", notRestored, func(r *run) { r.forgetsSnapshot = true }},
		{"fault that does nothing", idleFault, func(r *run) {
			for i := range r.faults {
				r.faults[i].strike = func(context.Context) error { return nil }
			}
		}},
	}
}

// forgetful are stores whose source turns out to hold nothing in the end.
type forgetful struct{ stores }

func (forgetful) truth() tiers.Source { return memory.NewSource() }

// A memo is what a bug remembers, per process and key.
type memo struct {
	mu   sync.Mutex
	seen map[memoKey]string
}

type memoKey struct{ process, key int }

// swap remembers v and returns what was remembered, "" if nothing.
func (m *memo) swap(p int, k *key, v string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := memoKey{p, k.index}
	old := m.seen[at]
	m.seen[at] = v
	return old
}

// A bug returns what becomes of a value of process 0; m is its memory.
type bug func(r *run, m *memo, k *key, v string) string

func shimmed(b bug) func(*run) {
	return func(r *run) {
		m := &memo{seen: map[memoKey]string{}}
		r.shim = func(p int, k *key, v string) string {
			if p != 0 || r.now() < int64(plantDelay) {
				return v
			}
			return b(r, m, k, v)
		}
	}
}

// chatty logs whatever is read.
func chatty(r *run) {
	r.shim = func(p int, _ *key, v string) string {
		_ = r.slots[p].journal.Handle(context.Background(), slog.Record{Message: "read"})
		return v
	}
}

// staleValue gives what was read first, for ever.
func staleValue(_ *run, m *memo, k *key, v string) string {
	if old := m.swap(0, k, v); old != "" {
		m.swap(0, k, old)
		return old
	}
	return v
}

// valueFromBefore gives the last value once more, after the new one was seen.
func valueFromBefore(_ *run, m *memo, k *key, v string) string {
	old := m.swap(0, k, v)
	if twice := m.swap(1, k, old); old == v && twice != "" && twice != v {
		return twice
	}
	return v
}

// ownForgotten gives what was there before the process wrote.
func ownForgotten(r *run, m *memo, k *key, v string) string {
	if r.oracle.board(0).cells[k.index].floor().cause() == byOwn {
		if old := m.swap(0, k, v); old != "" {
			m.swap(0, k, old)
			return old
		}
	}
	m.swap(0, k, v)
	return v
}

// tornHalves mixes two values.
func tornHalves(_ *run, m *memo, k *key, v string) string {
	if old := m.swap(0, k, v); old != "" && old != v {
		return old[:valueSize/2] + v[valueSize/2:]
	}
	return v
}

func neverIssued(r *run, _ *memo, k *key, _ string) string {
	return newValue(k.hash, 1_000_000, 0, r.now()/1000)
}

func anotherKeys(r *run, _ *memo, k *key, _ string) string {
	return r.options[(k.index+1)%len(r.options)].fallback
}

// failedValue gives what a refused write would have set.
func failedValue(_ *run, _ *memo, k *key, v string) string {
	w := k.last(func(w *write) bool { return w.outcome == refused && !w.deleted })
	if n, _ := openValue(v, k.hash); w.number > n {
		return w.value
	}
	return v
}

// undeleted gives the last value in place of a default.
func undeleted(_ *run, m *memo, k *key, v string) string {
	old := m.swap(0, k, v)
	if v == k.fallback && old != "" && old != v {
		m.swap(1, k, old)
		return v // once, so that the default was seen
	}
	if v != k.fallback {
		m.swap(1, k, v)
		return v
	}
	if back := m.swap(1, k, ""); back != "" && old == v {
		return back
	}
	return v
}

func defaulted(_ *run, _ *memo, k *key, _ string) string { return k.fallback }

// immortal gives the last value for ever.
func immortal(_ *run, m *memo, k *key, v string) string {
	if v != k.fallback {
		m.swap(0, k, v)
		return v
	}
	if old := m.swap(0, k, ""); old != "" {
		m.swap(0, k, old)
		return old
	}
	return v
}
