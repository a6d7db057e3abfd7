package sim

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// The scheduler: one decision a step, drawn from the seed among what is
// possible. Between two steps everything is parked or waits for time to pass.

// run opens all processes and takes the random steps.
func (w *world) run() {
	for _, p := range w.procs {
		if w.draw.staging != "" && p.id == w.draw.procs-1 { // comes when the cache is taken
			for end := w.now() + 5*time.Second; !w.marked() && w.now() < end && w.ok(); {
				w.calmOne()
			}
			if !w.marked() {
				continue
			}
		}
		w.beginOpen(p)
		w.after("open p%d", p.id)
		for p.state == opening && w.ok() {
			w.calmOne()
		}
	}
	for w.steps() < w.draw.steps && w.ok() {
		w.act()
	}
}

// marked reports whether the cache has a mark.
func (w *world) marked() bool {
	_, err := w.store.Mark(all, namespace)
	return err == nil
}

func (w *world) ok() bool { return w.judge.violation == "" }

func (w *world) steps() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.step
}

// after ends a step: everything comes to rest and is judged. A step takes a
// moment, so that no two instants of the library are equal.
func (w *world) after(format string, args ...any) {
	if w.draw.moments {
		time.Sleep(time.Duration(1 + w.rng.IntN(999)))
	}
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge.step()
	if w.traced {
		w.note(fmt.Sprintf(format, args...))
	}
	w.step++
}

// note adds a line to the trace: what was done, and what came of it.
func (w *world) note(what string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%4d %12v  %-60s%s", w.step, w.now(), what, w.judge.summary())
	slices.SortFunc(w.parked, (*item).compare)
	for _, it := range w.parked {
		fmt.Fprintf(&b, " [p%d %s %s %d]", it.p.id, it.what, it.names, it.at)
	}
	w.trace = append(w.trace, b.String())
	h := fnv.New64a()
	fmt.Fprint(h, w.hash, b.String())
	w.hash = h.Sum64()
}

// An action is something that can be done now, with a weight.
type action struct {
	weight int
	do     func()
}

// act does one thing.
func (w *world) act() {
	if w.expireOne() {
		return
	}
	actions := []action{{w.draw.advance, w.advance}, {w.draw.clients, w.client}}
	add := func(weight int, can bool, do func()) {
		if can {
			actions = append(actions, action{weight, do})
		}
	}
	ready := w.ready()
	pushes := w.pushable()
	f := w.draw.faults
	add(12, len(ready) > 0, func() { it := pick(w, ready); w.release(it) })
	add(3, len(pushes) > 0, func() { w.deliver(pick(w, pushes), f["reorder"]) })
	add(1, len(pushes) > 0 && f["drop"], func() { w.drop(pick(w, pushes)) })
	add(2, f["late"] && len(w.late) > 0, w.carryOut)
	add(1, f["calm"] && w.rng.IntN(4) == 0, func() { w.calm(time.Duration(w.rng.Int64N(int64(w.spell())))) })
	if can := w.electable(); len(can) > 0 {
		add(4, true, func() { w.elect(pick(w, can)) })
	}
	if lame := w.lame; len(lame) > 0 {
		add(1, true, func() { w.unseat(pick(w, lame)) })
	}
	for _, name := range disturbances {
		add(1, f[name] && w.rng.IntN(5) == 0, func() { w.disturb(name) })
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := w.rng.IntN(total)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			a.do()
			return
		}
	}
}

func pick[T any](w *world, from []T) T { return from[w.rng.IntN(len(from))] }

// expireOne releases one operation whose context has ended, if there is one:
// no time passes before all are.
func (w *world) expireOne() bool {
	var ended []*item
	for _, it := range w.sorted() {
		if it.ctx != nil && it.ctx.Err() != nil {
			ended = append(ended, it)
		}
	}
	if len(ended) == 0 {
		return false
	}
	it := pick(w, ended)
	w.count("timeout")
	w.let(it, timeout)
	w.after("p%d %s %s: timeout", it.p.id, it.what, it.names)
	return true
}

// ready returns what may be released. Some items are held for a while.
func (w *world) ready() []*item {
	items := w.answerable()
	return slices.DeleteFunc(items, func(it *item) bool {
		if it.hold == 0 {
			it.hold = it.at
			if w.rng.IntN(100) < w.draw.holding {
				it.hold += 10 + w.rng.IntN(80)
			}
		}
		return it.hold > w.step && it.p.state == running
	})
}

// release lets an item go on, or not.
func (w *world) release(it *item) {
	v, f := pass, w.draw.faults
	switch unlucky := w.rng.IntN(100) < w.draw.failures; {
	case it.ctx == nil:
	case it.answer() && f["lose"] && unlucky, it.tier() && f["fail"] && unlucky, w.refuses(it):
		v = fail
		w.count("failed " + it.what)
	}
	w.let(it, v)
	w.after("p%d %s %s: %v", it.p.id, it.what, it.names, v)
}

// answerable returns what is parked, but for requests to a tier that says nothing:
// they end with their contexts, if those end.
func (w *world) answerable() []*item {
	return slices.DeleteFunc(w.sorted(), func(it *item) bool {
		if !it.tier() || !w.mute[it.of()] {
			return false
		}
		_, ends := it.ctx.Deadline()
		return ends
	})
}

