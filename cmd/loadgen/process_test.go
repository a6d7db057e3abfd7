package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

func TestANewProcessHasNoFloorsUntilItIsWell(t *testing.T) {
	k := newKey(0, "a", "", graceful)
	o := newOracle([]*key{k}, 1)
	wr := k.issue(0, false, 0)
	k.settle(wr.number, acked, tiers.Stamp{Epoch: 1, Revision: 1}, true, 0)
	o.expect(due{key: k, number: 1})
	old := o.board(0)
	if got := old.cells[0].floor(); got != newFloor(1, false, byStale) {
		t.Fatalf("floor %d", got.number())
	}
	o.boards[0].Store(o.newBoard(nil))
	b := o.board(0)
	o.expect(due{key: k, number: 1})
	if got := b.cells[0].floor(); got != unwritten || !b.excuses() {
		t.Fatalf("before it is well: floor %d", got.number())
	}
	o.settle(0)
	if got := b.cells[0].floor(); got != newFloor(1, false, byStale) || b.excuses() {
		t.Fatalf("when it is well: floor %d", got.number())
	}
	kept := o.newBoard(old)
	if got := kept.cells[0].floor(); got != newFloor(1, false, bySnapshot) || kept.excuses() {
		t.Fatalf("with a snapshot: floor %d", got.number())
	}
	read := func(number uint32) read {
		return read{value: newValue(k.hash, number, 0, 0), floor: kept.cells[0].floor(), before: calm, after: calm}
	}
	if bad := k.judge(&kept.cells[0], read(0)); bad == nil || bad.kind != notRestored {
		t.Fatalf("the default in place of what the snapshot has: %v", bad)
	}
	if bad := k.judge(&kept.cells[0], read(1)); bad != nil {
		t.Fatal(bad.text)
	}
	if kept.forget([]int64{2 * second}, second); kept.cells[0].floor() == unwritten {
		t.Fatal("forgotten before its end")
	}
	kept.forget([]int64{2 * second}, 2*second)
	if bad := k.judge(&kept.cells[0], read(0)); bad != nil {
		t.Fatalf("the default in place of what is too old: %s", bad.text)
	}
}

func TestHistoriesArePruned(t *testing.T) {
	k := newKey(0, "a", "", graceful)
	const n = 1000
	for i := range int64(n) {
		w := k.issue(0, i == 10, i*second)
		outcome := acked
		if i == 20 {
			outcome = refused
		}
		k.settle(w.number, outcome, tiers.Stamp{Epoch: 1, Revision: uint64(w.number)}, true, i*second)
	}
	if got := len(k.writes); got > 120+2*pruneStep+pruneKeep {
		t.Errorf("%d writes are kept", got)
	}
	if w, ok := k.read(n); !ok || w.pruned || w.stamp.Revision != n {
		t.Errorf("the newest: %v, %v", w, ok)
	}
	if w, ok := k.read(21); !ok || !w.pruned || w.outcome != refused {
		t.Errorf("an old one that was refused: %v, %v", w, ok)
	}
	if _, ok := k.read(n + 1); ok {
		t.Error("one that was never issued is known")
	}
	if _, ok := k.readDelete(5); !ok {
		t.Error("a default after an old delete is not excused")
	}
	if _, ok := k.readDelete(n - 1); ok {
		t.Error("a default after no delete is")
	}
	if w := k.issue(0, false, n*second); w.number != n+1 {
		t.Errorf("the next is number %d", w.number)
	}
}

func TestNothingUndecidedIsPruned(t *testing.T) {
	k := newKey(0, "a", "", graceful)
	first := k.issue(0, false, 0)
	for i := range int64(1000) {
		w := k.issue(0, false, i*second)
		k.settle(w.number, acked, tiers.Stamp{}, true, i*second)
	}
	if w, ok := k.read(first.number); !ok || w.pruned {
		t.Error("a write under way was dropped")
	}
}

func TestRequestsBeyondTheBudgetOverflow(t *testing.T) {
	m := newMeter(&run{})
	now := time.Now()
	limit := budgets[optionLane].Burst + slackBurst
	for i := range limit {
		if bad := m.pour([]string{"a"}, now); bad != "" {
			t.Fatalf("request %d: %s", i+1, bad)
		}
	}
	if bad := m.pour([]string{familyName + "/x"}, now); bad != "" {
		t.Fatalf("a member of a family has a budget of its own: %s", bad)
	}
	later := now.Add(time.Second)
	for i := range int(budgets[optionLane].Rate + slackRate) {
		if bad := m.pour([]string{"a"}, later); bad != "" {
			t.Fatalf("request %d of the next second: %s", i+1, bad)
		}
	}
	if bad := m.pour([]string{"a"}, later); !strings.Contains(bad, "more than 20") {
		t.Fatalf("one more: %q", bad)
	}
}

func TestALineEachIsWorthAFault(t *testing.T) {
	r := &run{slots: []*slot{{}, {}}, weather: newTestWeather()}
	before := r.lines()
	log := slog.New(&r.slots[1].journal)
	for i := range linesPerFault {
		log.Warn(fmt.Sprint("line ", i), "option", "not shown", "tier", "cache")
	}
	log.Debug("nobody hears this")
	r.judgeLines("some fault", before, 1)
	if r.wrong() {
		t.Fatal(r.found.first())
	}
	log.Info("one more")
	begun := []loudness{before[0], {before[1].lines, before[1].begun - 1}}
	if r.judgeLines("some fault", begun, 1); r.wrong() {
		t.Fatalf("also if it began anew: %s", r.found.first())
	}
	r.judgeLines("some fault", before, 1)
	if got := r.found.first(); r.found.count(tooLoud) != 1 || !strings.Contains(got, "tier=cache") || strings.Contains(got, "not shown") {
		t.Fatalf("%d reports: %s", r.found.count(tooLoud), got)
	}
}

func TestWhatASnapshotGivesIsNeverFresh(t *testing.T) {
	k := history("s")
	got := fastopt.Reading[string]{Value: newValue(k.hash, 1, 0, 0), State: fastopt.Fresh, Origin: fastopt.Snapshot, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}}
	if bad := k.judgeReading(got, lives{ttl: second, usable: 2 * second}); bad == "" {
		t.Error("Fresh is right")
	}
	got.State = fastopt.Stale
	if bad := k.judgeReading(got, lives{ttl: second, usable: 2 * second}); bad != "" {
		t.Error(bad)
	}
}
