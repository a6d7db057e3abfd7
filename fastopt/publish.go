package fastopt

import (
	"hash/maphash"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Publishing: what an answer of a tier does to the entry of its key. The verdict
// is a pure function of the two; a compare-and-swap loop carries it out. Only
// newer wins (I2), and an answer older than the last push is never fresh (I5).

// An answer is what a tier said about one key, ready to be published.
type answer struct {
	rec    tiers.Record
	known  bool  // value and err are those of the entry that stems from the same bytes
	value  any   // decoded; nil for Absent
	err    error // the record is invalid
	origin Origin
	token  uint64 // of the key, before the request was sent
	asked  int64  // before the request was sent, ns since Open
}

// A verdict is what to do with an answer.
type verdict uint8

const (
	refuse   verdict = iota // it is older than what is known
	renew                   // it says the same again
	replace                 // it is newer, or brings back what expired
	conflict                // it has the stamp of what is known, and other bytes
)

// decide is the whole ordering rule. cur is what the tiers said before.
func decide(cur *meta, a *answer, sum uint64) verdict {
	if cur.kind == kindUnloaded && cur.err == nil {
		return replace
	}
	alive := cur.kind != kindExpired && cur.asked.Load() != dead
	if cur.absent && a.rec.Kind == tiers.Absent && cur.seen.Epoch == a.rec.Stamp.Epoch {
		// Both say that there is no value. The newer stamp is kept, so that a
		// value written and deleted in between cannot come back (I9).
		if alive && !a.rec.Stamp.Newer(cur.seen) {
			return renew
		}
		return replace // next keeps the newer stamp
	}
	switch c := a.rec.Stamp.Compare(cur.seen); {
	case c > 0:
		return replace
	case c < 0:
		return refuse
	case sum != cur.sum:
		return conflict
	case !alive:
		return replace // an equal answer must bring back what expired
	}
	return renew
}

// An outcome says what became of an answer.
type outcome uint8

const (
	refused   outcome = iota // the tier is behind this process
	confirmed                // nothing new
	changed                  // readers see something new
)

var seed = maphash.MakeSeed()

func sumOf(r tiers.Record) uint64 {
	if r.Kind == tiers.Absent {
		return 1
	}
	return maphash.Bytes(seed, r.Data)
}

// install publishes a if it is newer than what is known. It is lock-free.
func (k *key) install(a *answer) outcome {
	sum := sumOf(a.rec)
	for {
		top := k.cell.load()
		cur := top.tier()
		if cur.key != k {
			return refused // the handle was opened anew meanwhile
		}
		v := decide(cur, a, sum)
		if v == conflict {
			if !cur.saved { // else a file's word against a tier's
				k.m.stats.conflicts.Add(1)
			}
			if v = refuse; (a.origin == Source || k.m.cfg.Source == nil) && a.asked > cur.asked.Load() {
				v = replace // the source has the last word, or who speaks for it
			}
		}
		corrects := a.corrects(cur) || k.overruled(cur, a)
		if corrects {
			v = replace
		}
		if v == refuse {
			k.m.stats.refused.Add(1)
			return refused
		}
		if v == renew && a.token <= cur.token && !cur.saved {
			if cur.renew(a.asked) {
				k.renewed(cur)
				return confirmed
			}
			continue // it died just now: bring it back
		}
		point.At(point.InstallSwap, k.m, k.name)
		if k.publish(top, k.next(cur, a, v, sum)) {
			if v == renew {
				return confirmed
			}
			if corrects {
				k.m.corrected(k.full, cur.seen, a.rec.Stamp)
			}
			if k.fam == nil {
				k.m.expirer.expect(k.lives.warning(a.asked))
			}
			k.m.snapshot.changed(k)
			return changed
		}
	}
}

// corrects reports whether a is older than cur and shows cur to be wrong: the
// source was asked, or written to, after the record of cur had been read, and
// knew nothing so new (P5). A source that lags or has lost its right gives no
// answers, so what cur stems from was no commit of this history. Of a later
// history it may be, but of none that only the cache ever told of.
func (a *answer) corrects(cur *meta) bool {
	return a.origin != Cache && cur.seen.Newer(a.rec.Stamp) && a.asked > cur.got &&
		(a.rec.Stamp.Epoch == cur.seen.Epoch || cur.key.m.marks.unheard(cur.seen.Epoch))
}

// overruled reports whether a, of the cache and older than cur, is right all the
// same: there is no source here to be asked, and the relay has found for so long
// that the cache has all the source has that it would have repaired it, were it
// only behind (R25). So what is held was corrected there (P5).
func (k *key) overruled(cur *meta, a *answer) bool {
	since, fed := k.behind.Load(), k.m.marks.movedAt.Load()
	return a.origin == Cache && k.m.cfg.Source == nil && k.m.marks.marker != nil &&
		since != 0 && fed-since > int64(overruledAfter) && a.asked > fed &&
		a.rec.Stamp.Epoch == cur.seen.Epoch && cur.seen.Newer(a.rec.Stamp)
}

// overruledAfter is how long the cache must have been fed, and behind.
const overruledAfter = 3 * time.Second

// outlast keeps the entry usable though a, which the cache says while the source
// is silent, is older: this process' own write, say, that the cache did not get.
// Nothing newer can be committed, or the cache would have it (D6). The entry is
// not fresh for that.
func (k *key) outlast(a *answer) {
	for {
		top := k.cell.load()
		cur := top.tier()
		asked := cur.asked.Load()
		over := asked == dead || k.m.now() >= later(asked, k.lives.usable) // though the expirer be late
		if cur.key != k || over || cur.seen.Epoch != a.rec.Stamp.Epoch || !cur.seen.Newer(a.rec.Stamp) {
			return
		}
		if cur.token == neverFresh {
			cur.renew(a.asked)
			k.renewed(cur)
			return
		}
		f := cur.facts
		f.token = neverFresh
		if k.publish(top, newMeta(f, max(asked, a.asked))) {
			return
		}
	}
}

// next builds what follows cur when a is accepted.
func (k *key) next(cur *meta, a *answer, v verdict, sum uint64) *meta {
	if v == renew { // same value, confirmed since the last push
		f := cur.facts
		f.token = a.token
		if cur.saved { // a tier says it, too: what it says is no old news
			f.saved, f.got = false, k.m.now()
			if f.kind == kindValue {
				f.origin = a.origin
			}
		}
		asked := cur.asked.Load()
		if asked == dead || asked < a.asked {
			asked = a.asked
		}
		return newMeta(f, asked)
	}
	f := facts{key: k, origin: a.origin, stamp: a.rec.Stamp, seen: a.rec.Stamp, sum: sum, token: a.token, got: k.m.now()}
	if a.rec.Stamp == cur.seen {
		f.got = cur.got
	}
	switch {
	case a.err != nil: // the last good value stays, and is said to be stale (I11)
		f.err, f.kind, f.origin, f.boxed, f.stamp, f.data = a.err, cur.kind, cur.origin, cur.boxed, cur.stamp, cur.data
		if cur.kind == kindExpired {
			f.kind = kindUnloaded // there is none any more
		}
	case a.rec.Kind == tiers.Absent:
		f.kind, f.origin, f.boxed, f.absent = kindAbsent, Default, k.fallback, true
		if cur.absent && cur.seen.Newer(f.seen) && !a.corrects(cur) {
			f.seen, f.stamp = cur.seen, cur.seen
		}
	default:
		f.kind, f.boxed = kindValue, a.value
		if k.m.snapshot.holds(k) {
			f.data = a.rec.Data
		}
	}
	return newMeta(f, a.asked)
}

// publish makes next what the tiers say, if top is still current, and wakes who
// watches. An override stays visible above it.
func (k *key) publish(top, next *meta) bool {
	if top.under != nil {
		f := top.facts
		f.key, f.under = next.key, next // the override may be older than any key
		return k.cell.swap(top, newMeta(f, dead))
	}
	if !k.cell.swap(top, next) {
		return false
	}
	k.core.wake()
	return true
}
