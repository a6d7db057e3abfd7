package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// Readers read options at full speed, in batches, and verify every value. Of a
// batch only the reads are timed, and in the same way, right after them, as many
// bare loads of atomic pointers to entries of the same size: the control.
//
// A reader hands its processor over between batches, and lets it fall idle for
// a moment every few milliseconds: else what one measures is how late Go's
// scheduler looks at the network, and not the library. On a machine with few
// processors a reader at full speed makes timers late for all, and what goes by
// the clock cannot be judged: -duty has it rest.

const (
	batch       = 1000
	breathEvery = 4 * time.Millisecond
	breath      = 50 * time.Microsecond
	longestRest = 20 * time.Millisecond
)

// A reader is one goroutine.
type reader struct {
	run   *run
	first int // process to begin with

	reads    atomic.Int64 // verified; read by the progress line
	excused  int64        // defaults that a fault excused
	healthy  histogram    // ns per batch
	faulty   histogram    // … while a fault is at work, or is being recovered from
	controls histogram
	_        [64]byte // the next reader's counter
}

// A control has the shape of a handle and points to what has the shape of an
// entry.
type control struct {
	current atomic.Pointer[controlEntry]
	_       *int
}

type controlEntry struct {
	value string
	_     *int
}

// newControls makes n of them, scattered over memory as handles are in time.
func newControls(n int) []*control {
	cs := make([]*control, n)
	for _, i := range rand.Perm(n) {
		cs[i] = new(control)
	}
	for _, i := range rand.Perm(n) {
		cs[i].current.Store(&controlEntry{value: newValue(0, uint32(i), 0, 0)})
	}
	return cs
}

func (r *reader) loop(ctx context.Context) {
	keys := r.run.options
	var controls [][]*control // a process each, so that as many different addresses are read
	for range r.run.slots {
		controls = append(controls, newControls(len(keys)))
	}
	var floors [batch]floor
	var values, bare [batch]string
	at, p, breathed := 0, r.first, time.Now()
	for ctx.Err() == nil {
		p = (p + 1) % len(r.run.slots)
		proc := r.run.hold(p)
		if proc == nil {
			pause(ctx, breath)
			continue
		}
		cells, handles := proc.board.cells[:len(keys)], proc.options[:len(keys)]
		relaxed := proc.board.excuses()
		before := r.run.weather.now.Load()
		for i, j := 0, at; i < batch; i++ {
			floors[i] = cells[j].floor()
			if j++; j == len(keys) {
				j = 0
			}
		}
		t0 := time.Now()
		readAll(handles, at, &values)
		t1 := time.Now()
		loadAll(controls[p], at, &bare)
		t2 := time.Now()
		after := r.run.weather.now.Load()
		r.verify(proc, at, &floors, &values, read{before: before, after: after, relaxed: relaxed})
		r.run.release(proc)
		r.reads.Add(batch)
		if before == after && before.healthy {
			r.healthy.add(int64(t1.Sub(t0)))
		} else {
			r.faulty.add(int64(t1.Sub(t0)))
		}
		r.controls.add(int64(t2.Sub(t1)))
		at = (at + batch) % len(keys)
		switch {
		case r.run.conf.duty < 100:
			pause(ctx, r.rest(time.Since(t0)))
		case t2.Sub(breathed) > breathEvery:
			pause(ctx, breath)
			breathed = time.Now()
		default:
			runtime.Gosched()
		}
	}
}

// rest is how long a reader pauses after a batch that took so long.
func (r *reader) rest(took time.Duration) time.Duration {
	duty := time.Duration(r.run.conf.duty)
	return min(took*(100-duty)/duty, longestRest)
}

// readAll and loadAll differ in what they read alone. Neither may be inlined: the
// compiler would see that nobody looks at what loadAll gives, and drop it.

//go:noinline
func readAll(from []*fastopt.Option[string], at int, into *[batch]string) {
	for i := range into {
		into[i] = from[at].Get()
		if at++; at == len(from) {
			at = 0
		}
	}
}

//go:noinline
func loadAll(from []*control, at int, into *[batch]string) {
	for i := range into {
		into[i] = from[at].current.Load().value
		if at++; at == len(from) {
			at = 0
		}
	}
}

// verify checks the values of a batch of process p, from option at on; rd is what
// they have in common.
func (r *reader) verify(p *process, at int, floors *[batch]floor, values *[batch]string, rd read) {
	keys := r.run.options
	plain := !rd.before.strict && r.run.shim == nil
	for i := range values {
		k := keys[at]
		if at++; at == len(keys) {
			at = 0
		}
		if plain {
			if n, f := openValue(values[i], k.hash); f == whole && floors[i].holds(n) {
				continue
			}
		}
		v := r.run.given(p.index, k, values[i])
		rd.value, rd.floor = v, floors[i]
		if bad := k.judge(&p.board.cells[k.index], rd); bad != nil {
			r.run.violate(bad.kind, p.index, k, bad.text)
		} else if v == k.fallback && !floors[i].deleted() {
			r.excused++
		}
	}
}
