package sim

import (
	"math"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What the tiers held when, and what they did for whom: the facts on which the
// judge rests.

// A span is what a tier said of one key for a time.
type span struct {
	from, to time.Duration // to: math.MaxInt64 while it lasts
	present  bool
	kind     tiers.Kind
	stamp    tiers.Stamp
}

// look notes what a tier says, and returns what it said before and says now.
func (j *judge) look(spans *[]span, r tiers.Result) (old, now span) {
	now = span{from: j.w.now(), to: math.MaxInt64, present: r.Err == nil, kind: r.Kind, stamp: r.Stamp}
	if n := len(*spans); n > 0 {
		last := &(*spans)[n-1]
		old = *last
		if last.present == now.present && last.kind == now.kind && (last.stamp == now.stamp || r.NoRow) {
			last.stamp = now.stamp
			return old, now
		}
		last.to = now.from
	}
	*spans = append(*spans, now)
	return old, now
}

// was reports whether a tier of p said this of key at some instant since from.
func (j *judge) was(p *process, key int, absent bool, stamp tiers.Stamp, from time.Duration) bool {
	said := [][]span{j.cache[key]}
	if p.is.banned(max(from, 0)) {
		said = nil // that is another's
	}
	for _, db := range p.site.all() {
		said = append(said, db.spans[key])
	}
	for _, spans := range said {
		for i := len(spans) - 1; i >= 0 && spans[i].to >= from; i-- {
			s := spans[i]
			if s.present && (absent && s.kind == tiers.Absent || !absent && s.kind == tiers.Value && s.stamp == stamp) {
				return true
			}
		}
	}
	return false
}

// outlasts reports whether the cache, at some instant since from, held something
// older of the same history: while the source is silent that lets what is known
// live on (D6).
func (j *judge) outlasts(key int, stamp tiers.Stamp, from time.Duration) bool {
	spans := j.cache[key]
	for i := len(spans) - 1; i >= 0 && spans[i].to >= from; i-- {
		if s := spans[i]; s.present && s.stamp.Epoch == stamp.Epoch && stamp.Newer(s.stamp) {
			return true
		}
	}
	return false
}

// What tiers report to the judge. The caller holds world.mu.

// committedLocked: the source has carried out a write that p began at a step.
func (p *process) committedLocked(stamp tiers.Stamp, write tiers.Write, began int) {
	w := p.w
	if k := &p.known[keyOf(write.Name)]; began >= k.doubt {
		k.doubt = 0
	}
	w.ringLocked(p.server)
	if write.Delete {
		return
	}
	w.commits[string(write.Data)] = commit{write.Name, stamp}
	if w.judge.refused[string(write.Data)] {
		w.judge.fail("I14: a refused write of %s was committed", write.Name)
	}
}

// askedLocked: a tier has carried out a request about name, sent at asOf.
func (p *process) askedLocked(name string, asOf time.Time) {
	k := &p.known[keyOf(name)]
	k.sent = max(k.sent, asOf.Sub(p.w.start))
}

// primaryLocked: the process has read name from the source.
func (p *process) primaryLocked(name string) { p.known[keyOf(name)].doubt = 0 }

// handledLocked: the process has handled an event.
func (p *process) handledLocked(e push) {
	for i := range p.known {
		k := &p.known[i]
		if e.Kind != tiers.Changed {
			k.since = p.w.now()
		}
		if e.Kind != tiers.Changed || e.Name != names[i] {
			continue
		}
		k.since = p.w.now()
		if e.losses != p.w.losses {
			continue
		}
		if k.losses != e.losses {
			k.pushed = tiers.Stamp{}
		}
		k.pushed, k.losses = newest(k.pushed, e.stamp), e.losses
	}
}
