package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Propagation is measured by one option of its own, written a few times a
// second, more seldom than pushes of one key are coalesced, and watched in every process: from the start of a write until a watcher of another
// process is told. While all is healthy it has to be within a second of the
// acknowledgement (I5b), plus the lag of timers here.

const (
	spreadEvery = 150 * time.Millisecond
	spreadBound = time.Second
)

// A spread is a write on its way to the watchers.
type spread struct {
	number     uint32
	process    int
	start, end int64  // end: of the Set; 0 while it runs
	turn       uint64 // of the weather, when it began; calm then
	heard      []bool // by process
}

type propagation struct {
	mu    sync.Mutex
	list  []*spread // guarded by mu: oldest first
	heard histogram // guarded by mu: ns
}

// missed is a write that a process was not told in time.
type missed struct {
	process int
	spread  *spread
}

// begin notes a write that begins. The writing process needs no news.
func (s *propagation) begin(number uint32, process, processes int, now int64, turn uint64) *spread {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := &spread{number: number, process: process, start: now, turn: turn, heard: make([]bool, processes)}
	sp.heard[process] = true
	s.list = append(s.list, sp)
	return sp
}

// end notes its acknowledgement, or forgets it.
func (s *propagation) end(sp *spread, ok bool, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		sp.end = now
		return
	}
	for i := range sp.heard {
		sp.heard[i] = true
	}
}

// hear notes that a process was told of a number, and so of all before it. Only
// what happened in one calm is measured.
func (s *propagation) hear(process int, number uint32, now int64, turn uint64, calm bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sp := range s.list {
		if sp.number <= number && !sp.heard[process] {
			sp.heard[process] = true
			if calm && sp.turn == turn {
				s.heard.add(now - sp.start)
			}
		}
	}
}

// judge drops what has arrived everywhere, or began before the weather turned,
// and returns what is late.
func (s *propagation) judge(now, lag int64, turn uint64, calm bool) []missed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var late []missed
	keep := s.list[:0]
	for _, sp := range s.list {
		waits, overdue := false, sp.end != 0 && now > sp.end+int64(spreadBound)+lag
		for p, heard := range sp.heard {
			if heard {
				continue
			}
			waits = true
			if overdue && calm && sp.turn == turn {
				late = append(late, missed{p, sp})
			}
		}
		if waits && !overdue && calm && sp.turn == turn {
			keep = append(keep, sp)
		}
	}
	clear(s.list[len(keep):])
	s.list = keep
	return late
}

// spreadLoop writes the measured option.
func (r *run) spreadLoop(ctx context.Context, w *writer) {
	rnd := rand.New(rand.NewPCG(r.conf.seed, 2))
	for ctx.Err() == nil {
		pause(ctx, spreadEvery)
		k := r.measured
		if k.inDoubt.Load() {
			continue
		}
		p := rnd.IntN(len(r.slots))
		turn, calm := r.weather.calm()
		var sp *spread
		if calm {
			next := k.last(func(*write) bool { return true }).number + 1
			sp = r.spread.begin(next, p, len(r.slots), r.now(), turn)
		}
		out := w.write(k, p, false)
		if sp != nil {
			r.spread.end(sp, out == acked, r.now())
		}
	}
}

// watchLoop follows the measured option in slot i, whatever process runs there.
func (r *run) watchLoop(ctx context.Context, i int) {
	for ctx.Err() == nil {
		if p := r.hold(i); p != nil {
			r.release(p) // Close ends the watch
			r.watch(ctx, p)
		}
		pause(ctx, breathEvery)
	}
}

// watch follows it in p. It has a floor of its own: what it is given may be older
// than what others have read meanwhile.
func (r *run) watch(ctx context.Context, p *process) {
	k := r.measured
	var own cell
	own.word.Store(uint64(unwritten))
	before := r.weather.now.Load()
	for got := range p.options[k.index].Watch(ctx) {
		turn, calm := r.weather.calm()
		rd := read{value: got.Value, floor: own.floor(), before: before, after: r.weather.now.Load(), relaxed: p.board.excuses()}
		before = rd.after
		r.deep.Add(1)
		if r.deaf == nil || !r.deaf(p.index) {
			n, _ := openValue(got.Value, k.hash)
			r.spread.hear(p.index, n, r.now(), turn, calm)
		}
		r.blame(k.judge(&own, rd), p, k, "Watch")
	}
}

// judgeSpread reports what did not arrive in time.
func (r *run) judgeSpread(now, lag int64) {
	turn, calm := r.weather.calm()
	calm = calm && !r.starved(lag)
	for _, m := range r.spread.judge(now, lag, turn, calm) {
		r.violate(notSpread, m.process, r.measured, fmt.Sprintf("write %d of process %d, acknowledged %v ago, is not known here",
			m.spread.number, m.spread.process, time.Duration(now-m.spread.end).Round(time.Millisecond)))
	}
}
