package fastopt

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/internal/evict"
)

// Working keys: while something goes on for a member (a load, a write, a repair,
// a back-off, a watcher, a row that stays invalid) it has a key as an option
// has, made of what is in memory. All rules of loading and publishing are
// about keys. What they publish goes into the family's table. When nothing goes
// on any more, the key is forgotten.

// A workingKey is a key, its core and its cell in one object.
type workingKey struct {
	key
	core    core
	current atomic.Pointer[meta]
}

// load and swap make the working key a cell.

func (w *workingKey) load() *meta { return w.current.Load() }

func (w *workingKey) swap(old, next *meta) bool {
	f := w.fam
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.current.Load() != old {
		return false
	}
	w.current.Store(next)      // linearization point for who works on the member …
	f.showLocked(&w.key, next) // … and for who reads it
	return true
}

// acquire returns the working key of a member, which exists until it is released
// as often as it was acquired.
func (f *family) acquire(member string) (*key, error) {
	f.mu.Lock()
	k, ok := f.work.Load(member)
	if ok {
		k.refs++
		k.wanted = f.m.now()
	}
	f.mu.Unlock()
	if ok {
		return k, nil
	}
	full := f.name + "/" + member
	if err := checkFamilyKey(member); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if k, ok = f.work.Load(member); !ok {
		k = f.newKeyLocked(full)
	}
	k.refs++
	return k, nil
}

// newKeyLocked makes the working key of a member. If the member is fresh it has
// the current token: whatever would have moved that since it was asked for would
// have ended its freshness.
func (f *family) newKeyLocked(full string) *key {
	w := &workingKey{key: key{full: full, m: f.m, lives: f.lives, fam: f}}
	k := &w.key
	w.core.decl, w.core.cell = f.decl, w
	k.core = &w.core
	k.due.Store(never)
	w.core.key.Store(k)
	m, asked := facts{key: k, boxed: f.fallback}, int64(dead)
	if r := f.table.find(k.member()); r != nil {
		var young bool
		asked, young = lifeAt(r.life.Load())
		token := uint64(neverFresh)
		if young && asked > f.cut.Load() {
			token = k.token()
		} else {
			f.suspectLocked(k, r)
		}
		m = r.facts(k, f.table.boxed(r.key), token, f.m.now()-1)
	}
	w.current.Store(newMeta(m, asked))
	f.work.Store(k.member(), k)
	return k
}

// member is what follows the prefix in the name of a family's member.
func (k *key) member() string { return k.full[len(k.fam.name)+1:] }

// hold keeps the working key of a member, which the caller holds, until it is
// released once more. Keys of options need not be held.
func (k *key) hold() {
	if k.fam != nil {
		k.fam.mu.Lock()
		k.refs++
		k.fam.mu.Unlock()
	}
}

// release ends what acquire or hold began.
func (k *key) release() {
	if k.fam != nil {
		k.fam.mu.Lock()
		k.refs--
		k.fam.tidyLocked(k)
		k.fam.mu.Unlock()
	}
}

// stir moves the key's part of its token: nothing asked for earlier is fresh.
func (k *key) stir() {
	if k.fam == nil {
		k.moved.Add(1)
		return
	}
	k.fam.mu.Lock()
	defer k.fam.mu.Unlock()
	k.fam.stirLocked(k.member(), k.fam.table.find(k.member()))
}

// renewed has the readers of a family know that m was confirmed anew.
func (k *key) renewed(m *meta) {
	if k.fam == nil {
		return
	}
	k.fam.mu.Lock()
	defer k.fam.mu.Unlock()
	if k.cell.load() == m {
		k.fam.showLocked(k, m)
	}
}

// showLocked makes the table say what m says.
func (f *family) showLocked(k *key, m *meta) {
	r := f.table.find(k.member())
	if m.kind == kindUnloaded {
		if r != nil {
			f.orderOf(r).Remove(r)
			f.table.drop(r.key)
		}
		return
	}
	l := f.lifeLocked(k, m)
	if r != nil && r.says(m) {
		r.life.Store(l)
		return
	}
	if r == nil {
		r = f.table.put(strings.Clone(k.member()), m, l)
		f.orderOf(r).Add(r)
		return
	}
	next := f.table.put(r.key, m, l)
	if f.orderOf(r) == f.orderOf(next) {
		f.orderOf(r).Replace(r, next)
		return
	}
	f.orderOf(r).Remove(r)
	f.orderOf(next).Add(next)
}

