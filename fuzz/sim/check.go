package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// The judge: a slow, obvious model of what the tiers held when, and of what
// each process must know by now. It judges after every step, when everything is
// parked, and knows nothing of how the library works.

// known is what a process must know of one key since it was opened.
type known struct {
	floor   tiers.Stamp   // I2, I4: no older stamp may be read
	pushed  tiers.Stamp   // I5: nothing older may be fresh …
	losses  int           // … unless the cache has lost something since
	doubt   int           // I15: step after which the primary must be read before anything is fresh; 0: none
	sent    time.Duration // P7: when the newest request was sent that a tier carried out
	since   time.Duration // P4: no answer asked for before is fresh
	expired time.Duration // I3c: since when Get may not give a value any more; 0: it may
	asked   time.Duration // I11, I12: when the answer for stamp was asked for …
	stamp   tiers.Stamp   // … so that it may be used for TTL + grace from then
	base    uint64        // I7: what had moved the token when no flight was in the air
}

type judge struct {
	w         *world
	violation string // the first
	cache     [][]span
	mark      tiers.Mark      // at the last look
	markAt    time.Duration   // when it moved last
	refused   map[string]bool // values of writes that surely failed
	sent      map[string]bool // values of writes that reached the source's door
	losses    int             // world.losses at the last look
}

func newJudge(w *world) judge {
	n := w.draw.keys
	return judge{w: w, cache: make([][]span, n), refused: map[string]bool{}, sent: map[string]bool{}}
}

func (j *judge) fail(format string, args ...any) {
	if j.violation == "" {
		j.violation = fmt.Sprintf(format, args...)
	}
}

// step judges what a step has led to. The caller holds world.mu.
func (j *judge) step() {
	w := j.w
	if mark, _ := w.store.Mark(all, namespace); mark != j.mark {
		j.mark, j.markAt = mark, w.now()
	}
	for key, name := range names[:w.draw.keys] {
		for _, s := range w.sites {
			for _, db := range s.all() {
				r := tiers.Result{Record: db.load(name)}
				if db.gone || db.standby {
					r.Err = errRefused
				}
				j.look(&db.spans[key], r)
			}
		}
		old, now := j.look(&j.cache[key], w.store.Load(all, namespace, []string{name})[0])
		if old.present && (!now.present || old.stamp.Newer(now.stamp)) && w.losses == j.losses {
			j.fail("I6: the cache went from %v to %v (%v) for %s", old.stamp, now.stamp, now.present, name)
		}
	}
	j.losses = w.losses
	slices.SortFunc(w.results, func(a, b result) int { return a.id - b.id })
	results := w.results
	w.results = nil
	for _, r := range results {
		if !r.p.ghost {
			j.result(&r)
		}
	}
	for _, p := range w.procs {
		if p.state != running && p.state != opening || p.m == nil {
			continue
		}
		if p.link == linkFrozen && w.now()-p.frozen > silence && p.state == running && p.m.Stats().PushesUp {
			j.fail("I5b: p%d has heard nothing for %v", p.id, w.now()-p.frozen)
		}
		for key := range p.opts {
			j.inspect(p, key)
		}
		j.attend(p)
		j.underWay(p)
		for key := range p.opts {
			j.inFlight(p, key)
		}
	}
}

// attend notes what p counts, and judges that (P5).
func (j *judge) attend(p *process) {
	w, s := j.w, p.m.Stats()
	if s.Corrections > p.is.corrections {
		w.count("corrected")
		if !w.wronged && len(w.sites) == 1 { // else what it took from another's cache
			j.fail("P5: p%d corrects, and nothing was wrong", p.id)
		}
	}
	p.is.corrections = s.Corrections
	refused := refuses(p.m)
	if refused != p.is.refused {
		p.is.flips++
		w.count("cache not used")
	}
	p.is.refused = refused
	if s.Epoch != p.is.epoch {
		p.is.flips++
	}
	p.is.epoch = s.Epoch
	if !s.CacheFed {
		w.count("unfed")
	}
	p.excuseLocked(s, refused)
}

// silence is how long a channel that says nothing may go unnoticed.
const silence = 3500 * time.Millisecond

