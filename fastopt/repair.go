package fastopt

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Repairing: what the cache may have missed (a fill that failed after a commit,
// a write whose outcome is unknown) is read from the source and filled again,
// until the cache has it: never from the memory of a writer, which may be older
// than what another process wrote since. Until then this process asks the
// source for such keys. The reading and filling is done by flights, as for any
// key; the repairer starts them and looks at what became of them.

// maxDirty bounds the keys under repair.
const maxDirty = 4096

// A repairer owns the dirty keys of one manager.
type repairer struct {
	m    *Manager
	kick chan struct{}

	mu    sync.Mutex
	dirty map[*key]*repair // guarded by mu
}

// A repair is what is still to be done for one key. Guarded by repairer.mu.
type repair struct {
	left  int   // reads of the source, each followed by a fill
	asked bool  // one of them is under way
	at    int64 // no other before, ns since Open
}

// settleTime is how long after a source answers again a write that it had
// received before is surely applied or lost.
const settleTime = time.Second

// add puts k under repair. A write in doubt may be applied after the source was
// read: the key is then read once more, later.
func (r *repairer) add(k *key, inDoubt bool) {
	left := 1
	if inDoubt {
		left = 2
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.dirty[k]; have != nil {
		have.left = max(have.left, left)
	} else if len(r.dirty) < maxDirty {
		r.dirty[k] = &repair{left: left}
		k.hold()
	} else {
		r.m.stats.dirtyDropped.Add(1)
	}
	ring(r.kick)
}

// size is how many keys are under repair.
func (r *repairer) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.dirty)
}

// run makes passes, at once for the first dirty key, then paced.
func (r *repairer) run() {
	for {
		select {
		case <-r.m.ctx.Done():
			return
		case <-r.kick:
		}
		for more := true; more && r.m.ctx.Err() == nil; {
			more = r.pass()
			rest(r.m.ctx, lastRetry/2+time.Duration(r.m.jitter()*float64(lastRetry/2)))
		}
	}
}

// pass strikes off what is repaired, starts flights for what is due, and
// reports whether anything is left. It waits for nothing.
func (r *repairer) pass() (more bool) {
	var due []*key
	now := r.m.now()
	vain := r.m.marks.use() != nil && !r.m.marks.current() // nothing would be offered
	r.mu.Lock()
	for _, k := range slices.SortedFunc(maps.Keys(r.dirty), (*key).compare) {
		rep := r.dirty[k]
		if rep.asked && k.isClean() {
			rep.asked = false
			if rep.left--; rep.left == 0 {
				delete(r.dirty, k)
				defer k.release() // once r.mu is free
				r.m.stats.repaired.Add(1)
				continue
			}
			rep.at = now + int64(settleTime)
		}
		if vain || rep.at > now || k.retryAt.Load() > now || rep.asked && r.m.cache.broken.Load() {
			continue // once read, it waits for a cache that can be filled
		}
		if k.isClean() { // it was, a while ago: read it again
			k.dirtied.Add(1)
			k.stir()
		}
		rep.asked = true
		due = append(due, k)
	}
	more = len(r.dirty) > 0
	r.mu.Unlock()
	r.m.loader.start(due...)
	return more
}

// compare orders keys by name, so that work on many is done in one order.
func (k *key) compare(o *key) int { return cmp.Compare(k.full, o.full) }

// isClean reports whether the cache has everything of k.
func (k *key) isClean() bool { return k.dirtied.Load() == k.cleaned.Load() }

// clean notes that the cache has everything of k up to n.
func (k *key) clean(n uint64) {
	for {
		old := k.cleaned.Load()
		if old >= n || k.cleaned.CompareAndSwap(old, n) {
			return
		}
	}
}
