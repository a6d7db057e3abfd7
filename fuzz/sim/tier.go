package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// The tiers of one process: the shared source and cache behind gates, and a
// watch channel that announces, as Redis does, only changes of what was loaded
// through it since it announced the last one.

const namespace = "sim"

var (
	errRefused = fmt.Errorf("%w: refused", tiers.ErrUnavailable)
	errSilent  = fmt.Errorf("%w: no answer", tiers.ErrUnavailable)
)

// all is the context of what nobody may cancel.
var all = context.Background()

// A source is the shared source as one process reaches it.
type source struct{ p *process }

func (s source) Identity(ctx context.Context) (id tiers.Identity, err error) {
	_, failure := s.p.call(ctx, "source identity", nil, false, func() { id, err = s.p.w.rows.Identity(all) })
	return id, errors.Join(failure, err)
}

func (s source) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	if names[0] == namespace { // the question whether a source that failed answers again: no option's
		return failAll(names, errRefused)
	}
	asOf := time.Now()
	var rs []tiers.Result
	_, err := s.p.call(ctx, "source load", names, false, func() {
		rs = s.p.w.rows.Load(all, ns, names)
		for i := range rs {
			rs[i].AsOf = asOf
			s.p.primaryLocked(names[i])
			s.p.askedLocked(names[i], asOf)
		}
	})
	if err != nil {
		return failAll(names, err)
	}
	return rs
}

func (s source) Write(ctx context.Context, ns string, writes []tiers.Write) (stamp tiers.Stamp, err error) {
	w := s.p.w
	began, asOf := w.steps(), time.Now()
	done, failure := s.p.call(ctx, "source write", []string{writes[0].Name}, true, func() {
		if stamp, err = w.rows.Write(all, ns, writes); err == nil {
			s.p.committedLocked(stamp, writes[0], began)
			s.p.askedLocked(writes[0].Name, asOf)
		}
	})
	switch {
	case failure == nil:
		return stamp, err
	case !done && errors.Is(failure, errRefused):
		return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: failure}
	}
	return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.Unknown, Err: failure}
}

func (s source) Scan(context.Context, string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) { yield(tiers.Record{}, errRefused) }
}

func (s source) Changes(context.Context, string, tiers.Stamp) (tiers.Changes, error) {
	return tiers.Changes{}, errRefused
}

// Watch is never called: there is a cache.
func (s source) Watch(ctx context.Context, _ string, _ func(tiers.Event)) error {
	<-ctx.Done()
	return ctx.Err()
}

// A cache is the shared cache as one process reaches it.
type cache struct{ p *process }

func (c cache) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	asOf := time.Now()
	var rs []tiers.Result
	_, err := c.p.call(ctx, "cache load", names, false, func() {
		rs = c.p.w.store.Load(all, ns, names)
		for i := range rs {
			rs[i].AsOf = asOf
			c.p.askedLocked(names[i], asOf)
			if c.p.link == linkUp {
				c.p.tracked[names[i]] = true
			}
		}
	})
	if err != nil {
		return failAll(names, err)
	}
	return rs
}

func (c cache) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	names := make([]string, len(fills))
	for i, f := range fills {
		names[i] = f.Name
	}
	var rs []tiers.FillResult
	_, err := c.p.call(ctx, "cache fill", names, true, func() { rs = c.p.w.fillLocked(ns, fills) })
	if err != nil {
		rs = make([]tiers.FillResult, len(fills))
		for i := range rs {
			rs[i].Err = err
		}
	}
	return rs
}

func (c cache) Lease(_ context.Context, _ string, names []string, _ time.Duration) ([]bool, error) {
	held := make([]bool, len(names))
	for i := range held {
		held[i] = true
	}
	return held, nil
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
			alive := p.link == linkUp && len(p.queue) == 0
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

const beatEvery = 700 * time.Millisecond

// fillLocked fills the shared cache and announces what was stored.
func (w *world) fillLocked(ns string, fills []tiers.Fill) []tiers.FillResult {
	rs := w.store.Fill(all, ns, fills)
	for i, r := range rs {
		if r.Stored {
			w.announceLocked(fills[i].Name, fills[i].Stamp)
		} else if r.Err == nil {
			w.count("fill refused")
		}
	}
	return rs
}

// announceLocked queues a push to every process that tracks name.
func (w *world) announceLocked(name string, stamp tiers.Stamp) {
	for _, p := range w.procs {
		if p.tracked[name] && p.link == linkUp {
			delete(p.tracked, name)
			p.queue = append(p.queue, push{tiers.Event{Kind: tiers.Changed, Name: name}, stamp, w.losses})
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
