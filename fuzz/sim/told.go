package sim

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// What each process was told of histories, marks and leases, and whether what it
// asks and offers is allowed to who was told that. Everything here is noted where
// calls of tiers begin and end, on goroutines of the library.

// A told is what one process was told since it was opened. Guarded by world.mu.
type told struct {
	epochs []heard
	read   []time.Duration // R15: by key, when the newest answer of the source was asked for
	leases []lease         // I8: by key
	bucket bucket          // I8

	looked       bool       // it has read the mark, or that there is none
	mark, before tiers.Mark // as read last, and before that; zero: none
	markAt       time.Duration
	strangeSince time.Duration // all marks read since were another installation's; 0: the last was not
	identifiedAt time.Duration // the source told its identity
	refused      bool          // the process says that it does not use the cache
	epoch        uint32        // as the process says
	flips        uint64        // I7: times that one of the two changed
	corrections  uint64        // as counted at the last look
}

// A heard is an epoch, and since when the process has to heed it.
type heard struct {
	epoch uint32
	from  time.Duration
	late  bool // by the mark
}

// A lease is what was said to one process about the right to ask for one key.
type lease struct {
	until   time.Duration
	granted bool          // since the source was asked last
	denied  int           // times, since then
	excused time.Duration // when there was a reason to ask the source without the right; 0: none since it was asked last
}

func newTold(keys int) told {
	full := bucket{tokens: math.MaxInt32} // the burst, whatever it is
	return told{bucket: full, read: make([]time.Duration, keys), leases: make([]lease, keys)}
}

// heeds is how long a process may take to draw its conclusions from a mark: it
// may have to ask the source who it is, after somebody else has.
const heeds = 400 * time.Millisecond

// told notes that the process was told of an epoch, to be heeded within d.
func (p *process) told(epoch uint32, d time.Duration) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.heardLocked(epoch, d)
}

func (p *process) heardLocked(epoch uint32, d time.Duration) {
	p.is.epochs = append(p.is.epochs, heard{epoch, p.w.now() + d, d > 0})
}

// identifiesLocked reports whether the process asks its source who it is, as it
// has to before it draws conclusions.
func (w *world) identifiesLocked(p *process) bool {
	return slices.ContainsFunc(w.parked, func(it *item) bool { return it.p == p && strings.HasPrefix(it.what, "source identity") })
}

// knows is the highest epoch that the process has to heed.
func (p *process) knows() (epoch uint32) {
	asks := p.w.identifiesLocked(p)
	for _, h := range p.is.epochs {
		if h.from <= p.w.now() && !(h.late && asks) {
			epoch = max(epoch, h.epoch)
		}
	}
	return epoch
}

// sawMark notes what a process read in place of the mark.
func (p *process) sawMark(mark tiers.Mark, err error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if err != nil {
		mark = tiers.Mark{}
	}
	is, now := &p.is, p.w.now()
	is.looked, is.before, is.mark, is.markAt = true, is.mark, mark, now
	ours := mark == tiers.Mark{} || mark.Lineage == p.site.primary.id.Lineage && sameInstallation(mark.Identity, p.site.primary.actual)
	switch {
	case !ours && is.strangeSince == 0:
		is.strangeSince = now
		p.w.count("strange mark")
	case ours && mark != tiers.Mark{}:
		is.strangeSince = 0
		p.heardLocked(mark.Epoch, heeds)
	}
}

// identified notes that the process was told who its source is.
func (p *process) identified() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.is.identifiedAt = max(p.w.now(), 1)
}

// banned reports whether the process must know that the cache is not its own.
func (is *told) banned(now time.Duration) bool {
	return is.strangeSince > 0 && is.identifiedAt > is.strangeSince && is.identifiedAt+heeds < now
}

// offers judges what a process offers to the cache.
func (p *process) offers(what string, fills []tiers.Fill) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.free || p.ghost {
		return
	}
	is, now := &p.is, w.now()
	for _, f := range fills {
		later := func(m tiers.Mark) bool { return m != tiers.Mark{} && f.Stamp.Epoch > m.Epoch }
		switch {
		case w.draw.mark && is.looked && later(is.mark) && (later(is.before) || now-is.markAt > heeds) && !w.identifiesLocked(p):
			w.judge.fail("withheld: p%d offers %s at %v, and knows the mark to be of epoch %d", p.id, f.Name, f.Stamp, is.mark.Epoch)
		case w.draw.mark && is.strangeSince > 0 && now-is.strangeSince > heeds && !w.identifiesLocked(p):
			w.judge.fail("withheld: p%d offers %s to a cache that is another's", p.id, f.Name)
		case w.draw.mark && !is.looked:
			w.judge.fail("withheld: p%d offers %s to a cache whose mark it could not read", p.id, f.Name)
		case what == "cache fill" && now-is.read[keyOf(f.Name)] > lateFill:
			w.judge.fail("R15: p%d offers %s %v after it asked the source", p.id, f.Name, now-is.read[keyOf(f.Name)])
		}
		if what == "cache fill" && f.Replace != nil {
			w.count("replaces")
		}
	}
}

// lateFill is how long after its request an answer may be offered to the cache.
const lateFill = 5*time.Second + 350*time.Millisecond

// readLocked notes that the source answered about name.
func (p *process) readLocked(name string, at time.Time) {
	r := &p.is.read[keyOf(name)]
	*r = max(*r, at.Sub(p.w.start))
}

