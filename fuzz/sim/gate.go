package sim

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/fastopt/fastopt-go/internal/point"
)

// Gates: where goroutines of the library wait for the scheduler. A gate waits
// for its release alone, never for a context: the scheduler sees that a context
// has ended and releases the operation with that verdict, one at a time.

// A verdict is what the scheduler decides about something parked.
type verdict uint8

const (
	pass    verdict = iota // go on
	fail                   // a request: refused; an answer: lost
	timeout                // its context has ended
)

func (v verdict) String() string { return [...]string{"pass", "fail", "timeout"}[v] }

// An item is a goroutine that waits at a gate.
type item struct {
	p     *process
	what  string
	names string // sorted, joined by commas
	ctx   context.Context
	at    int       // step of arrival
	seq   int       // order of arrival, for items that are alike otherwise
	hold  int       // preferably not before this step; 0: not yet drawn
	late  *lateCall // what a tier may carry out though nobody waits for it; nil: nothing

	release chan verdict
}

// tier reports whether it is the request of an operation of a tier.
func (it *item) tier() bool { return it.ctx != nil && !it.answer() }

// of returns the tier that it asks.
func (it *item) of() string {
	tier, _, _ := strings.Cut(strings.TrimPrefix(it.what, "relay "), " ")
	return tier
}

func (it *item) answer() bool { return strings.HasSuffix(it.what, answered) }

const answered = ": answer"

// concerns reports whether the item is about name.
func (it *item) concerns(name string) bool {
	return slices.Contains(strings.Split(it.names, ","), name)
}

func (it *item) compare(o *item) int {
	return cmp.Or(cmp.Compare(it.p.id, o.p.id), cmp.Compare(it.names, o.names),
		cmp.Compare(it.what, o.what), cmp.Compare(it.at, o.at), cmp.Compare(it.seq, o.seq))
}

// park waits for the scheduler.
func (w *world) park(it *item) verdict {
	w.mu.Lock()
	if w.free {
		w.mu.Unlock()
		if it.ctx != nil && it.ctx.Err() != nil {
			return timeout
		}
		return pass
	}
	if it.tier() {
		w.askedAtNightLocked(it)
	}
	w.seq++
	it.at, it.seq, it.release = w.step, w.seq, make(chan verdict, 1)
	if it.p.ghost {
		w.graves = append(w.graves, it)
	} else {
		w.parked = append(w.parked, it)
	}
	w.mu.Unlock()
	select {
	case w.bell <- struct{}{}:
	default:
	}
	return <-it.release
}

// hook parks who passes a point of the library.
func (w *world) hook(pt point.Point, owner any, name string) {
	if !w.draw.points[pt] {
		return
	}
	w.mu.Lock()
	p := w.ownerLocked(owner)
	w.mu.Unlock()
	w.park(&item{p: p, what: string(pt), names: name})
}

// sorted returns what is parked in processes that run, in an order that the
// seed determines.
func (w *world) sorted() []*item {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortFunc(w.parked, (*item).compare)
	return slices.DeleteFunc(slices.Clone(w.parked), func(it *item) bool { return w.now() < it.p.stopped })
}

// let releases it.
func (w *world) let(it *item, v verdict) {
	w.mu.Lock()
	w.parked = slices.DeleteFunc(w.parked, func(o *item) bool { return o == it })
	w.mu.Unlock()
	it.release <- v
}

// open lets everything pass from now on.
func (w *world) openGates() {
	w.mu.Lock()
	w.free = true
	parked := append(w.parked, w.graves...)
	w.parked, w.graves = nil, nil
	w.mu.Unlock()
	for _, it := range parked {
		if it.ctx != nil && it.ctx.Err() != nil {
			it.release <- timeout
		} else {
			it.release <- pass
		}
	}
}

// call carries an operation of a tier through its gates. late is what the tier
// may carry out after nobody waits for it any more; nil: nothing.
func (p *process) call(ctx context.Context, what string, names []string, late *lateCall, apply func()) (done bool, err error) {
	w := p.w
	if ctx.Err() != nil { // as any tier; and who notices the end first must not matter
		return false, errSilent
	}
	label := labelOf(names)
	if late != nil {
		late.names, late.p = label, p
	}
	switch w.park(&item{p: p, what: what, names: label, ctx: ctx, late: late}) {
	case fail:
		return false, errRefused
	case timeout:
		if late != nil {
			w.mu.Lock()
			late.at = w.now()
			w.late = append(w.late, late)
			w.mu.Unlock()
		}
		return false, errSilent
	}
	w.mu.Lock()
	apply()
	w.mu.Unlock()
	if w.draw.answers && w.park(&item{p: p, what: what + answered, names: label, ctx: ctx}) != pass {
		return true, errSilent
	}
	return true, nil
}
