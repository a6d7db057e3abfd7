package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// Beside the plain reads, a few look deeper: whether stamp, state and age fit
// the value, whether Load is in time, and members of families.

const (
	inspectEvery = 2 * time.Millisecond
	loadEvery    = 5 * time.Millisecond
)

// inspectLoop checks Inspect. One goroutine, so that stamps are seen in order.
func (r *run) inspectLoop(ctx context.Context) {
	rnd := rand.New(rand.NewPCG(r.conf.seed, 1))
	for ctx.Err() == nil {
		if p := r.hold(rnd.IntN(len(r.slots))); p != nil {
			r.inspect(p, r.options[rnd.IntN(len(r.options))])
			r.release(p)
		}
		pause(ctx, inspectEvery)
	}
}

func (r *run) inspect(p *process, k *key) {
	c, rd := p.begin(r, k)
	got := p.options[k.index].Inspect()
	got.Value = r.given(p.index, k, got.Value)
	rd.after, rd.value = r.weather.now.Load(), got.Value
	r.deep.Add(1)
	if bad := k.judge(c, rd); bad != nil {
		r.violate(bad.kind, p.index, k, "Inspect "+bad.text)
	} else if bad := k.judgeReading(got, r.lives[k.class]); bad != "" {
		r.violate(mismatch, p.index, k, bad)
	} else if low := p.stamps[k.index]; low.Newer(got.Stamp) {
		r.violate(older, p.index, k, fmt.Sprintf("Inspect gave stamp %v after %v", got.Stamp, low))
	}
	p.stamps[k.index] = got.Stamp
}

// lives are the times of a class, ns; usable is negative for ever.
type lives struct{ ttl, usable int64 }

// judgeReading says what of a reading does not fit its value (I12, I17).
func (k *key) judgeReading(r fastopt.Reading[string], l lives) string {
	n, _ := openValue(r.Value, k.hash)
	switch age := int64(r.Age); {
	case r.State == fastopt.Unloaded && r.Err == nil && r.Origin != fastopt.Default,
		r.State == fastopt.Expired && n != 0,
		r.Origin == fastopt.Default && n != 0:
		return fmt.Sprintf("number %d with state %v, origin %v", n, r.State, r.Origin)
	case r.State == fastopt.Fresh && (age >= l.ttl || r.Origin == fastopt.Snapshot),
		r.State == fastopt.Stale && r.Err == nil && l.usable >= 0 && age >= l.usable:
		return fmt.Sprintf("age %v with state %v", r.Age, r.State)
	}
	if n == 0 {
		return ""
	}
	if w, _ := k.read(n); !w.stamp.IsZero() && w.stamp != r.Stamp {
		return fmt.Sprintf("number %d with stamp %v, written with stamp %v", n, r.Stamp, w.stamp)
	}
	return ""
}

// loadLoop checks Load, and Get and Load of members of families.
func (r *run) loadLoop(ctx context.Context, n uint64) {
	rnd := rand.New(rand.NewPCG(r.conf.seed, 100+n))
	for ctx.Err() == nil {
		p := r.hold(rnd.IntN(len(r.slots)))
		if p == nil {
			pause(ctx, loadEvery)
			continue
		}
		if rnd.IntN(3) == 0 {
			r.loadOption(ctx, p, r.options[rnd.IntN(len(r.options))])
		} else {
			r.readMember(ctx, p, r.members[rnd.IntN(len(r.members))], rnd.IntN(2) == 0)
		}
		r.release(p)
		pause(ctx, loadEvery)
	}
}

func (r *run) loadOption(ctx context.Context, p *process, k *key) {
	c, rd := p.begin(r, k)
	got := r.timed(p, k, p.options[k.index].Inspect().State, func() fastopt.Reading[string] { return p.options[k.index].Load(ctx) })
	rd.after, rd.value = r.weather.now.Load(), r.given(p.index, k, got.Value)
	if ctx.Err() == nil {
		r.blame(k.judge(c, rd), p, k, "Load")
	}
}

// readMember reads a member by Get or by Load. Get may give the default while
// the member is loaded; a Load that says Fresh is bound as an option is.
func (r *run) readMember(ctx context.Context, p *process, k *key, get bool) {
	c, rd := p.begin(r, k)
	young := rd.relaxed
	rd.relaxed = true
	if get {
		rd.value = k.ofMember(p.family.Get(k.member))
		rd.after = r.weather.now.Load()
		r.blame(k.judge(c, rd), p, k, "Get")
		return
	}
	least := k.least.floor()
	got := r.timed(p, k, fastopt.Unloaded, func() fastopt.Reading[string] { return p.family.Load(ctx, k.member) })
	rd.after, rd.value = r.weather.now.Load(), k.ofMember(got.Value)
	if ctx.Err() != nil {
		return
	}
	if got.State == fastopt.Fresh && !young {
		rd.relaxed = false
		if least.number() > rd.floor.number() {
			rd.floor = least
		}
	}
	r.blame(k.judge(c, rd), p, k, "Load")
}

// ofMember turns the family's default into the member's.
func (k *key) ofMember(v string) string {
	if v == familyDefault {
		return k.fallback
	}
	return v
}

// timed makes a Load of k, which reads so before, and checks how long it took.
func (r *run) timed(p *process, k *key, state fastopt.State, load func() fastopt.Reading[string]) fastopt.Reading[string] {
	before := p.manager.Stats()
	began := time.Now()
	got := load()
	took := time.Since(began)
	r.deep.Add(1)
	if limit := loadLimit(state, before, p.manager.Stats(), time.Duration(r.lag.recent())); took > limit {
		r.violate(tooSlow, p.index, k, fmt.Sprintf("Load took %v, of %v that the tiers and this machine excuse; the option was %v", took, limit, state))
	}
	return got
}

func (r *run) blame(bad *finding, p *process, k *key, op string) {
	if bad != nil {
		r.violate(bad.kind, p.index, k, op+" "+bad.text)
	}
}
