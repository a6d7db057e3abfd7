package fastopt

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Relaying: one process of a namespace carries what the source holds into the
// cache, whoever wrote it: plain SQL, or a writer that was killed between its
// commit and its fill. It follows the source's history from a cursor that moves
// only when the cache has answered, so that nothing is missed; it offers
// everything again when the cache may have lost it; and it looks at all of it
// slowly all the time, for what no history shows (sweep.go). A fill is only-if-newer, so all this is harmless
// twice: two relays for a moment, or a page read again, change nothing.

// RelayMode says whether a process stands for relay.
type RelayMode uint8

const (
	// Auto: it does, if it has a Source that elects (tiers.Elector) and a Cache.
	Auto RelayMode = iota
	// Never: it does not. Another process must, for plain SQL to be seen.
	Never
)

const (
	relayPoll  = time.Second            // at most between two looks at the history
	relayLast  = 500 * time.Millisecond // at most between attempts while a tier fails
	relayLimit = time.Second            // for one page, or one chunk of fills, unless the tier's timeout is longer
	relayStuck = 10 * time.Second       // of failure, after which another process may do better
	resyncGap  = time.Second            // at least between two passes over everything
	electAgain = 5 * time.Second        // after the source said that it is not usable
	sayAfter   = 2                      // failures in a row: one slow answer is no outage
)

// A relay is what one manager does for all processes of its namespace while it
// holds the right to.
type relay struct {
	m       *Manager
	wanted  chan struct{} // cap 1: the cache may have lost anything
	leading atomic.Bool
	passes  atomic.Uint64 // over everything: how many are wanted …
	passed  atomic.Uint64 // … and which of them the last that is complete was
	told    bool          // lead's: it was logged last that this process leads

	mu      sync.Mutex
	refused map[string]tiers.Stamp // guarded by mu; records that the cache cannot hold, as they were logged
}

// run stands for relay until Close.
func (r *relay) run(elector tiers.Elector) {
	m := r.m
	for said := false; m.ctx.Err() == nil; rest(m.ctx, electAgain) {
		err := elector.Elect(m.ctx, m.cfg.Namespace, r.lead)
		if errors.Is(err, tiers.ErrReadOnly) {
			m.cfg.Logger.Info("fastopt: the role of this process may not feed the cache: it does not stand for relay")
			return
		}
		if m.ctx.Err() == nil && !said {
			said = true
			m.cfg.Logger.Error("fastopt: this process cannot stand for relay", "error", err)
		}
	}
}

// lead relays until ctx ends, or until it has failed for so long that another
// process may do better.
func (r *relay) lead(ctx context.Context) {
	ctx, resign := context.WithCancel(ctx)
	defer resign()
	r.leading.Store(true)
	r.tell(true)
	defer func() {
		r.leading.Store(false)
		if !r.m.source.fails() { // else it is clear
			r.tell(false)
		}
	}()
	unring(r.wanted) // from before: the first look wants a pass anyway
	var work sync.WaitGroup
	defer work.Wait()
	wake := make(chan struct{}, 1)
	work.Go(func() { r.listen(ctx, wake) })
	work.Go(func() { r.sweep(ctx, &trouble{r: r, resign: resign, doing: "offering all rows"}) })
	work.Go(func() { r.patrol(ctx) })
	work.Go(func() { r.compact(ctx) })
	r.follow(ctx, wake, &trouble{r: r, resign: resign, doing: "following changes"})
}

// tell logs that this process leads, or no longer does. One that leads again after
// an outage in which it did not say so is the relay still.
func (r *relay) tell(leads bool) {
	if leads == r.told {
		return
	}
	what := "fastopt: this process is the relay"
	if r.told = leads; !leads {
		what = "fastopt: this process is the relay no longer"
	}
	r.m.cfg.Logger.Info(what, "namespace", r.m.cfg.Namespace)
}

// listen wakes the follower when the source announces something, and when it
// begins to: what changed before that is announced to nobody. It only saves
// time, for what changed is read from the history.
func (r *relay) listen(ctx context.Context, wake chan<- struct{}) {
	for ctx.Err() == nil {
		deaf := true
		r.m.cfg.Source.Watch(ctx, r.m.cfg.Namespace, func(e tiers.Event) {
			if deaf || e.Kind != tiers.Alive {
				ring(wake)
			}
			deaf = e.Kind == tiers.Lost
		})
		rest(ctx, relayPoll)
	}
}

