package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// The dark: tiers that die together and stay dead for longer than anything may be
// used. It may befall a world at any time; and where everything has come right
// already, at the end of a history, it is judged exactly: how long calls take, what
// dead tiers are asked meanwhile, and how soon all is right again.

// How long calls may take, and the dark may last at most.
const (
	loadTimeout = cacheTimeout + sourceTimeout
	waitStale   = fastopt.DefaultWaitStale
	longest     = 12 * time.Second
	moment      = time.Millisecond // steps take less
)

// A night is what is counted while tiers are dead. Guarded by world.mu.
type night struct {
	since time.Duration
	dead  map[string]bool
	asked map[*process]map[string]int // requests by tier
}

// askedAtNightLocked notes a request to a tier that is dead.
func (w *world) askedAtNightLocked(it *item) {
	if n := w.night; n != nil && n.dead[it.of()] {
		if n.asked[it.p] == nil {
			n.asked[it.p] = map[string]int{}
		}
		n.asked[it.p][it.of()]++
	}
}

// lasts is how long the dark lasts: longer than anything may be used, if that ends.
func (w *world) lasts() time.Duration {
	if d := w.draw.usable(); d < longest {
		return d + min(w.draw.ttl, time.Second)
	}
	return w.draw.ttl + 3*time.Second
}

// nightfall has tiers refuse everything, or say nothing.
func (w *world) nightfall(dead []string) {
	for _, tier := range dead {
		silent := w.rng.IntN(2) == 0
		w.down[tier], w.mute[tier] = !silent, silent
		w.count("dark " + tier)
	}
	if slices.Contains(dead, "cache") {
		for _, p := range w.procs {
			if p.state == running && p.link == linkUp {
				w.relink(p, linkCut)
			}
		}
	}
}

// dawn has all tiers answer again.
func (w *world) dawn() {
	clear(w.down)
	clear(w.mute)
	for _, p := range w.procs {
		if p.state == running && p.link != linkUp {
			w.relink(p, linkUp)
		}
	}
}

// outlast lets the dark pass, calmly, with a call of a client now and then.
func (w *world) outlast() {
	for end := w.now() + w.lasts(); w.now() < end && w.ok(); {
		w.calm(time.Duration(w.rng.Int64N(int64(w.draw.ttl))))
		if p := pick(w, w.procs); w.ok() && p.state == running && w.now() >= p.stopped && !p.busy() {
			w.callInTheDark(p, w.rng.IntN(w.draw.keys))
		}
	}
}

// callInTheDark has a client load or write, and judges how long that takes.
func (w *world) callInTheDark(p *process, key int) {
	s, state := p.m.Stats(), p.opts[key].Inspect().State
	most := loadTimeout
	if w.rng.IntN(4) > 0 {
		switch {
		case refusing(s.CacheTier) && refusing(s.SourceTier) && !w.flies(p, names[key]):
			most = 0
			w.count("load in vain")
		case state == fastopt.Stale:
			most = waitStale
		}
		w.beginLoad(p, key)
		w.after("p%d load %s, within %v", p.id, names[key], most)
	} else {
		most = writeTimeout + cacheTimeout
		if refusing(s.SourceTier) {
			most = 0
			w.count("write in vain")
		}
		w.beginSet(p, key)
		w.after("p%d set %s, within %v, call %d", p.id, names[key], most, w.calls)
	}
	start := w.now()
	for w.stir() && w.ok() {
	}
	w.calm(most + moment)
	if took := w.now() - start; w.ok() && p.busy() {
		w.judge.fail("I13: p%d: a call for %s (%v) has not ended after %v, and may take %v", p.id, names[key], state, took, most)
	}
	w.quiet()
}

// flies reports whether a request for name that was sent earlier is under way, which
// a Load may join.
func (w *world) flies(p *process, name string) bool {
	return slices.ContainsFunc(w.sorted(), func(it *item) bool { return it.p == p && it.concerns(name) })
}

// refusing reports whether a tier is not asked at all, but for probes.
func refusing(t fastopt.TierStats) bool { return t.Breaker == "open" || t.Breaker == "half-open" }

// spared judges a write that began while the source was not asked: it is refused
// at once, and nothing is sent (I14).
func (j *judge) spared(r *result) {
	j.w.count("write spared")
	if !errors.Is(r.err, fastopt.ErrUnavailable) && !errors.Is(r.err, fastopt.ErrClosed) || errors.Is(r.err, fastopt.ErrOutcomeUnknown) {
		j.fail("I14: p%d %s %s, while the source is not asked: %v", r.p.id, r.kind, names[r.key], r.err)
	}
	if took := r.at - r.began; took > moment {
		j.fail("I14: p%d %s %s was refused after %v", r.p.id, r.kind, names[r.key], took)
	}
	for key := range r.p.opts {
		if r.writes() && j.sent[fmt.Sprint(r.value(key))] {
			j.fail("I14: p%d %s %s was sent to a source that is not asked", r.p.id, r.kind, names[key])
		}
	}
}

// atNight judges a dark that begins when everything is right: what dead tiers are
// asked (I20), and that all is right two seconds after it.
func (w *world) atNight() {
	dead := pick(w, [][]string{{"cache"}, {"source"}, {"cache", "source"}, {"cache", "source"}})
	w.nightfall(dead)
	n := &night{since: w.now(), dead: map[string]bool{}, asked: map[*process]map[string]int{}}
	for _, tier := range dead {
		n.dead[tier] = true
	}
	w.mu.Lock()
	w.night = n
	w.mu.Unlock()
	w.after("the dark: %v", dead)
	w.outlast()
	w.mu.Lock()
	w.night = nil
	for p, asked := range n.asked {
		for tier, times := range asked {
			if most := mayAsk(tier, w.now()-n.since); times > most && p.state == running {
				w.judge.fail("I20: p%d asks the dead %s %d times in %v, which may be %d times", p.id, tier, times, w.now()-n.since, most)
			}
		}
	}
	w.mu.Unlock()
	w.late = nil
	w.dawn()
	if w.after("the dawn"); w.ok() {
		w.calm(w.recovers())
	}
	for w.stir() && w.ok() { // a second look for a write in doubt may just have begun
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		for key, name := range names[:w.draw.keys] {
			if p.state == running && w.ok() {
				w.judge.right(p, key, p.site.primary.load(name))
			}
		}
	}
}

// recovers is within which time all is right after the dark: a copy may be taken
// over meanwhile, or take over itself.
func (w *world) recovers() time.Duration {
	if len(w.sites) > 1 {
		return w.atLast()
	}
	return 2 * time.Second
}

// mayAsk is how often a process may ask a dead tier: what was under way or failed
// until its breaker opened, and probes.
func mayAsk(tier string, d time.Duration) int {
	gap := 250 * time.Millisecond // the least between two probes, once there were some
	if tier == "source" {
		gap = 500 * time.Millisecond
	}
	return atFirst + int(math.Ceil(float64(d)/float64(gap)))
}

// atFirst is how many requests fail until a breaker is open, of calls that are
// under way at once, and how many probes follow one another faster at first.
const atFirst = 20