// lifeLocked is the life that m gives its member. What was asked for after the
// current token was taken counts as asked for after the cut, though both may be at
// one instant; and where the cut moved no token (reconsider), what was in the air
// then counts as asked for at the cut, younger by its own length at most.
func (f *family) lifeLocked(k *key, m *meta) life {
	asked := m.asked.Load()
	if m.err != nil || m.token < k.token() {
		return endedLife(asked)
	}
	return freshLife(max(asked, f.cut.Load()+1))
}

// How many working keys may linger in a family, and how long one that failed
// does after its back-off, or one with nothing to be kept past its TTL, if nobody
// reads it.
const (
	maxLingering   = 4096
	failuresForget = time.Minute
)

// lingers reports whether k is to be kept though nobody holds it, and whether
// that is only a comfort.
func (k *key) lingers(now int64) (lingers, must bool) {
	switch m := k.cell.load(); {
	case !k.isClean(): // else it reads less than was written here (I4)
		return true, true
	case k.due.Load() != never:
		return true, false
	case m.err != nil: // kept as long as the row stays invalid (I11), if it is read
		kept := k.lives.usable
		if m.kind == kindUnloaded || kept == int64(Forever) { // no value is lost with it
			kept = later(k.lives.ttl, int64(failuresForget))
		}
		return now < later(max(m.asked.Load(), k.wanted), kept), false
	case k.fails.Load() > 0:
		return now < later(k.retryAt.Load(), int64(failuresForget)), false
	}
	return false, false
}

// tidyLocked forgets k if nothing goes on for it.
func (f *family) tidyLocked(k *key) {
	if k.refs > 0 {
		delete(f.lingering, k)
		return
	}
	_, did := f.lingering[k]
	lingers, must := k.lingers(f.m.now())
	if lingers && (did || must || len(f.lingering) < maxLingering) {
		f.lingering[k] = struct{}{}
		return
	}
	if lingers {
		f.counts.crowded.Add(1)
		if k.fails.Load() > 0 && (f.m.cache.down.Load() || f.m.source.down.Load()) {
			raise(&f.resting, k.retryAt.Load()) // so will others that are forgotten
		}
	}
	f.forgetLocked(k)
}

// forgetLocked forgets a working key that nobody holds.
func (f *family) forgetLocked(k *key) {
	if r := f.table.find(k.member()); r != nil && k.due.Load() != never {
		r.end() // what is due soon is due now
	}
	delete(f.lingering, k)
	f.work.Delete(k.member())
}

// sweep ends the freshness of members that are due, forgets working keys that
// need linger no longer, and has those repaired that are dirty and that nobody
// holds, not even the repairer: it had no room for them.
func (f *family) sweep(now int64) {
	for _, k := range f.swept(now, maxDirty-f.m.repairer.size()) {
		f.m.repairer.add(k, false)
		k.release()
	}
}

// swept is the sweep, and returns some keys that are to be repaired, held.
func (f *family) swept(now int64, room int) (dirty []*key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.lingering {
		// Who holds k sees to that; a watcher has the refresher do so.
		if at := k.due.Load(); k.refs == 0 && at <= now && k.due.CompareAndSwap(at, never) {
			f.stirLocked(k.member(), f.table.find(k.member()))
		}
		f.tidyLocked(k)
		if k.refs == 0 && !k.isClean() && len(dirty) < room {
			k.refs++
			dirty = append(dirty, k)
		}
	}
	return dirty
}

// orderOf returns the order of eviction that r belongs to.
func (f *family) orderOf(r *resident) *evict.Order[*resident] {
	if r.kind == kindAbsent {
		return f.absent
	}
	return f.set
}

// keeps reports whether a member must not be evicted: somebody works on it, or
// it would read less than was written here (I4).
func (f *family) keeps(r *resident) bool {
	k, ok := f.work.Load(r.key)
	return ok && (k.refs > 0 || !k.isClean())
}

// evicted drops a member to make room for another.
func (f *family) evicted(r *resident) {
	f.counts.evicted.Add(1)
	if k, ok := f.work.Load(r.key); ok {
		f.forgetLocked(k)
	}
	f.table.drop(r.key)
}