// inspect judges what p would read now.
func (j *judge) inspect(p *process, key int) {
	w, k, now := j.w, &p.known[key], j.w.now()
	r := p.opts[key].Inspect()
	if j.reading("Inspect", p, key, r, now, *k, w.losses, p.knows(), p.is.corrections); p.m.Stats().Corrections > p.is.corrections {
		k.floor = r.Stamp
	}
	k.floor = newest(k.floor, r.Stamp)
	got := p.opts[key].Get()
	if r.State == fastopt.Expired && r.Stamp == k.stamp && now-k.asked < j.w.draw.usable() {
		j.fail("I11, I12: p%d %s fell to its default %v after its last answer was asked for", p.id, names[key], now-k.asked)
	}
	if r.State == fastopt.Fresh || r.State == fastopt.Stale {
		if k.stamp != r.Stamp {
			k.stamp, k.asked = r.Stamp, 0
		}
		k.asked = max(k.asked, now-r.Age)
	}
	if r.State != fastopt.Expired {
		k.expired = 0
		if got != r.Value {
			j.fail("I17: p%d Get gives %d, Inspect %d", p.id, got, r.Value)
		}
		return
	}
	if k.expired == 0 {
		w.count("expired")
		k.expired = now
	}
	for _, it := range w.parked { // who is stopped is late
		if it.p == p && strings.HasPrefix(it.what, "expire") {
			k.expired = max(k.expired, now)
		}
	}
	if now-k.expired > lag && got != fallback {
		j.fail("I3c: p%d Get gives %d of %s %v after it expired", p.id, got, names[key], now-k.expired)
	}
}

// lag is how late the expirer may be (E).
const lag = 50 * time.Millisecond

// reading judges one reading, given at an instant to who had to know k.
func (j *judge) reading(what string, p *process, key int, r fastopt.Reading[int64], at time.Duration, k known, losses int, epoch uint32, corrections uint64) {
	w, d := j.w, j.w.draw
	bad := func(rule string) {
		j.fail("%s: p%d %s %s gives %d %v %v stamp %v age %v err %v; floor %v, pushed %v", rule, p.id, what, names[key],
			r.Value, r.State, r.Origin, r.Stamp, r.Age, r.Err, k.floor, k.pushed)
	}
	absent := r.Origin == fastopt.Default
	switch c := w.commits[fmt.Sprint(r.Value)]; {
	case absent && r.Value != fallback:
		bad("I12: no default")
	case !absent && (c.name != names[key] || c.stamp.Revision != r.Stamp.Revision || c.stamp.Epoch > r.Stamp.Epoch):
		bad("I1, I17: no such commit")
	}
	if k.floor.Newer(r.Stamp) && p.m.Stats().Corrections == corrections {
		bad("I2, I4: older than before")
	}
	if known := p.known[key]; (r.State == fastopt.Fresh || r.State == fastopt.Stale) && at-r.Age > known.sent {
		bad("P7: younger than the newest request")
	}
	switch r.State {
	case fastopt.Fresh:
		if !j.was(p, key, absent, r.Stamp, at-d.ttl) {
			bad("I3: fresh, and no tier said so within the TTL")
		}
		// A zombie's client may be told of a history that nobody has marked.
		theirs := k.pushed.Epoch != r.Stamp.Epoch && !w.marked()
		if k.pushed.Newer(r.Stamp) && k.losses == losses && losses == w.losses && !w.wronged && !theirs {
			bad("I5: fresh, and older than a push")
		}
		if at-r.Age < k.since {
			bad("I5, P4: fresh, and asked for before an event was handled")
		}
		if k.doubt > 0 {
			bad("I15: fresh after a write of unknown outcome, or a conflict")
		}
		if d.mark && r.Stamp.Epoch < epoch {
			bad(fmt.Sprintf("R26: fresh, and epoch %d is known", epoch))
		}
	case fastopt.Stale:
		w.count("stale")
		if r.Age >= d.usable() {
			bad("I3c: stale, and too old to be used")
		}
		if from := at - d.usable(); d.usable() != math.MaxInt64 && !j.was(p, key, absent, r.Stamp, from) && !j.outlasts(key, r.Stamp, from) {
			bad("I3c: no tier said so within TTL + grace")
		}
	}
}

// inFlight judges how many requests for a key are under way: one for each time
// that the token moved since no flight was in the air (I7).
func (j *judge) inFlight(p *process, key int) {
	if p.state != running {
		return
	}
	k, s := &p.known[key], p.m.Stats()
	if s.PushesUp && (!p.up || s.PushesLost > p.lost) {
		p.ups++
	}
	p.up, p.lost = s.PushesUp, s.PushesLost
	moved := s.Pushes + s.PushesLost + p.ups + s.Writes + s.WritesFailed + p.is.flips
	flights := false
	n := map[string]uint64{}
	for _, it := range j.w.parked {
		if it.p != p {
			continue
		}
		flights = flights || it.ctx != nil || strings.HasPrefix(it.what, "flight") || strings.HasPrefix(it.what, "install")
		if it.concerns(names[key]) {
			n[strings.TrimSuffix(it.what, answered)]++
		}
	}
	writes := p.order[call{kind: "setall"}.slot()]
	for _, kind := range []string{"set", "setif", "delete"} {
		writes += p.order[call{key: key, kind: kind}.slot()]
	}
	if writes > 0 || s.Dirty > 0 {
		k.base = 0
	} else if !flights {
		k.base = moved + 1
	}
	for _, what := range []string{"cache load", "source load"} {
		if k.base > 0 && n[what] > 1+moved+1-k.base {
			j.fail("I7: p%d has %d requests %q for %s under way", p.id, n[what], what, names[key])
		}
		if n[what] > 1 {
			j.w.count("two tokens in flight")
		}
	}
}