// follow carries each change into the cache, and keeps its mark.
func (r *relay) follow(ctx context.Context, wake <-chan struct{}, t *trouble) {
	var cursor tiers.Stamp // zero: of no history, so that the first look resets
	feeder := feeder{r: r}
	for ctx.Err() == nil {
		var err error
		cursor, err = r.catchUp(ctx, cursor)
		if err == nil || errors.Is(err, errUnmarked) { // else what is kept back would keep the mark from being written
			err = cmp.Or(feeder.feed(ctx, cursor.Epoch), err)
		}
		if err != nil {
			rest(ctx, t.wait(ctx, err)) // whatever is announced meanwhile
			continue
		}
		t.over()
		timer := time.NewTimer(relayPoll - time.Duration(r.m.jitter()*float64(relayPoll/4)))
		sleep(ctx, timer, wake)
	}
}

// refuses returns why nothing is to be carried now, nil if it may be: a tier that
// fails is left alone by the relay, too. A cache whose heartbeats are answered
// is slow: it is fed all the same, with more patience than readers have, who
// renew by its silence otherwise.
func (r *relay) refuses() error {
	err := r.m.source.refuses()
	if err == nil && !r.m.pushUp.Load() {
		err = r.m.cache.refuses()
	}
	return err
}

// catchUp offers what changed after cursor, and returns the cursor up to which
// the cache has answered.
func (r *relay) catchUp(ctx context.Context, cursor tiers.Stamp) (tiers.Stamp, error) {
	for {
		if err := r.refuses(); err != nil {
			return cursor, err
		}
		bound, cancel := context.WithTimeout(ctx, max(relayLimit, r.m.cfg.SourceTimeout))
		changes, err := r.m.cfg.Source.Changes(bound, r.m.cfg.Namespace, cursor)
		cancel()
		if err != nil {
			return cursor, err
		}
		if changes.Reset {
			// The pass begins after this head was read, and later changes are
			// followed from there: together they miss nothing.
			r.resync()
		} else if ahead, err := r.offer(ctx, changes.Records); err != nil {
			return cursor, err
		} else if err := r.correct(ctx, ahead); err != nil { // a write of a moment later, or nothing that was ever written
			return cursor, err
		}
		cursor = changes.Head
		if !changes.More {
			return cursor, nil
		}
	}
}

// resync wants everything to be offered again, if this process is the relay.
func (r *relay) resync() {
	r.passes.Add(1)
	ring(r.wanted)
}

// owes reports whether the cache may lack something that a pass is to bring.
func (r *relay) owes() bool { return r.passed.Load() != r.passes.Load() }

// Trouble is how one part of the relay's work fares.
type trouble struct {
	r      *relay
	resign func()
	doing  string
	fails  int
	said   bool
	since  int64 // of the first failure, ns since Open
}

// wait notes a failure and returns how long to wait before the next attempt. That
// a tier does not answer is said already.
func (t *trouble) wait(ctx context.Context, err error) time.Duration {
	m := t.r.m
	if ctx.Err() != nil {
		return 0 // the end, and no failure
	}
	if m.marks.refused() != nil && !errors.Is(err, errLater) { // else its source has just been told
		return relayPoll // it is said already, and no other process would do better
	}
	m.stats.relayErrors.Add(1)
	if t.fails++; t.fails == 1 {
		t.since = m.now()
	}
	if known := m.source.fails() || m.cache.fails(); !known && !t.said && t.fails >= sayAfter {
		t.said = true
		m.cfg.Logger.Warn("fastopt: the relay fails: changes that others made may be seen late", "doing", t.doing, "error", err)
	}
	if m.now()-t.since > int64(relayStuck) && !errors.Is(err, errMark) {
		t.resign()
	}
	most := min(firstRetry<<min(t.fails-1, 10), relayLast)
	return most/2 + time.Duration(m.jitter()*float64(most/2))
}

// over notes a success.
func (t *trouble) over() {
	if t.said {
		t.r.m.cfg.Logger.Info("fastopt: the relay works again", "doing", t.doing)
	}
	t.fails, t.said = 0, false
}
