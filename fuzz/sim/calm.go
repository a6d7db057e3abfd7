package sim

import (
	"slices"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Calm: nothing fails, everything is answered at once, and everything has to
// come right. Every history ends with it.

// calm lets d pass while everything is answered at once, except by what is down.
func (w *world) calm(d time.Duration) {
	for end := w.now() + d; w.now() < end && w.ok(); {
		w.calmOne()
	}
}

// calmOne does the next thing, or lets a little time pass.
func (w *world) calmOne() {
	if w.swift++; w.swift > 3000 {
		w.judge.fail("I20: a storm: 3000 steps without an end")
		return
	}
	if w.stir() {
		return
	}
	w.swift = 0
	w.doze(w.untilDeadline(max(w.draw.ttl/8, 25*time.Millisecond)))
}

// stir does the next thing, if there is one that needs no time to pass.
func (w *world) stir() bool {
	if w.expireOne() {
		return true
	}
	if items := w.answerable(); len(items) > 0 {
		it, v := items[0], pass
		if w.refuses(it) {
			v = fail
		}
		w.let(it, v)
		w.after("p%d %s %s: %v, calmly", it.p.id, it.what, it.names, v)
		return true
	}
	if can := w.pushable(); len(can) > 0 {
		w.deliver(can[0], false)
		return true
	}
	if can := w.electable(); len(can) > 0 {
		w.elect(can[0])
		return true
	}
	return false
}

// doze lets d pass, or less if something parks.
func (w *world) doze(d time.Duration) {
	select {
	case <-w.bell:
	default:
	}
	start := w.now()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w.bell:
	case <-t.C:
	}
	w.after("%v pass", w.now()-start)
}

// end ends all faults, lets everything come right, judges that, and closes.
func (w *world) end() {
	if w.ok() {
		w.heal()
	}
	if w.ok() {
		w.calm(w.soon())
		w.mu.Lock()
		if !w.hidden || !w.draw.relay {
			w.judge.repaired()
		}
		w.mu.Unlock()
	}
	if w.ok() && !w.draw.faults["drop"] && (!w.hidden || !w.draw.relay) {
		w.probe()
	}
	if w.ok() {
		w.calm(w.atLast())
	}
	if w.ok() {
		w.mu.Lock()
		w.judge.atRest()
		w.mu.Unlock()
	}
	if w.ok() && w.draw.faults["night"] {
		w.atNight()
	}
	if w.ok() {
		for _, p := range w.procs {
			if p.state == running {
				w.beginClose(p)
			}
			w.quiet()
		}
	}
	w.tearDown()
}

// soon is within which time the cache is right again (I16): two seconds, and
// one for a relay to be elected and the mark to be seen.
func (w *world) soon() time.Duration {
	if w.draw.slowly() {
		return 3 * time.Second
	}
	return 2 * time.Second
}

// atLast is within which time everything is right: two TTLs, and where a
// patrol has to find something, or a copy waits for the mark to stand still,
// the time for that.
func (w *world) atLast() time.Duration {
	d := 2*w.draw.ttl + 3*time.Second
	if w.draw.relay && (w.hidden || w.draw.staging != "") {
		d += 12 * time.Second
	}
	return d
}

// probe has one process write, and judges that all know within a second (I5b).
func (w *world) probe() {
	i := slices.IndexFunc(w.procs, func(p *process) bool { return p.state == running && p.site == w.sites[0] && !refuses(p.m) })
	if i < 0 {
		return
	}
	p := w.procs[i]
	key := w.rng.IntN(w.draw.keys)
	w.beginSet(p, key)
	w.after("p%d set %s, which all must know soon", p.id, names[key])
	w.quiet()
	w.calm(time.Second)
	for _, q := range w.procs {
		if q.state == running && q.site == p.site && p.known[key].floor.Newer(q.opts[key].Inspect().Stamp) {
			w.judge.fail("I5b: p%d does not know what p%d wrote a second ago to %s", q.id, p.id, names[key])
		}
	}
}

// quiet waits calmly until no client has a call under way.
func (w *world) quiet() {
	limit := w.now() + 10*time.Second
	for w.ok() && w.now() < limit {
		busy := false
		for _, p := range w.procs {
			busy = busy || p.busy()
		}
		if !busy {
			return
		}
		w.calmOne()
	}
	if w.ok() {
		w.judge.fail("I13: a call has not ended after 10 s without faults")
	}
}

// heal ends all faults, and gives the help that a relay would where none stands.
func (w *world) heal() {
	clear(w.down)
	clear(w.mute)
	for _, t := range slices.Clone(w.lame) {
		w.unseat(t)
	}
	w.mu.Lock()
	for _, p := range w.procs {
		if p.stopped = 0; p.site != nil {
			p.server = p.site.primary
		}
	}
	for _, s := range w.sites {
		for _, db := range s.rest {
			db.gone = true
			if db.right != nil {
				db.right.cancel()
			}
		}
	}
	w.mu.Unlock()
	w.after("healed")
	w.quiet()
	for len(w.late) > 0 && w.ok() {
		if w.draw.faults["late"] && w.rng.IntN(2) == 0 {
			w.carryOut()
		} else {
			w.late = w.late[1:]
		}
	}
	for _, p := range w.procs {
		if p.state == running && p.link != linkUp {
			w.relink(p, linkUp)
		}
	}
	if i := slices.IndexFunc(w.procs, func(p *process) bool { return p.state == running && p.site == w.sites[0] }); i < 0 && w.ok() {
		w.beginOpen(w.procs[0])
		w.after("p0 open")
		w.quiet()
	}
	for _, name := range names[:w.draw.keys] {
		if w.help[name] && !w.draw.relay {
			w.mend(name)
		}
	}
}

// mend fills the cache from the source, as a relay would.
func (w *world) mend(name string) {
	w.mu.Lock()
	db := w.sites[0].primary
	for _, p := range w.procs {
		if !db.recordedIsActual() || p.ken.refuses(db) {
			db.step(p.ken.id.Epoch)
		}
	}
	f := tiers.Fill{Record: db.load(name)}
	c := w.store.Load(all, namespace, []string{name})[0]
	var corrupt *tiers.CorruptError
	switch {
	case asCorrupt(c.Err, &corrupt):
		f.Replace = corrupt.Raw
	case c.Err == nil && (c.Kind != f.Kind || string(c.Data) != string(f.Data)):
		f.Replace = c.Raw
	}
	w.fillLocked(w.sites[0], namespace, []tiers.Fill{f})
	w.mu.Unlock()
	w.after("mend %s", name)
}

// tearDown opens all gates and closes what is open.
func (w *world) tearDown() {
	w.openGates()
	time.Sleep(2 * time.Second) // longer than any call, Open included
	synctest.Wait()
	for _, r := range w.results {
		if r.kind == "open" {
			r.p.m = r.m
		}
	}
	for _, p := range slices.Concat(w.procs, w.ghosts) {
		w.mu.Lock()
		m := p.m
		w.mu.Unlock()
		if m != nil {
			m.Close()
		}
	}
	synctest.Wait()
}
