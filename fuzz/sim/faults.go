package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Disturbances, and the calm after them, in which everything has to come right.

// disturb does one of the faults that befall a world, not a call.
func (w *world) disturb(name string) {
	p := pick(w, w.procs)
	switch name {
	case "cut", "freeze":
		w.relink(p, map[string]link{"cut": linkCut, "freeze": linkFrozen}[name])
		return
	case "flush":
		w.lose()
		w.store.Flush()
		w.tellAll()
	case "corrupt":
		w.lose()
		name := names[w.rng.IntN(w.draw.keys)]
		w.store.Corrupt(namespace, name, []byte("?"))
		w.mu.Lock()
		w.announceLocked(name, tiers.Stamp{})
		w.mu.Unlock()
	case "down":
		tier := pick(w, []string{"cache", "source"})
		w.down[tier] = !w.down[tier]
		name = fmt.Sprintf("%s down: %v", tier, w.down[tier])
	case "reopen":
		w.reopen(p)
		return
	}
	w.count(name)
	w.after("%s", name)
}

// lose notes that the cache loses something: what it held is known to no relay.
func (w *world) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losses++
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
	case p.state == running:
		w.beginClose(p)
		w.after("p%d close", p.id)
	case !w.busy(p):
		w.count("reopened")
		w.beginOpen(p)
		w.after("p%d open", p.id)
	}
}

// busy reports whether calls of clients to p are under way.
func (w *world) busy(p *process) bool {
	for slot, n := range w.order {
		if n > 0 && strings.HasPrefix(slot, fmt.Sprint(p.id)) {
			return true
		}
	}
	return false
}

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
	if w.expireOne() {
		return
	}
	if items := w.sorted(); len(items) > 0 {
		it, v := items[0], pass
		if w.refuses(it) {
			v = fail
		}
		w.let(it, v)
		w.after("p%d %s %s: %v, calmly", it.p.id, it.what, it.names, v)
		return
	}
	if can := w.pushable(); len(can) > 0 {
		w.deliver(can[0], false)
		return
	}
	w.swift = 0
	w.sleep(max(w.draw.ttl/25, 10*time.Millisecond))
}

// end ends all faults, lets everything come right, judges that, and closes.
func (w *world) end() {
	if w.ok() {
		w.heal()
	}
	if w.ok() {
		w.calm(2 * time.Second)
		w.mu.Lock()
		w.judge.repaired()
		w.mu.Unlock()
	}
	if w.ok() && !w.draw.faults["drop"] {
		w.probe()
	}
	if w.ok() {
		w.calm(2*w.draw.ttl + 3*time.Second)
	}
	if w.ok() {
		w.mu.Lock()
		w.judge.atRest()
		w.mu.Unlock()
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

// probe has one process write, and judges that all know within a second (I5b).
func (w *world) probe() {
	p := w.procs[slices.IndexFunc(w.procs, func(p *process) bool { return p.state == running })]
	key := w.rng.IntN(w.draw.keys)
	w.beginSet(p, key)
	w.after("p%d set %s, which all must know soon", p.id, names[key])
	w.quiet()
	w.calm(time.Second)
	for _, q := range w.procs {
		if q.state == running && p.known[key].floor.Newer(q.opts[key].Inspect().Stamp) {
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
			busy = busy || w.busy(p)
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

// heal ends all faults and gives the help that a relay would.
func (w *world) heal() {
	clear(w.down)
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
	if i := slices.IndexFunc(w.procs, func(p *process) bool { return p.state == running }); i < 0 && w.ok() {
		w.beginOpen(w.procs[0])
		w.after("p0 open")
		w.quiet()
	}
	for _, name := range names[:w.draw.keys] {
		if w.help[name] {
			w.relay(name)
		}
	}
}

// relay fills the cache from the source.
func (w *world) relay(name string) {
	w.mu.Lock()
	r := w.rows.Load(all, namespace, []string{name})[0]
	f := tiers.Fill{Record: r.Record}
	if c := w.store.Load(all, namespace, []string{name})[0]; c.Err != nil && c.Err != tiers.ErrMiss {
		f.Replace = []byte("?")
	}
	w.fillLocked(namespace, []tiers.Fill{f})
	w.mu.Unlock()
	w.after("relay %s", name)
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
	for _, p := range w.procs {
		w.mu.Lock()
		m := p.m
		w.mu.Unlock()
		if m != nil {
			m.Close()
		}
	}
	synctest.Wait()
}
