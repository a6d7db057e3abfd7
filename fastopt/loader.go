package fastopt

import (
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Flights: one load per key and token, however many ask. They belong to the
// library: their deadline is its own, a caller may leave, and the answer is
// published all the same. Who comes first waits for the flight itself, so that a
// flight that nobody shares takes no goroutine; all others share singleflight's. Flights started together travel in one batch, so
// that any number of options costs one round trip per tier; a few batches may
// be under way at once, so that a slow one delays no other key. What the cache
// does not settle waits in a lane for the source (lane.go).

const maxBatches = 4

// A loader runs the flights of one manager.
type loader struct {
	m     *Manager
	group singleflight.Group // who shares which flight

	mu      sync.Mutex
	flights map[string]*flight // guarded by mu: newest flight per key, until it lands
	queue   []*flight          // guarded by mu: not yet in a batch
	batches int                // guarded by mu: under way through the cache
	closed  bool               // guarded by mu

	options, members lane // to the source
}

// A flight is one load of one key.
type flight struct {
	k      *key
	token  uint64        // guarded by mu while queued or parked, else immutable: the key's before the request
	dirty  uint64        // likewise: k.dirtied before the request
	queued bool          // guarded by mu
	parked *time.Timer   // guarded by mu; not nil: it waits for another process to fill the cache
	waited int           // the batch's, guarded by mu while parked: times that it was parked
	done   chan struct{} // guarded by mu while somebody may join: closed when it lands; nil: nobody waits
	err    error         // written before it lands

	// The batch's: what became of the cache's part.
	blind bool      // it was not asked or did not answer, and will announce nothing
	held  bool      // it gave the very record that the flight landed with, and announces changes of it
	older []*flight // of the same key, for which it asked the source, too
}

// start starts or joins the flight of each key. Nobody need wait for them.
func (l *loader) start(keys ...*key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for _, k := range keys {
		l.boardLocked(k)
	}
	l.dispatchLocked()
}

// join starts or joins a flight for each waiter, of those who join later or at
// once, who needs one: who neither finds what it waits for in memory by now, nor
// that an attempt has just failed.
func (l *loader) join(all []waiter, later bool) {
	for i := range all {
		if w := &all[i]; !w.settled && w.later == later {
			point.At(point.FlightJoin, l.m, w.k.full)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range all {
		if w := &all[i]; !w.settled && w.later == later {
			l.joinLocked(w)
		}
	}
	l.dispatchLocked()
}

func (l *loader) joinLocked(w *waiter) {
	if l.closed {
		w.settled, w.err = true, ErrClosed
		return
	}
	if l.flights[w.k.full] == nil {
		if w.settled = w.k.confirmedSince(w.token); w.settled {
			return
		}
		if failure := w.k.lastErr.Load(); failure != nil && w.k.retryAt.Load() > l.m.now() {
			w.settled, w.err = true, *failure
			return
		}
	}
	f := l.boardLocked(w.k)
	if f.done == nil {
		f.done = make(chan struct{})
		w.landing = landing{first: f}
		return
	}
	// The function must run no user code: a panic in it would end the process,
	// and a Goexit would leave its waiters for ever. It is called only for f:
	// while f is in flights, under mu, a call that waits for it has not ended.
	w.landing = landing{shared: l.group.DoChan(w.k.full, func() (any, error) { return f.landed(), nil })}
}

// boardLocked starts or joins the flight of k. One that was sent before the
// last push to its key is not joined (R7): it is forgotten, and lands for those
// who wait already. To board what is in the air costs next to nothing: the
// refresher does so whenever it looks, as long as the flight takes.
func (l *loader) boardLocked(k *key) *flight {
	f, token := l.flights[k.full], k.token()
	switch {
	case f != nil && f.queued: // not sent yet: it will do, whatever was pushed
		f.token, f.dirty = token, k.dirtied.Load()
	case f != nil && f.parked != nil:
		if f.token != token { // the push that it waits for
			l.unparkLocked(f)
		}
	case f == nil || f.token != token:
		f = &flight{k: k, token: token, dirty: k.dirtied.Load(), queued: true}
		k.hold() // until it lands
		l.flights[k.full] = f
		l.queue = append(l.queue, f)
		k.due.Store(never) // until it lands
		l.group.Forget(k.full)
	}
	k.flown.Store(f.token + 1)
	return f
}

// landed waits until f has landed, or m is closed: then there need be no landing,
// if a tier does not return.
func (f *flight) landed() *flight {
	select {
	case <-f.done:
		return f
	case <-f.k.m.ctx.Done():
		return &flight{err: ErrClosed}
	}
}

// dispatchLocked sends what is queued, unless enough batches are under way.
func (l *loader) dispatchLocked() {
	for len(l.queue) > 0 && l.batches < maxBatches {
		n := min(len(l.queue), tiers.MaxBatch)
		fs := l.queue[:n:n]
		l.queue = l.queue[n:]
		for _, f := range fs {
			f.queued = false
		}
		l.batches++
		l.m.work.Go(func() { l.run(fs) })
	}
}

// run carries out one batch.
func (l *loader) run(fs []*flight) {
	l.askSource(l.askCache(fs))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches--
	l.dispatchLocked()
}

// land ends a flight.
func (l *loader) land(f *flight, asked int64, err error) {
	if f.err = err; err == nil {
		f.k.succeeded(asked, f)
	} else {
		f.k.failed(err)
	}
	l.mu.Lock()
	if l.flights[f.k.full] == f {
		delete(l.flights, f.k.full)
		f.k.flown.Store(0)
	}
	l.mu.Unlock() // nobody joins it any more
	for _, o := range f.older {
		o.err = err
		o.wake()
		o.k.release()
	}
	f.wake()
	if f.k.ahead() {
		l.m.refresher.pokeBy(f.k.due.Load())
	}
	f.k.release()
}

// wake lets who waits for f go on. Nobody may join it any more.
func (f *flight) wake() {
	if f.done != nil {
		close(f.done)
	}
}

// close lets nothing start any more, and ends what never got into a batch.
func (l *loader) close() {
	l.mu.Lock()
	queue := l.queue
	l.queue, l.closed = nil, true
	for _, f := range l.flights {
		if f.parked != nil {
			f.parked.Stop()
			f.parked = nil
			queue = append(queue, f)
		}
	}
	for _, n := range l.lanes() {
		for _, q := range n.emptyLocked() {
			queue = append(queue, q.flight)
		}
	}
	l.mu.Unlock()
	for _, f := range queue {
		l.land(f, 0, ErrClosed)
	}
}
