package main

import "sync"

// A committed write must be known everywhere TTL + L after its acknowledgement
// (I3), plus the lag of timers here. The clock of a write
//
//   - stands still while no tier that knows it answers: the source knows every
//     commit, the cache only what it took and has not lost since (I3b, I3c);
//   - starts anew when the cache comes back without it: until the source has
//     repaired it (within L), it may give a reader the old value, as if fresh.
//
// When the time is up, the floors of all processes rise to it, and any later
// read of something older is a violation.

// A due is a committed write that not everyone must know yet.
type due struct {
	key     *key
	number  uint32
	deleted bool
	base    int64 // its clock counts from here, ns since the run began
	cached  bool  // the cache knows it
	behind  bool  // the cache was away and will come back without it
}

// advance moves the clock of d to now and reports whether its time is up.
func (d *due) advance(now int64, e effects, allowed int64) bool {
	answers := !e.sourceOut || d.cached && !e.cacheOut
	switch {
	case !answers:
		d.base = now
	case d.behind && !e.cacheOut:
		d.base, d.behind = now, false
	}
	d.behind = d.behind || !d.cached && e.cacheOut
	return now-d.base > allowed
}

// lose notes that the cache has lost everything.
func (d *due) lose(now int64) { d.cached, d.base = false, now }

// dues are all of them.
type dues struct {
	oracle *oracle // immutable
	mu     sync.Mutex
	list   []due  // guarded by mu
	losses uint64 // guarded by mu: of the cache, as far as they were noted
}

// add starts the clock of a committed write.
func (ds *dues) add(k *key, w write, cached bool, now int64) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.list = append(ds.list, due{key: k, number: w.number, deleted: w.deleted, base: now, cached: cached})
}

// tick raises the floors whose time has come.
func (ds *dues) tick(now, lag int64, w *weather, allowed [classes]int64) {
	e, losses := w.look(now, lag)
	ds.mu.Lock()
	defer ds.mu.Unlock()
	lost := losses != ds.losses
	ds.losses = losses
	keep := ds.list[:0]
	for _, d := range ds.list {
		if lost {
			d.lose(now)
		}
		if d.advance(now, e, allowed[d.key.class]) {
			ds.oracle.expect(d)
		} else {
			keep = append(keep, d)
		}
	}
	clear(ds.list[len(keep):])
	ds.list = keep
}

// expect makes d the least that may be read. Get of a family's member promises
// less than Load, so only Load's floor rises there.
func (o *oracle) expect(d due) {
	f := newFloor(d.number, d.deleted, byStale)
	d.key.least.raise(f)
	if d.key.class == member {
		return
	}
	for p := range o.boards {
		if b := o.board(p); b.settled.Load() {
			b.cells[d.key.index].raise(f)
		}
	}
}
