package sim

import (
	"context"
	"errors"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// The cache of one process: the shared cache behind gates, and a watch channel
// that announces, as Redis does, only changes of what was loaded through it
// since it announced the last one.

// A cache is the shared cache as one process reaches it; a markedCache the same
// where the cache keeps marks.
type (
	cache       struct{ p *process }
	markedCache struct{ cache }
)

func (c cache) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	at := time.Now()
	var rs []tiers.Result
	_, err := c.p.call(ctx, relayed(ctx, "cache load"), names, nil, func() {
		rs = c.p.w.store.Load(all, ns, names)
		for i := range rs {
			rs[i].AsOf = at
			c.p.askedLocked(names[i], at)
			if c.p.link == linkUp {
				c.p.tracked[names[i]] = true
			}
		}
	})
	if err != nil {
		c.p.excuse(names)
		return failAll(names, err)
	}
	return rs
}

func (c cache) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	names := make([]string, len(fills))
	for i, f := range fills {
		names[i] = f.Name
	}
	what := relayed(ctx, "cache fill")
	c.p.offers(what, fills)
	var rs []tiers.FillResult
	apply := func() { rs = c.p.w.fillLocked(c.p.site, ns, fills) }
	_, err := c.p.call(ctx, what, names, &lateCall{what: "cache fill", apply: apply}, apply)
	if err != nil {
		rs = make([]tiers.FillResult, len(fills))
		for i := range rs {
			rs[i].Err = err
		}
	}
	return rs
}

func (c cache) Lease(ctx context.Context, ns string, names []string, d time.Duration) (held []bool, err error) {
	_, failure := c.p.call(ctx, "cache lease", names, nil, func() { held, err = c.p.w.store.Lease(all, ns, names, d) })
	if err = errors.Join(failure, err); err != nil {
		c.p.leased(names, nil, d) // then it may act as if
		return nil, err
	}
	c.p.leased(names, held, d)
	return held, nil
}

// Probe is tiers.Prober's.
func (c cache) Probe(ctx context.Context, _ string) error {
	_, err := c.p.call(ctx, "cache probe", nil, nil, func() {})
	return err
}

// Mark is tiers.Marker's.
func (c markedCache) Mark(ctx context.Context, ns string) (mark tiers.Mark, err error) {
	_, failure := c.p.call(ctx, "cache mark", nil, nil, func() { mark, err = c.p.w.store.Mark(all, ns) })
	if failure != nil {
		return tiers.Mark{}, failure
	}
	c.p.sawMark(mark, err)
	return mark, err
}

// PutMark is tiers.Marker's.
func (c markedCache) PutMark(ctx context.Context, ns string, old, next tiers.Mark) (stored bool, err error) {
	apply := func() {
		c.p.marksLocked(old, next)
		stored, err = c.p.w.store.PutMark(all, ns, old, next)
		if stored {
			c.p.w.count("mark stepped")
		} else {
			c.p.w.count("mark refused")
		}
	}
	if _, failure := c.p.call(ctx, "cache putmark", nil, &lateCall{what: "cache putmark", apply: apply}, apply); failure != nil {
		return false, failure
	}
	if stored {
		c.p.sawMark(next, nil)
		c.p.identified()
	}
	return stored, err
}

// Watch tells what the scheduler delivers, and that it is alive unless it is
// cut or frozen or has something to deliver.
func (c cache) Watch(ctx context.Context, _ string, sink func(tiers.Event)) error {
	p, w := c.p, c.p.w
	w.mu.Lock()
	p.link, p.queue, p.idle = linkUp, nil, true
	clear(p.tracked)
	deliver := p.deliver
	w.mu.Unlock()
	sink(p.alive())
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case e := <-deliver:
			sink(e.Event)
			w.mu.Lock()
			p.handledLocked(e)
			p.idle = true
			w.mu.Unlock()
		case <-beat.C:
			w.mu.Lock()
			alive := p.link == linkUp && len(p.queue) == 0 && !p.ghost && w.now() >= p.stopped
			w.mu.Unlock()
			if alive {
				sink(p.alive())
			}
		case <-ctx.Done():
			w.mu.Lock()
			p.idle = false
			w.mu.Unlock()
			return ctx.Err()
		}
	}
}

// alive is the event that says so: as good as an answer for all that is tracked.
func (p *process) alive() tiers.Event {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	now := time.Now()
	for i := range p.known {
		p.askedLocked(names[i], now)
	}
	return tiers.Event{Kind: tiers.Alive, Since: now}
}

// beatEvery is no part of any time of the library's: a heartbeat that came with the
// refresher's timer would vouch for entries in one history, and be late in another.
const beatEvery = 700*time.Millisecond + 37

// fillLocked fills the shared cache with what a site's database says, and
// announces what was stored.
func (w *world) fillLocked(by *site, ns string, fills []tiers.Fill) []tiers.FillResult {
	rs := make([]tiers.FillResult, len(fills))
	for i, f := range fills {
		old := w.store.Load(all, ns, []string{f.Name})[0]
		rs[i] = w.store.Fill(all, ns, []tiers.Fill{f})[0]
		switch {
		case rs[i].Stored && old.Err == nil && old.Stamp.Newer(f.Stamp):
			w.judge.corrects(old, f)
			w.losses++
			w.announceLocked(by, f.Name, f.Stamp)
		case rs[i].Stored:
			w.announceLocked(by, f.Name, f.Stamp)
		case rs[i].Err == nil:
			w.count("fill refused")
		}
	}
	return rs
}

// announceLocked queues a push to every process that tracks name. To those of
// another site its stamp says nothing: it counts the commits of a history that is
// not theirs, and their own source has the last word.
func (w *world) announceLocked(by *site, name string, stamp tiers.Stamp) {
	for _, p := range w.procs {
		if p.tracked[name] && p.link == linkUp {
			delete(p.tracked, name)
			e := push{Event: tiers.Event{Kind: tiers.Changed, Name: name}, losses: w.losses}
			if p.site == by {
				e.stamp = stamp
			}
			p.queue = append(p.queue, e)
		}
	}
}

func failAll(names []string, err error) []tiers.Result {
	rs := make([]tiers.Result, len(names))
	for i, name := range names {
		rs[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: err}
	}
	return rs
}
