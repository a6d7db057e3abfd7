package main

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The weather is what is broken now. The schedule says it, always before it
// breaks something and before it mends it; several faults may be at work at
// once. From that follows which defaults are excused, and where a default is due:
//
//   - While no tier answers, an option may fall to its default as soon as an
//     answer that came just before could have been TTL old, until all is well again.
//   - TTL + grace + E after no tier could answer any more, it must have fallen:
//     E is the lag of the goroutine that publishes the default.
//
// A tier that has come back has 2 s to be found again (recoveryBound). If the
// other one breaks meanwhile, it is as if neither had answered; and so it is on a
// machine that is too slow for the library's timeouts (lag.go).

// Effects are what a fault does to the tiers, as readers may feel it.
type effects struct {
	cacheOut  bool // the cache does not answer
	sourceOut bool // the source does not answer
	cacheLoss bool // the cache has lost what it held
	partly    bool // it may answer some, all the same
}

func (e effects) allOut() bool { return e.cacheOut && e.sourceOut }

// A phase is the weather as readers see it. Immutable.
type phase struct {
	fault   string        // "" if none
	healthy bool          // no fault, and recovered from the last
	may     [classes]bool // a default is excused
	must    [classes]bool // a default is due
	strict  bool          // any of must
}

// A spell is one fault at work.
type spell struct {
	name    string
	effects effects
	struck  int64 // it holds surely since, ns since the run began; 0: not yet, or not any more
}

type weather struct {
	now atomic.Pointer[phase] // never nil

	usable  [classes]int64 // immutable, ns: TTL + grace; negative: for ever
	ttl     [classes]int64 // immutable, ns
	tooLate int64          // immutable: a lag of timers that makes timeouts say nothing, ns

	mu        sync.Mutex
	spells    []*spell // guarded by mu: at work, oldest first
	cacheBack int64    // guarded by mu: when the cache returned last since all was well; 0: never
	srcBack   int64    // guarded by mu: … and the source
	outSince  int64    // guarded by mu: when first since all was well no tier answered; 0: never
	dueSince  int64    // guarded by mu: since when surely none answers; 0: one may
	unsettled bool     // guarded by mu: a fault has ended and not everyone has recovered
	turns     uint64   // guarded by mu: how often a fault began
	losses    uint64   // guarded by mu: how often the cache lost everything
	lag       int64    // guarded by mu: of timers, when last told
}

// How long before the earliest legal instant a default is excused already, as
// nobody looks at every instant, and the expirer's own share of E.
const (
	excuseLead = 250 * time.Millisecond
	expirerLag = 50 * time.Millisecond
)

func newWeather(ttl, usable [classes]int64, tooLate time.Duration) *weather {
	w := &weather{ttl: ttl, usable: usable, tooLate: int64(tooLate)}
	w.tick(0, 0)
	return w
}

// begin says that a fault is about to strike.
func (w *weather) begin(name string, e effects, now int64) *spell {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &spell{name: name, effects: e}
	w.spells = append(w.spells, s)
	w.turns++
	w.tickLocked(now, w.lag)
	return s
}

// struck says that s has struck: from now on nothing gets through.
func (w *weather) struck(s *spell, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.struck = now
	if s.effects.cacheLoss {
		w.losses++
	}
	w.tickLocked(now, w.lag)
}

// ending says that s is about to be mended.
func (w *weather) ending(s *spell, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.struck = 0
	w.tickLocked(now, w.lag)
}

// ended says that s is over; recovered, that so are the consequences of all.
func (w *weather) ended(s *spell, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.spells, s)
	if i < 0 {
		return
	}
	w.tickLocked(now, w.lag) // while it counts
	w.spells = slices.Delete(w.spells, i, i+1)
	if s.effects.cacheOut {
		w.cacheBack = now
	}
	if s.effects.sourceOut {
		w.srcBack = now
	}
	w.unsettled = true
	w.tickLocked(now, w.lag)
}

func (w *weather) recovered(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsettled, w.cacheBack, w.srcBack = false, 0, 0
	if w.lag <= w.tooLate {
		w.outSince = 0
	}
	w.tickLocked(now, w.lag)
}

// tick publishes what now follows; lag is that of timers.
func (w *weather) tick(now, lag int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tickLocked(now, lag)
}

func (w *weather) tickLocked(now, lag int64) {
	w.lag = lag
	switch out := w.feltLocked(now, lag).allOut(); {
	case out && w.outSince == 0:
		w.outSince = now
	case !out && len(w.spells) == 0 && !w.unsettled:
		w.outSince = 0 // only the machine was too slow
	}
	cache, source := w.surelyOutLocked()
	w.dueSince = 0
	if cache != 0 && source != 0 {
		w.dueSince = max(cache, source)
	}
	p := phase{fault: w.namesLocked(), healthy: len(w.spells) == 0 && !w.unsettled}
	fell := w.outSince != 0 && len(w.spells) == 0 // until all are right again
	for c, usable := range w.usable {
		if usable < 0 {
			continue
		}
		p.may[c] = fell || w.outSince != 0 && now >= w.outSince+usable-w.ttl[c]-int64(excuseLead)
		// Once due, always due until the end: a lag that grows is no news.
		old := w.now.Load()
		was := old != nil && old.must[c]
		p.must[c] = w.dueSince != 0 && (was || now >= w.dueSince+usable+int64(expirerLag)+lag)
		p.strict = p.strict || p.must[c]
	}
	if old := w.now.Load(); old == nil || *old != p {
		w.now.Store(&p)
	}
}

func (w *weather) namesLocked() string {
	if len(w.spells) == 1 {
		return w.spells[0].name
	}
	var names []string
	for _, s := range w.spells {
		names = append(names, s.name)
	}
	return strings.Join(names, " + ")
}

// feltLocked is what may be felt of all faults, of tiers that have just come back, too.
func (w *weather) feltLocked(now, lag int64) (e effects) {
	patience := int64(recoveryBound) + lag
	e.cacheOut = lag > w.tooLate || w.cacheBack != 0 && now < w.cacheBack+patience
	e.sourceOut = lag > w.tooLate || w.srcBack != 0 && now < w.srcBack+patience
	for _, s := range w.spells {
		e.cacheOut = e.cacheOut || s.effects.cacheOut
		e.sourceOut = e.sourceOut || s.effects.sourceOut
	}
	return e
}

// surelyOutLocked tells since when each tier surely does not answer; 0: it may.
func (w *weather) surelyOutLocked() (cache, source int64) {
	earliest := func(at *int64, struck int64) {
		if *at == 0 || struck < *at {
			*at = struck
		}
	}
	for _, s := range w.spells {
		if s.struck == 0 || s.effects.partly {
			continue
		}
		if s.effects.cacheOut {
			earliest(&cache, s.struck)
		}
		if s.effects.sourceOut {
			earliest(&source, s.struck)
		}
	}
	return cache, source
}

func (w *weather) surelyOut() (cache, source int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.surelyOutLocked()
}

// look returns what the keeper of deadlines wants to know (stale.go).
func (w *weather) look(now, lag int64) (e effects, losses uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.feltLocked(now, lag), w.losses
}

// calm returns the number of faults so far, and whether none is at work or
// being recovered from: equal numbers and true mean that it was calm in between.
func (w *weather) calm() (turns uint64, calm bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turns, len(w.spells) == 0 && !w.unsettled
}