// result judges a client's call that has ended.
func (j *judge) result(r *result) {
	w, p := j.w, r.p
	p.order[r.slot()]--
	switch r.kind {
	case "open":
		if p.state, p.m = running, r.m; r.err != nil {
			p.state = closed
			if errors.Is(r.err, tiers.ErrSetup) && w.draw.staging == "foreign" && p.is.mark.Lineage != p.site.primary.id.Lineage {
				w.count("not opened")
				return
			}
			j.fail("open p%d: %v", p.id, r.err)
		}
	case "close":
		if p.state = closed; r.err != nil {
			j.fail("I24: close p%d: %v", p.id, r.err)
		}
		for _, kind := range []string{"set", "setif", "setall", "delete"} {
			for key := range p.opts {
				if p.order[call{key: key, kind: kind}.slot()] > 0 {
					j.fail("I24: p%d has closed while a %s is under way", p.id, kind)
				}
			}
		}
		if p.m.Stats().Dirty > 0 { // nobody else knows
			w.needLocked(names...)
		}
	case "load":
		j.loaded(r)
	default:
		j.wrote(r)
	}
}

func (j *judge) loaded(r *result) {
	known := r.known
	known.doubt = 0 // it may have been cleared since
	if r.p.state == running {
		j.reading("Load", r.p, r.key, r.reading, r.at, known, r.lost, r.told, r.count)
	}
	switch {
	case r.reading.State == fastopt.Fresh:
	case r.reading.Err == nil:
		j.fail("I5: p%d Load %s is %v and does not say why", r.p.id, names[r.key], r.reading.State)
	default:
		j.w.count("load failed")
	}
}

func (j *judge) wrote(r *result) {
	if r.spare {
		j.spared(r)
	}
	for key := range r.p.opts {
		if key == r.key || r.kind == "setall" {
			j.wroteOne(r, key)
		}
	}
	switch {
	case r.err == nil:
		if !r.receipt.Cached {
			j.w.count("not cached")
		}
		j.w.count(r.kind)
	case errors.Is(r.err, fastopt.ErrOutcomeUnknown):
		j.w.count("outcome unknown")
	case errors.Is(r.err, fastopt.ErrConflict):
		j.w.count("conflict")
	case errors.Is(r.err, fastopt.ErrUnavailable):
		j.w.count("write refused")
	case !errors.Is(r.err, fastopt.ErrClosed):
		j.fail("p%d %s %s: %v", r.p.id, r.kind, names[r.key], r.err)
	}
}

// wroteOne judges what a write did to one key.
func (j *judge) wroteOne(r *result, key int) {
	w, k, value := j.w, &r.p.known[key], fmt.Sprint(r.value(key))
	switch c, committed := w.commits[value]; {
	case r.err == nil:
		if r.writes() && c != (commit{names[key], r.receipt.Stamp}) {
			j.fail("p%d %s %s: receipt %v is of another commit", r.p.id, r.kind, names[key], r.receipt.Stamp)
		}
		if r.p.m.Stats().Corrections == r.count { // else it may have been lost again
			k.floor = newest(k.floor, r.receipt.Stamp)
		}
	case errors.Is(r.err, fastopt.ErrOutcomeUnknown):
		k.doubt = w.step
	case errors.Is(r.err, fastopt.ErrUnavailable), errors.Is(r.err, fastopt.ErrConflict):
		if r.kind == "setif" && errors.Is(r.err, fastopt.ErrConflict) {
			k.doubt = w.step
		}
		if r.writes() {
			j.refused[value] = true
		}
		if r.writes() && committed {
			j.fail("I14: p%d %s %s was refused and committed", r.p.id, r.kind, names[key])
		}
	}
}

func newest(a, b tiers.Stamp) tiers.Stamp {
	if b.Newer(a) {
		return b
	}
	return a
}

// summary is what all processes read, for the trace.
func (j *judge) summary() string {
	var b strings.Builder
	for _, p := range j.w.procs {
		for _, o := range p.opts {
			r := o.Inspect()
			fmt.Fprintf(&b, " | p%d %d %v %v %v", p.id, r.Value, r.State, r.Origin, r.Stamp)
		}
	}
	return b.String()
}
