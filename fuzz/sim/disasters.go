package sim

import (
	"fmt"
	"slices"

	"github.com/fastopt/fastopt-go/tiers"
)

// Disasters: histories that end, databases and caches that are set back, and
// what somebody else writes into the cache.

// disaster does one, and reports whether it could.
func (w *world) disaster(name string, p *process) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch name {
	case "failover":
		if s := pick(w, w.sites); w.rng.IntN(4) == 0 && s.primary.recordedIsActual() {
			s.primary.step(0) // by hand: the server lives on, and who leads by its leave
			w.count("stepped by hand")
			w.needLocked(names...)
		} else {
			w.failOver(s)
		}
	case "standby":
		return w.strayLocked(p)
	case "set back":
		s := pick(w, w.sites)
		s.primary.setBack(1 + w.rng.IntN(4))
		w.wronged, w.hidden = true, true
		w.loseLocked()
	case "depose":
		s := pick(w, w.sites)
		if s.primary.right == nil {
			return false
		}
		w.deposeLocked(s.primary)
	case "poison":
		return w.poison()
	case "replica":
		w.failOverCache()
	}
	return true
}

// failOver promotes a standby that lacks the last commits. The old primary is
// gone, or goes on for some: a zombie.
func (w *world) failOver(s *site) {
	old := s.primary
	lost := w.rng.IntN(4)
	s.primary = old.promoted(lost)
	if s.primary.id.Epoch < old.id.Epoch && !w.marked() { // nobody could tell a new process of the one that was lost
		lost, s.primary = 0, old.promoted(0)
	}
	if s.primary.id.Epoch < old.id.Epoch { // it does not know of the step either
		w.count("epoch lost")
		w.wronged, w.hidden = true, true
	}
	if lost > 0 {
		w.count("commits lost")
		w.hidden = w.hidden || !w.draw.mark // a lost insert leaves no row to follow
	}
	zombie := w.draw.faults["zombie"] && w.rng.IntN(2) == 0
	if zombie && (!old.recordedIsActual() || !w.marked()) { // both may be given the same epoch; the zombie's relay may mark the cache
		w.wronged, w.hidden = true, true
	}
	old.gone = !zombie
	s.rest = append(s.rest, old)
	w.deposeLocked(old)
	for _, p := range slices.Concat(w.procs, w.ghosts) {
		if p.server != old {
			continue
		}
		if zombie && w.rng.IntN(2) == 0 {
			w.count("zombie")
			continue
		}
		p.server = s.primary
	}
	w.needLocked(names...)
}

// strayLocked has the connections of a process lead to a standby, or back.
func (w *world) strayLocked(p *process) bool {
	switch {
	case p.site == nil:
		return false
	case p.server != p.site.primary:
		p.server = p.site.primary
	default:
		p.server = p.site.primary.promoted(1)
		p.server.standby = true
		w.count("strayed")
	}
	return true
}

// poison puts a record into the cache that the source never gave, with a stamp
// of the future, for a name of which the source has something to say.
func (w *world) poison() bool {
	s := w.sites[0].primary
	known := s.scan()
	if len(known) == 0 {
		return false
	}
	r := known[w.rng.IntN(len(known))]
	r.Kind, r.NoRow = tiers.Value, false
	r.Stamp.Revision = s.head + 1 + uint64(w.rng.IntN(20))
	if w.draw.mark && w.rng.IntN(2) == 0 { // without a mark nobody could tell that there is no such history
		r.Stamp.Epoch += 1 + uint32(w.rng.IntN(3))
		w.count("future epoch")
	}
	w.calls++
	r.Data = fmt.Append(nil, w.calls*10)
	if !w.store.Fill(all, namespace, []tiers.Fill{{Record: r}})[0].Stored {
		return false
	}
	w.commits[string(r.Data)] = commit{r.Name, r.Stamp}
	w.wronged, w.hidden = true, true
	w.loseLocked()
	w.announceLocked(nil, r.Name, tiers.Stamp{})
	return true
}

// A replica is what a lagging replica of the cache holds.
type replica struct {
	records []tiers.Record
	mark    tiers.Mark
}

// failOverCache has the cache fail over to its replica, which from then on has
// what the cache had just before.
func (w *world) failOverCache() {
	next := replica{}
	for _, r := range w.store.Load(all, namespace, names) {
		if r.Err == nil {
			next.records = append(next.records, r.Record)
		}
	}
	next.mark, _ = w.store.Mark(all, namespace)
	if len(next.records) == 0 {
		return
	}
	if len(w.replica.records) == 0 || w.rng.IntN(2) == 0 { // it has caught up, for now
		w.replica = next
		return
	}
	w.store.Flush()
	for _, r := range w.replica.records {
		w.store.Fill(all, namespace, []tiers.Fill{{Record: r}})
	}
	if w.replica.mark != (tiers.Mark{}) {
		w.store.PutMark(all, namespace, tiers.Mark{}, w.replica.mark)
	}
	w.replica = next
	w.count("cache set back")
	w.loseLocked()
	for _, p := range w.procs {
		if p.link == linkUp {
			clear(p.tracked)
			p.queue = append(p.queue, push{Event: tiers.Event{Kind: tiers.Lost}}, push{Event: tiers.Event{Kind: tiers.Alive}})
		}
	}
}
