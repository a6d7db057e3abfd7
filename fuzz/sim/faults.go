package sim

import (
	"fmt"
	"slices"

	"github.com/fastopt/fastopt-go/tiers"
)

// Disturbances of channels, processes, tiers and what they hold. Those of
// histories are in disasters.go, those of single calls in sched.go.

var disturbances = []string{"cut", "freeze", "flush", "corrupt", "down", "mute", "night", "reopen", "kill", "stop", "coma", "depose", "poison", "replica", "blot",
	"desert", "failover", "standby", "set back"}

// disturb does one of the faults that befall a world, not a call.
func (w *world) disturb(name string) {
	p := pick(w, w.procs)
	switch name {
	case "cut", "freeze":
		w.relink(p, map[string]link{"cut": linkCut, "freeze": linkFrozen}[name])
		return
	case "reopen":
		w.reopen(p)
		return
	case "flush", "corrupt", "blot", "replica":
		if w.strangerLooks() {
			return
		}
		w.damage(name)
	case "down":
		tier := pick(w, []string{"cache", "source"})
		w.down[tier] = !w.down[tier]
		name = fmt.Sprintf("%s down: %v", tier, w.down[tier])
	case "mute":
		tier := pick(w, []string{"cache", "source"})
		w.mute[tier] = !w.mute[tier]
		name = fmt.Sprintf("%s mute: %v", tier, w.mute[tier])
	case "night":
		w.nightfall([]string{"cache", "source"})
		w.after("the dark")
		w.outlast()
		w.dawn()
	case "desert":
		if len(w.sites) == 1 {
			return
		}
		w.desert()
	case "kill", "stop", "coma":
		if p.state != running {
			return
		}
		switch name {
		case "kill":
			w.kill(p)
		case "stop":
			w.stop(p)
		default:
			w.stop(p)
			p.stopped = w.now() + 3*min(w.draw.usable(), longest/3)
			w.calm(p.stopped - w.now())
		}
		name = fmt.Sprintf("%s p%d", name, p.id)
	default:
		if !w.disaster(name, p) {
			return
		}
	}
	w.mu.Lock()
	w.count(name[:min(len(name), 9)])
	w.mu.Unlock()
	w.after("%s", name)
}

// damage has the cache lose something.
func (w *world) damage(name string) {
	if name != "replica" {
		w.lose()
	}
	switch name {
	case "flush":
		w.store.Flush()
		w.tellAll()
	case "blot":
		w.store.CorruptMark(namespace, []byte("?"))
	case "corrupt":
		key := names[w.rng.IntN(w.draw.keys)]
		w.mu.Lock()
		w.store.Corrupt(namespace, key, []byte("?"))
		w.hidden = true
		w.announceLocked(nil, key, tiers.Stamp{})
		w.mu.Unlock()
	case "replica":
		w.disaster(name, nil)
	}
}

// strangerLooks reports whether a process of another database is open that has
// not found out yet that the cache is not its own. Were the mark lost now, it
// would take the cache for its own, and nobody could tell better.
func (w *world) strangerLooks() bool {
	last := w.procs[len(w.procs)-1]
	return len(w.sites) > 1 && (last.state == opening || last.state == running && !last.is.refused)
}

// lose notes that the cache loses something. No relay sees what.
func (w *world) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loseLocked()
}

func (w *world) loseLocked() {
	w.losses++
	w.needLocked(names...)
	for _, s := range w.sites { // a zombie's relay may be the one who marks the cache
		for _, db := range s.rest {
			w.wronged = w.wronged || !db.gone
		}
	}
}

// needLocked notes keys that a relay has to mend.
func (w *world) needLocked(names ...string) {
	for _, name := range names {
		w.help[name] = true
	}
}

// tellAll announces that the cache lost everything, to whom it reaches.
func (w *world) tellAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		if p.link == linkUp {
			clear(p.tracked)
			p.queue = append(p.queue, push{Event: tiers.Event{Kind: tiers.Lost}}, push{Event: tiers.Event{Kind: tiers.Alive}})
		}
	}
}

// relink breaks a watch channel, or mends one that is broken.
func (w *world) relink(p *process, to link) {
	w.mu.Lock()
	if p.link != linkUp {
		to = linkUp
	}
	var tell []push
	switch {
	case to == linkCut:
		tell = []push{{Event: tiers.Event{Kind: tiers.Lost}}}
	case to == linkUp && p.link == linkFrozen:
		tell = []push{{Event: tiers.Event{Kind: tiers.Lost}}, {Event: tiers.Event{Kind: tiers.Alive}}}
	case to == linkUp && p.link == linkCut:
		tell = []push{{Event: tiers.Event{Kind: tiers.Alive}}}
	}
	if p.link == linkUp { // what was under way is lost
		p.queue, p.frozen = nil, w.now()
	}
	p.link, p.queue = to, append(p.queue, tell...)
	clear(p.tracked)
	w.count(fmt.Sprintf("link %d", to))
	w.mu.Unlock()
	w.after("p%d link %d", p.id, to)
}

// reopen closes a process, or opens it again.
func (w *world) reopen(p *process) {
	for _, o := range w.procs {
		if o.state == opening || o.state == closing {
			return
		}
	}
	switch {
	case w.now() < p.stopped:
	case p.state == running:
		w.beginClose(p)
		w.after("p%d close", p.id)
	case !p.busy() && (p.id < w.draw.procs-1 || w.draw.staging == "" || w.marked()):
		w.mu.Lock()
		w.count("reopened")
		w.mu.Unlock()
		w.beginOpen(p)
		w.after("p%d open", p.id)
	}
}

// busy reports whether calls of clients to p are under way.
func (p *process) busy() bool {
	for _, n := range p.order {
		if n > 0 {
			return true
		}
	}
	return false
}

// kill ends a process at once: nothing of it goes on but what it has sent. In
// its place stands one that was never opened.
func (w *world) kill(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.ghost = true
	for _, it := range w.parked {
		if it.p != p {
			continue
		}
		w.graves = append(w.graves, it)
		if it.late != nil && w.rng.IntN(2) == 0 {
			it.late.at = w.now()
			w.late = append(w.late, it.late)
		}
	}
	w.parked = slices.DeleteFunc(w.parked, func(it *item) bool { return it.p == p })
	w.candidates = slices.DeleteFunc(w.candidates, func(c *candidate) bool { return c.p == p })
	w.lame = slices.DeleteFunc(w.lame, func(t *tenure) bool { return t.p == p })
	for _, s := range w.sites {
		for _, db := range s.all() {
			if db.right != nil && db.right.p == p {
				db.right = nil
				w.count("relay killed")
			}
		}
	}
	w.needLocked(names...) // a commit may never have been offered
	p.link, p.queue, p.idle = linkCut, nil, false
	w.ghosts = append(w.ghosts, p)
	n := w.newProcess(p.id)
	n.site, n.server = p.site, p.server
	w.procs[slices.Index(w.procs, p)] = n
}

// desert has all processes of the original stand still for so long that a copy
// may take the cache over.
func (w *world) desert() {
	for _, p := range w.procs {
		if p.state == running && p.site == w.sites[0] {
			w.stop(p)
		}
	}
	w.after("all but a copy stand still")
	w.calm(w.spell())
}

// stop makes a process stand still for some seconds. Its servers may give its
// right to another one.
func (w *world) stop(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.stopped = w.now() + w.spell()/2 + w.spell()/4
	if right := p.server.right; right != nil && right.p == p && w.rng.IntN(3) > 0 {
		w.deposeLocked(p.server)
	}
}
