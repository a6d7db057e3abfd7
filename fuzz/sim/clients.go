package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// Clients: calls of the library's users, each on a goroutine of its own.

// A result is a client's call that has ended.
type result struct {
	call
	at      time.Duration
	reading fastopt.Reading[int64]
	receipt fastopt.Receipt
	m       *fastopt.Manager
	err     error
}

// A call is what a client asked of a process, and what was known then.
type call struct {
	id    int
	p     *process
	key   int
	kind  string
	step  int
	known known
	told  uint32 // the epoch that the process had to heed
	count uint64 // of corrections
	lost  int    // world.losses
	since fastopt.Stamp
	spare bool // the source is not asked, but for probes
	began time.Duration
}

// writes reports whether the call writes, and at most what it writes to key.
func (c call) writes() bool { return c.kind == "set" || c.kind == "setif" || c.kind == "setall" }

// value is what the call writes to key.
func (c call) value(key int) int64 { return int64(c.id*10 + key) }

func (c call) slot() string { return fmt.Sprint(c.kind, c.key) }

// begin runs a client's call.
func (w *world) begin(p *process, key int, kind string, f func(r *result)) {
	w.calls++
	c := call{id: w.calls, p: p, key: key, kind: kind, began: w.now()}
	c.spare = p.m != nil && refusing(p.m.Stats().SourceTier)
	w.mu.Lock()
	c.step, c.lost, c.known, c.told, c.count = w.step, w.losses, p.known[key], p.knows(), p.is.corrections
	w.mu.Unlock()
	p.order[c.slot()]++
	if kind == "setif" {
		c.since = p.opts[key].Inspect().Stamp
		if w.rng.IntN(4) == 0 {
			c.since.Revision++
		}
	}
	go func() {
		r := result{call: c}
		f(&r)
		r.at = w.now()
		w.mu.Lock()
		w.results = append(w.results, r)
		w.mu.Unlock()
	}()
}

func (w *world) beginLoad(p *process, key int) {
	w.begin(p, key, "load", func(r *result) { r.reading = p.opts[key].Load(all) })
}

func (w *world) beginSet(p *process, key int) {
	w.begin(p, key, "set", func(r *result) { r.receipt, r.err = p.opts[key].Set(all, r.value(key)) })
}

func (w *world) beginSetIf(p *process, key int) {
	w.begin(p, key, "setif", func(r *result) { r.receipt, r.err = p.opts[key].SetIf(all, r.since, r.value(key)) })
}

func (w *world) beginSetAll(p *process) {
	m := p.m
	w.begin(p, 0, "setall", func(r *result) {
		values := map[string]any{}
		for key := range p.opts {
			values[names[key]] = r.value(key)
		}
		r.receipt, r.err = m.SetAll(all, values)
	})
}

func (w *world) beginDelete(p *process, key int) {
	w.begin(p, key, "delete", func(r *result) { r.receipt, r.err = p.opts[key].Delete(all) })
}

const (
	cacheTimeout  = 50 * time.Millisecond
	sourceTimeout = 100 * time.Millisecond
	writeTimeout  = 200 * time.Millisecond
)

func (w *world) beginOpen(p *process) {
	p.state = opening
	w.mu.Lock()
	p.known, p.m, w.opening = make([]known, w.draw.keys), nil, p
	p.is, p.ken, p.bell, p.stopped = newTold(w.draw.keys), ken{}, nil, 0
	if p.site == nil {
		p.site = w.siteOfLocked(p)
		p.server = p.site.primary
	}
	w.mu.Unlock()
	cfg := fastopt.Config{Namespace: namespace, Source: source{p}, Cache: cache{p}, TTL: w.draw.ttl, Grace: w.draw.grace, Jitter: p.jitter, Relay: fastopt.Never, OptionBudget: w.draw.budget,
		CacheTimeout: cacheTimeout, SourceTimeout: sourceTimeout, WriteTimeout: writeTimeout, StartTimeout: time.Second}
	if w.draw.mark {
		cfg.Cache = markedCache{cache{p}}
	}
	if w.draw.relay {
		cfg.Relay = fastopt.Auto
	}
	w.begin(p, 0, "open", func(r *result) {
		var m *fastopt.Manager
		if m, r.err = fastopt.Open(context.Background(), cfg, &p.reg); r.err == nil {
			r.m = m
		}
	})
}

// siteOfLocked is the installation of a process that is opened for the first time.
func (w *world) siteOfLocked(p *process) *site {
	if w.draw.staging == "" || p.id != w.draw.procs-1 {
		return w.sites[0]
	}
	if len(w.sites) == 1 {
		db := w.sites[0].primary.copied()
		if w.draw.staging == "foreign" {
			db = newDatabase("another", "another")
		}
		w.sites = append(w.sites, &site{primary: db})
	}
	return w.sites[1]
}

func (w *world) beginClose(p *process) {
	p.state = closing
	m := p.m
	w.begin(p, 0, "close", func(r *result) { r.err = m.Close() })
}
