package fastopt

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Lanes: what is to be asked of the source waits for its budget, and while it
// waits it gathers, so that a process sends few requests of many names (I8).
// Registered options and members of families have a lane each: a flood of keys
// that nobody knows delays no option.

// A lane is one budget of requests to the source, and who waits for it. Guarded
// by the loader's mu.
type lane struct {
	l        *loader
	bucket   *rate.Limiter
	atOnce   int
	most     int // flights that may wait
	queue    []question
	underway int
	timer    *time.Timer // not nil: pumps when there is budget again …
	at       int64       // … at this time, ns since Open
	credit   float64     // retries that may be sent
	credited int64       // ns since Open: when credit was reckoned last
}

// Retries are at most a tenth of all other requests, and one a second. A few
// may come at once.
const (
	retryShare = 0.1
	retryMost  = 5.0
)

// maxQueued bounds the members of families that wait for the source.
const maxQueued = 20 * tiers.MaxBatch

func (l *loader) init(m *Manager) {
	*l = loader{m: m, flights: map[string]*flight{}}
	options, members := m.cfg.OptionBudget, m.cfg.FamilyBudget
	if twice := 2 * (len(m.keys) + tiers.MaxBatch - 1) / tiers.MaxBatch; options.Burst < twice {
		options.Burst = twice
	}
	l.options.init(l, options, len(m.keys))
	l.members.init(l, members, maxQueued)
}

func (n *lane) init(l *loader, b Budget, most int) {
	*n = lane{l: l, bucket: rate.NewLimiter(rate.Limit(b.Rate), b.Burst), atOnce: b.AtOnce, most: most, credit: retryMost}
}

func (l *loader) lanes() [2]*lane { return [2]*lane{&l.options, &l.members} }

// laneOf returns the lane of a key.
func (l *loader) laneOf(k *key) *lane {
	if k.fam != nil {
		return &l.members
	}
	return &l.options
}

// queueUp has questions asked of the source when the budget allows. What finds
// no place lands at once.
func (l *loader) queueUp(qs []question) {
	var over, closed []question
	l.mu.Lock()
	for _, q := range qs {
		switch n := l.laneOf(q.k); {
		case l.closed:
			closed = append(closed, q)
		case n != &l.options && len(n.queue) >= n.most:
			over = append(over, q)
		default:
			n.queue = append(n.queue, q)
		}
	}
	for _, n := range l.lanes() {
		n.pumpLocked()
	}
	l.mu.Unlock()
	for _, q := range closed {
		l.land(q.flight, 0, ErrClosed)
	}
	for _, q := range over {
		l.m.stats.dropped.Add(1)
		l.land(q.flight, 0, because(ErrUnavailable, "source: %d keys wait for its budget already", maxQueued))
	}
}

// pumpLocked sends what the budget allows.
func (n *lane) pumpLocked() {
	m := n.l.m
	for len(n.queue) > 0 && n.underway < n.atOnce && !n.l.closed {
		if m.source.refuses() != nil {
			n.spareLocked()
			return
		}
		if wait := n.admitLocked(); wait > 0 {
			n.pumpAfterLocked(wait)
			return
		}
		qs := n.takeLocked()
		n.underway++
		m.work.Go(func() {
			n.l.ask(qs)
			n.l.mu.Lock()
			defer n.l.mu.Unlock()
			n.underway--
			n.pumpLocked()
		})
	}
}

// spareLocked lands all who wait: the source is left alone. The cache may be asked
// in its place, so they go in batches, each key once, as to the source.
func (n *lane) spareLocked() {
	m := n.l.m
	for len(n.queue) > 0 {
		qs := n.takeLocked()
		m.work.Go(func() {
			point.At(point.FlightSend, m, qs[0].k.full)
			n.l.sourceSilent(qs, m.source.refusal())
		})
	}
}

// takeLocked takes the questions of one request, each key once: if a push came
// since its first flight began, the younger flight asks for both, in whatever
// order they got here. Only it is known to the loader as the key's, so only it can
// make room for the next.
func (n *lane) takeLocked() []question {
	qs := make([]question, 0, min(len(n.queue), tiers.MaxBatch))
	rest := n.queue[:0]
	at := make(map[*key]int, cap(qs))
	for _, q := range n.queue {
		switch i, twice := at[q.k]; {
		case twice && q.token < qs[i].token:
			qs[i].older = append(qs[i].older, q.flight)
		case twice:
			q.older = append(qs[i].older, qs[i].flight)
			qs[i] = q
		case len(qs) < tiers.MaxBatch:
			at[q.k] = len(qs)
			qs = append(qs, q)
		default:
			rest = append(rest, q)
		}
	}
	clear(n.queue[len(rest):]) // what landed is not kept from the collector
	n.queue = rest
	return qs
}

// admitLocked takes one request from the budget, or returns how long to wait for
// that. A request that holds any key for the first time is no retry.
func (n *lane) admitLocked() time.Duration {
	m := n.l.m
	now := m.now()
	n.credit = min(retryMost, n.credit+float64(now-n.credited)/float64(time.Second))
	n.credited = now
	retry := n.onlyRetriesLocked()
	if retry && n.credit < 1 {
		m.stats.retriesWaited.Add(1)
		return time.Duration((1 - n.credit) * float64(time.Second))
	}
	r := n.bucket.Reserve()
	if wait := r.Delay(); wait > 0 {
		r.Cancel()
		m.stats.budgetWaits.Add(1)
		return wait
	}
	if retry {
		n.credit--
	} else {
		n.credit = min(retryMost, n.credit+retryShare)
	}
	return 0
}

func (n *lane) onlyRetriesLocked() bool {
	for _, q := range n.queue[:min(len(n.queue), tiers.MaxBatch)] {
		if q.k.fails.Load() == 0 {
			return false
		}
	}
	return true
}

func (n *lane) pumpAfterLocked(wait time.Duration) {
	at := n.l.m.now() + int64(wait)
	if n.timer != nil {
		if n.at <= at || !n.timer.Stop() {
			return
		}
	}
	n.at = at
	n.timer = time.AfterFunc(wait+time.Microsecond, func() { // a token must be whole
		n.l.mu.Lock()
		defer n.l.mu.Unlock()
		n.timer = nil
		n.pumpLocked()
	})
}

// emptyLocked returns who waits, and lets nobody wait any more.
func (n *lane) emptyLocked() []question {
	qs := n.queue
	n.queue = nil
	if n.timer != nil {
		n.timer.Stop()
		n.timer = nil
	}
	return qs
}