// refuses reports whether it is a request to a tier that is down.
func (w *world) refuses(it *item) bool {
	return it.tier() && w.down[it.of()]
}

// pushable returns the processes to which a push can be delivered.
func (w *world) pushable() (can []*process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.procs {
		if p.idle && len(p.queue) > 0 && w.now() >= p.stopped {
			can = append(can, p)
		}
	}
	return can
}

// take removes a push from p's queue. Changes may overtake one another, but not
// what is said of the channel itself.
func (w *world) take(p *process, reorder bool) push {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := slices.IndexFunc(p.queue, func(e push) bool { return e.Kind != tiers.Changed })
	if n < 0 {
		n = len(p.queue)
	}
	i := 0
	if reorder && n > 1 {
		if i = w.rng.IntN(n); i > 0 {
			w.count("push reordered")
		}
	}
	e := p.queue[i]
	p.queue = slices.Delete(p.queue, i, i+1)
	return e
}

func (w *world) deliver(p *process, reorder bool) {
	e := w.take(p, reorder)
	w.mu.Lock()
	p.idle = false
	w.mu.Unlock()
	p.deliver <- e
	w.after("p%d push %d %s %v", p.id, e.Kind, e.Name, e.stamp)
}

func (w *world) drop(p *process) {
	e := w.take(p, true)
	w.mu.Lock()
	if e.Kind == tiers.Changed {
		w.seen["push dropped"]++
		// As in Redis: a push is lost only with its connection.
		clear(p.tracked)
		p.queue = append(p.queue, push{Event: tiers.Event{Kind: tiers.Lost}}, push{Event: tiers.Event{Kind: tiers.Alive}})
	} else {
		p.queue = slices.Insert(p.queue, 0, e)
	}
	w.mu.Unlock()
	w.after("p%d drop %d %s", p.id, e.Kind, e.Name)
}

// carryOut has the tier do what somebody asked for and has given up.
func (w *world) carryOut() {
	i := w.rng.IntN(len(w.late))
	l := w.late[i]
	w.mu.Lock()
	w.late = slices.Delete(w.late, i, i+1)
	// Soon enough, the process that asked finds it out by itself.
	if l.what == "source write" && (w.now()-l.at > 900*time.Millisecond || l.p.state != running) {
		w.needLocked(strings.Split(l.names, ",")...)
	}
	w.count("late " + l.what)
	l.apply()
	w.mu.Unlock()
	w.after("p%d late %s %s", l.p.id, l.what, l.names)
}

// advance lets time pass.
func (w *world) advance() {
	var d time.Duration
	switch n := w.rng.IntN(100); {
	case n < 60:
		d = time.Duration(1+w.rng.IntN(8)) * time.Millisecond
	case n < 88:
		d = time.Duration(10+w.rng.IntN(60)) * time.Millisecond
	case n < 97:
		d = time.Duration(w.rng.Int64N(int64(w.draw.ttl)))
	default:
		d = w.draw.ttl + time.Duration(w.rng.Int64N(int64(2*time.Second)))
	}
	if w.draw.slowly() && w.rng.IntN(4) == 0 {
		d *= 8
	}
	for _, p := range w.procs {
		if p.state == closing || p.state == opening {
			d = min(d, 10*time.Millisecond) // Close gives tiers five seconds
		}
	}
	w.sleep(d)
}

// sleep lets d pass, but not beyond the next deadline of an operation.
func (w *world) sleep(d time.Duration) {
	d = w.untilDeadline(d)
	time.Sleep(d)
	w.after("%v pass", d)
}

// untilDeadline is d, or less if the context of an operation ends before that.
func (w *world) untilDeadline(d time.Duration) time.Duration {
	for _, it := range w.sorted() {
		if it.ctx == nil {
			continue
		}
		if end, ok := it.ctx.Deadline(); ok {
			d = min(d, time.Until(end))
		}
	}
	return d
}

// spell is how long a calm between disturbances may be.
func (w *world) spell() time.Duration {
	if w.draw.slowly() {
		return max(2*w.draw.ttl, 8*time.Second)
	}
	return 2 * w.draw.ttl
}

// client starts a call that no client has under way, as long as few have.
func (w *world) client() {
	p, key := pick(w, w.procs), w.rng.IntN(w.draw.keys)
	if p.state != running || w.now() < p.stopped {
		w.advance()
		return
	}
	free := func(kind string, most int) bool { return p.order[call{key: key, kind: kind}.slot()] < most }
	switch n := w.rng.IntN(12); {
	case n < 5 && free("load", 1):
		w.beginLoad(p, key)
		w.after("p%d load %s", p.id, names[key])
	case n < 8 && free("set", 2):
		w.beginSet(p, key)
		w.after("p%d set %s, call %d", p.id, names[key], w.calls)
	case n < 9 && free("setif", 1):
		w.beginSetIf(p, key)
		w.after("p%d set %s if unchanged, call %d", p.id, names[key], w.calls)
	case n < 10 && p.order[call{kind: "setall"}.slot()] < 1:
		w.beginSetAll(p)
		w.after("p%d set all, call %d", p.id, w.calls)
	case n >= 10 && free("delete", 1):
		w.beginDelete(p, key)
		w.after("p%d delete %s", p.id, names[key])
	}
}
