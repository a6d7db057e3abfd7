package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// The weather is what is broken now. The schedule says it, always before it
// breaks something and before it mends it; from that follows which defaults are
// excused, and where a default is due:
//
//   - While no tier answers, an option may fall to its default as soon as an
//     answer that came just before could have been TTL old, until all is well again.
//   - TTL + grace + E after no tier could answer any more, it must have fallen:
//     E is the lag of the goroutine that publishes the default.

// Effects are what a fault does to the tiers, as readers may feel it.
type effects struct {
	cacheOut  bool // the cache does not answer
	sourceOut bool // the source does not answer
	cacheLoss bool // the cache has lost what it held
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

type weather struct {
	now atomic.Pointer[phase] // never nil

	usable [classes]int64 // immutable, ns: TTL + grace; negative: for ever
	ttl    [classes]int64 // immutable, ns

	mu        sync.Mutex
	fault     string  // guarded by mu
	effects   effects // guarded by mu: of the fault, while it lasts
	outSince  int64   // guarded by mu: no tier answers since; 0: one does
	struckAt  int64   // guarded by mu: from then on surely none; 0: not yet, or no more
	unsettled bool    // guarded by mu: a fault has ended and not everyone has recovered
	fell      bool    // guarded by mu: … and options may have fallen to their defaults
	turns     uint64  // guarded by mu: how often a fault began
	losses    uint64  // guarded by mu: how often the cache lost everything
}

// How long before the earliest legal instant a default is excused already, as
// nobody looks at every instant, and the expirer's own share of E.
const (
	excuseLead = 250 * time.Millisecond
	expirerLag = 50 * time.Millisecond
)

func newWeather(ttl, usable [classes]int64) *weather {
	w := &weather{ttl: ttl, usable: usable}
	w.tick(0, 0)
	return w
}

// begin says that a fault is about to strike.
func (w *weather) begin(name string, e effects, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.effects = name, e
	w.turns++
	if e.allOut() {
		w.outSince = now
	}
	w.tickLocked(now, 0)
}

// struck says that the fault has struck: from now on nothing gets through.
func (w *weather) struck(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.effects.allOut() {
		w.struckAt = now
	}
	if w.effects.cacheLoss {
		w.losses++
	}
}

// ending says that the fault is about to be mended.
func (w *weather) ending(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.struckAt = 0
	w.tickLocked(now, 0)
}

// ended says that the fault is over; recovered, that so are its consequences.
func (w *weather) ended(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fell = w.outSince != 0
	w.fault, w.effects, w.outSince, w.unsettled = "", effects{}, 0, true
	w.tickLocked(now, 0)
}

func (w *weather) recovered(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsettled, w.fell = false, false
	w.tickLocked(now, 0)
}

// tick publishes what now follows; lag is that of timers.
func (w *weather) tick(now, lag int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tickLocked(now, lag)
}

func (w *weather) tickLocked(now, lag int64) {
	p := phase{fault: w.fault, healthy: w.fault == "" && !w.unsettled}
	for c, usable := range w.usable {
		if usable < 0 {
			continue
		}
		p.may[c] = w.fell || w.outSince != 0 && now >= w.outSince+usable-w.ttl[c]-int64(excuseLead)
		// Once due, always due until the end: a lag that grows is no news.
		old := w.now.Load()
		was := old != nil && old.must[c]
		p.must[c] = w.struckAt != 0 && (was || now >= w.struckAt+usable+int64(expirerLag)+lag)
		p.strict = p.strict || p.must[c]
	}
	if old := w.now.Load(); old == nil || *old != p {
		w.now.Store(&p)
	}
}

// look returns what the keeper of deadlines wants to know (stale.go).
func (w *weather) look() (e effects, losses uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.effects, w.losses
}

// calm returns the number of faults so far, and whether none is at work or
// being recovered from: equal numbers and true mean that it was calm in between.
func (w *weather) calm() (turns uint64, calm bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turns, w.fault == "" && !w.unsettled
}
