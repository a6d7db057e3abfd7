package fastopt

import (
	"sync"
	"time"
)

// Repairing: what the cache may have missed (a fill that failed after a commit,
// a write whose outcome is unknown) is read from the source and filled again,
// until the cache has it: never from the memory of a writer, which may be older
// than what another process wrote since. Until then this process asks the
// source for such keys.

// maxDirty bounds the keys under repair.
const maxDirty = 4096

// A repairer owns the dirty keys of one manager.
type repairer struct {
	m    *Manager
	kick chan struct{}

	mu    sync.Mutex
	dirty map[*key]*repair // guarded by mu
}

// A repair is what is still to be done for one key.
type repair struct {
	twice bool  // guarded by mu: once more, later: the write may arrive after the read
	again bool  // guarded by mu: this is that time
	at    int64 // guarded by mu: not before, ns since Open
}

// settleTime is how long after a source answers again a write that it had
// received before is surely applied or lost.
const settleTime = time.Second

// add puts k under repair.
func (r *repairer) add(k *key, doubtful bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.dirty[k]; have != nil {
		have.twice = have.twice || doubtful
		have.at = 0
	} else if len(r.dirty) < maxDirty {
		r.dirty[k] = &repair{twice: doubtful}
	} else {
		r.m.stats.dirtyDropped.Add(1)
	}
	r.poke()
}

func (r *repairer) poke() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// size is how many keys are under repair.
func (r *repairer) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.dirty)
}

func (r *repairer) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-r.m.ctx.Done():
			return
		case <-r.kick:
		case <-timer.C:
		}
		if wait, more := r.pass(); more {
			timer.Reset(wait)
		}
	}
}

// pass tries every key that is due, and returns when to come again.
func (r *repairer) pass() (time.Duration, bool) {
	now := r.m.now()
	var due []*key
	r.mu.Lock()
	for k, rep := range r.dirty {
		if rep.at > now {
			continue
		}
		due = append(due, k)
		if rep.again {
			rep.again = false
			k.dirtied.Add(1)
			k.moved.Add(1)
		}
	}
	r.mu.Unlock()
	for _, wait := range r.m.loader.start(due...) {
		select {
		case <-wait:
		case <-r.m.ctx.Done():
			return 0, false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range due {
		r.judgeLocked(k)
	}
	return lastRetry/2 + time.Duration(r.m.jitter()*float64(lastRetry/2)), len(r.dirty) > 0
}

// judgeLocked strikes k off the list if it is repaired.
func (r *repairer) judgeLocked(k *key) {
	rep := r.dirty[k]
	if rep == nil || k.dirtied.Load() != k.cleaned.Load() {
		return
	}
	if !rep.twice {
		delete(r.dirty, k)
		r.m.stats.repaired.Add(1)
		return
	}
	rep.twice, rep.again, rep.at = false, true, r.m.now()+int64(settleTime)
}

// clean notes that the cache has everything of k up to n.
func (k *key) clean(n uint64) {
	for {
		old := k.cleaned.Load()
		if old >= n || k.cleaned.CompareAndSwap(old, n) {
			return
		}
	}
}