// leased notes what the cache said to the question for a right; nil: nothing.
func (p *process) leased(ns []string, held []bool, d time.Duration) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for i, name := range ns {
		l := &p.is.leases[keyOf(name)]
		switch now := p.w.now(); {
		case held == nil || held[i]:
			l.until, l.granted = now+d, true
		case now <= l.until: // it is its own
			l.granted = true
		default:
			l.denied++
			p.w.count("lease denied")
		}
	}
}

// excuse lets the process ask the source for names once: the cache has failed it.
func (p *process) excuse(ns []string) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, name := range ns {
		p.is.leases[keyOf(name)].excused = max(p.w.now(), 1)
	}
}

// asks judges a question to the source: while the cache is healthy it takes a
// lease, or that others had it for long and told nothing (I8).
func (p *process) asks(what string, ns []string) {
	w := p.w
	w.mu.Lock()
	m := p.m
	w.mu.Unlock()
	if m != nil && what == "source load" {
		p.excuseBy(m)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.free || p.ghost || what != "source load" {
		return
	}
	if len(slices.Compact(slices.Sorted(slices.Values(ns)))) < len(ns) {
		w.judge.fail("I7: p%d asks the source for %v, one name twice", p.id, ns)
	}
	p.spendLocked()
	for _, name := range ns {
		l := &p.is.leases[keyOf(name)]
		if m != nil && p.state == running && l.excused == 0 && !l.granted && w.now() > l.until && l.denied < 2 {
			w.judge.fail("I8: p%d asks the source for %s, without a lease", p.id, name)
		}
		if l.denied >= 2 {
			w.count("waited in vain")
		}
		if !w.sendsLocked(p) {
			l.denied, l.granted = 0, false
			if w.now()-l.excused > queues {
				l.excused = 0
			}
		}
	}
}

// queues is how long a question may wait for others of its process that are under
// way before it is sent. Who had a reason when it began to wait has it still.
const queues = 500 * time.Millisecond

// sendsLocked reports whether another batch of p, of which only the first name
// is known, is about to ask some tier, and may have an excuse already.
func (w *world) sendsLocked(p *process) bool {
	return slices.ContainsFunc(w.parked, func(it *item) bool { return it.p == p && it.what == string(point.FlightSend) })
}

// excuseBy excuses everything if the process has a reason to ask for itself.
func (p *process) excuseBy(m *fastopt.Manager) {
	s, refused := m.Stats(), refuses(m)
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.excuseLocked(s, refused)
}

func (p *process) excuseLocked(s fastopt.Stats, refused bool) {
	// Where a fill would be withheld, nobody need wait for one.
	withheld := p.w.draw.mark && (!p.is.looked || p.w.identifiesLocked(p) || p.is.mark != tiers.Mark{} && (p.is.mark.Epoch != s.Epoch || p.is.identifiedAt == 0))
	spared := refusing(s.CacheTier) // whom should it ask for the right?
	if s.PushesUp && s.CacheFed && s.Dirty == 0 && !refused && p.state == running && !withheld && !spared {
		return
	}
	for i := range p.is.leases {
		p.is.leases[i].excused = max(p.w.now(), 1)
	}
}

// refuses reports whether m says that it does not use the cache.
func refuses(m *fastopt.Manager) bool {
	err := m.Ready()
	return err != nil && strings.Contains(err.Error(), "the cache belongs to")
}

// marksLocked judges a mark that is about to be put into the cache.
func (p *process) marksLocked(old, next tiers.Mark) {
	w := p.w
	cur, err := w.store.Mark(all, namespace)
	if err != nil || cur != old {
		return
	}
	switch {
	case cur.Lineage != next.Lineage:
		w.judge.fail("P11: p%d marks the cache of another database", p.id)
	case !sameInstallation(cur.Identity, next.Identity):
		w.count("taken over")
		if still := w.now() - w.judge.markAt; still < standstill {
			w.judge.fail("P11: p%d takes the cache over from another installation, whose mark stood still for %v", p.id, still)
		}
		if next.Epoch <= cur.Epoch {
			w.judge.fail("P11: p%d takes the cache over with epoch %d, the mark's is %d", p.id, next.Epoch, cur.Epoch)
		}
	case next.Epoch < cur.Epoch:
		w.judge.fail("P12: p%d marks epoch %d over %d", p.id, next.Epoch, cur.Epoch)
	case next.Epoch > cur.Epoch:
		w.count("epoch marked")
	}
}

// standstill is how long a mark has to stand still before a copy may take over.
const standstill = 5*time.Second - 10*time.Millisecond

// corrects judges a fill that has replaced something newer.
func (j *judge) corrects(old tiers.Result, f tiers.Fill) {
	j.w.count("cache corrected")
	if f.Replace == nil {
		j.fail("I6: %v is stored over %v for %s", f.Stamp, old.Stamp, f.Name)
	}
	for _, s := range j.w.sites {
		r := s.primary.load(f.Name)
		if r.Kind == tiers.Value && r.Stamp == old.Stamp && string(r.Data) == string(old.Data) && len(j.w.sites) == 1 && !j.w.wronged {
			j.fail("P5: %s is corrected from %v to %v, and was right", f.Name, old.Stamp, f.Stamp)
		}
	}
}
