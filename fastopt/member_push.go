package fastopt

import "time"

// Fruitless reloads: when more distinct keys are read than Redis remembers
// (tracking-table-max-keys), it forgets one for each that is read, and says of
// it that it may have changed. To load that again makes it forget another: a loop
// that feeds itself. So a reload that a push has caused, and that brings nothing
// new, spends from a bucket; while that is empty, members of which pushes come are
// read as they are, and loaded again when their TTL ends. A Load still asks.

// The bucket of fruitless reloads, per family: 100 a second, 2,000 at once.
const (
	fruitlessEvery = 10 * time.Millisecond
	fruitlessBurst = 2000
)

// suspectLocked notes that only a push has made r, which is about to be loaded,
// not fresh, or is about to. A push that our own fill has caused brings something
// new: that the cache has it.
func (f *family) suspectLocked(k *key, r *resident) {
	if r == nil || !r.told {
		return
	}
	if asked, _ := lifeAt(r.life.Load()); asked > f.cut.Load() && f.m.now() < later(asked, f.lives.ttl) {
		k.suspect = r.stamp()
	}
}

// told notes that a load has succeeded, and whether the cache has told what it
// brought and will announce changes of it.
func (k *key) told(byCache bool) {
	f := k.fam
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.table.find(k.member())
	if r == nil {
		return
	}
	if r.told && byCache && !k.suspect.IsZero() && k.suspect == r.stamp() {
		f.counts.fruitless.Add(1)
		f.spendLocked(f.m.now())
	}
	r.told, k.suspect = byCache, Stamp{}
}

// spendLocked takes one from the bucket of fruitless reloads. It may go below
// empty, by what is under way.
func (f *family) spendLocked(now int64) {
	f.owed = max(f.owed, now) + int64(fruitlessEvery)
	f.quiet.Store(f.owed - fruitlessBurst*int64(fruitlessEvery))
}
