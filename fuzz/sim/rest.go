package sim

import (
	"errors"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// The judge at the end, when everything was calm for long enough.

// fedSite is the site to which the cache belongs.
func (w *world) fedSite() *site {
	mark, err := w.store.Mark(all, namespace)
	for _, s := range w.sites {
		if err == nil && mark.Lineage == s.primary.id.Lineage && mark.System == s.primary.actual.System {
			return s
		}
	}
	return w.sites[0]
}

// repaired judges the cache (I16). What is missing, or of an epoch that nobody
// heeds any more, will be filled by whoever asks for it.
func (j *judge) repaired() {
	w := j.w
	mark, err := w.store.Mark(all, namespace)
	for _, name := range names[:w.draw.keys] {
		truth := w.fedSite().primary.load(name)
		cached := w.store.Load(all, namespace, []string{name})[0]
		if errors.Is(cached.Err, tiers.ErrMiss) || w.draw.mark && err == nil && cached.Stamp.Epoch < mark.Epoch {
			continue
		}
		if w.twin(cached, truth) {
			w.count("twin")
			continue
		}
		if cached.Kind != truth.Kind || truth.Kind == tiers.Value && cached.Stamp != truth.Stamp {
			j.fail("I16: the cache holds %v %v (%v) for %s, the source %v %v", cached.Kind, cached.Stamp, cached.Err, name, truth.Kind, truth.Stamp)
		}
	}
}

// twin reports whether a cached record has the stamp of the truth, and is another
// (R27). Where no process knows the truth already, nobody can tell.
func (w *world) twin(cached tiers.Result, truth tiers.Record) bool {
	return w.wronged && cached.Err == nil && cached.Stamp == truth.Stamp &&
		(cached.Kind != truth.Kind || string(cached.Data) != string(truth.Data))
}

// atRest judges everything.
func (j *judge) atRest() {
	w := j.w
	j.repaired()
	for _, p := range w.procs {
		if p.state != running {
			continue
		}
		for key, name := range names[:w.draw.keys] {
			j.right(p, key, p.site.primary.load(name))
		}
		s, refused := p.m.Stats(), refuses(p.m)
		if s.Dirty > 0 || s.Conflicts > 0 && !w.wronged || !s.PushesUp {
			j.fail("at rest p%d has %d dirty keys, %d conflicts, pushes up: %v", p.id, s.Dirty, s.Conflicts, s.PushesUp)
		}
		if w.draw.mark && w.draw.relay && !refused && (!s.CacheFed || s.Epoch != p.site.primary.id.Epoch) {
			j.fail("at rest p%d: cache fed: %v, for %v; epoch %d, the source's is %d", p.id, s.CacheFed, s.MarkAge, s.Epoch, p.site.primary.id.Epoch)
		}
		if theirs := w.draw.mark && p.site != w.fedSite(); refused != theirs {
			j.fail("at rest p%d does not use the cache: %v, which is another's: %v", p.id, refused, theirs)
		}
		for what, n := range map[string]uint64{"refused": s.Refused, "behind": s.CacheBehind, "corrupt seen": s.CacheCorrupt,
			"repaired": s.Repaired, "expiry": s.Expiries, "pushes lost": s.PushesLost, "lease waited": s.LeaseWaits,
			"withheld": s.FillsWithheld, "late fill": s.FillsLate, "resync": s.RelayResyncs, "relay fill": s.RelayFills} {
			w.seen[what] += int(n)
		}
	}
	if w.draw.mark && w.draw.relay && w.now()-j.markAt > fedWithin {
		j.fail("P12: the mark %v stands still for %v", j.mark, w.now()-j.markAt)
	}
}

// fedWithin is how long the mark may stand still while a relay leads.
const fedWithin = 2 * time.Second

// right judges that p reads the truth.
func (j *judge) right(p *process, key int, truth tiers.Record) {
	if j.w.twin(j.w.store.Load(all, namespace, []string{names[key]})[0], truth) {
		return
	}
	r := p.opts[key].Inspect()
	absent := truth.Kind == tiers.Absent
	if r.State != fastopt.Fresh || absent != (r.Origin == fastopt.Default) || !absent && r.Stamp != truth.Stamp {
		j.fail("at rest p%d reads %s as %v %v %v (%v), the truth is %v %v", p.id, names[key], r.State, r.Origin, r.Stamp, r.Err, truth.Kind, truth.Stamp)
	}
}

func asCorrupt(err error, c **tiers.CorruptError) bool { return errors.As(err, c) }
