package fastopt

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
)

// Expiring: Get reads no clock, so when TTL + grace of an entry end, a goroutine
// of its own publishes the default. Its lag is part of the promise of Get, and
// a metric.

// An expirer watches over the registered options of one manager.
type expirer struct {
	m    *Manager
	kick chan struct{}
	wake atomic.Int64 // ns since Open: when the next pass is planned

	nearing bool  // an option has used half of its grace
	fallen  bool  // an option has fallen to its default
	warned  int64 // ns since Open: when that was said of the first, in this outage; 0: it was not
}

func (x *expirer) run() {
	timer := time.NewTimer(soonest)
	defer timer.Stop()
	for sleep(x.m.ctx, timer, x.kick) {
		x.wake.Store(math.MaxInt64) // whoever publishes meanwhile is not overlooked
		began := x.m.now()
		wait := max(x.pass()-time.Duration(x.m.now()-began), soonest)
		x.wake.Store(x.m.now() + int64(wait))
		timer.Reset(wait)
	}
}

// expect has the expirer come earlier if an entry was just published of which a
// warning may have to be given at an instant before it comes.
func (x *expirer) expect(warning int64) {
	if warning < x.wake.Load() {
		ring(x.kick)
	}
}

// warning is when to warn of the end of what was confirmed at asked: when half of
// the grace is used, and in any case after every refresh that is planned.
func (l lives) warning(asked int64) int64 {
	return later(asked, l.usable) - max((l.usable-l.ttl)/2, l.ttl/20)
}

// pass expires what is due, and returns how long until the next pass.
func (x *expirer) pass() time.Duration {
	now := x.m.now()
	next := int64(time.Minute)
	var nearing, fallen []string
	for _, k := range x.m.keys {
		if k.lives.usable == int64(Forever) {
			continue
		}
		m := k.cell.load().tier()
		if m.key != k {
			continue // another manager's by now
		}
		if m.kind == kindExpired {
			fallen = append(fallen, k.name)
			continue
		}
		asked := m.asked.Load()
		if asked == dead || m.err != nil { // nothing read yet; or kept while the row is invalid (I11)
			continue
		}
		deadline := later(asked, k.lives.usable)
		warning := k.lives.warning(asked)
		switch {
		case now >= deadline:
			if k.expire(m, asked) {
				fallen = append(fallen, k.name)
				x.m.stats.expiries.Add(1)
				x.m.stats.lag(x.m.now() - deadline)
			} else { // a renewal won: its deadline is a later one
				next = 0
			}
		case now >= warning:
			nearing = append(nearing, k.name)
			next = min(next, deadline-now)
		default:
			next = min(next, warning-now)
		}
	}
	x.tell(nearing, fallen)
	if x.nearing || x.fallen {
		next = min(next, int64(time.Second)) // to see the end of it
	}
	return max(time.Duration(next), 0)
}

// expire publishes the default in place of m, which was last confirmed at
// asked. The claim comes first: a renewal that raises asked before it wins, one
// that comes after it finds the entry dead and publishes it anew (R53).
func (k *key) expire(m *meta, asked int64) bool {
	point.At(point.ExpireClaim, k.m, k.name)
	if !m.asked.CompareAndSwap(asked, dead) {
		return false
	}
	point.At(point.ExpireSwap, k.m, k.name)
	f := facts{key: k, kind: kindExpired, boxed: k.fallback, stamp: m.stamp, seen: m.seen, sum: m.sum, got: m.got, token: m.token, absent: m.absent, saved: m.saved, died: asked}
	for {
		top := k.cell.load()
		if top.tier() != m {
			return false // something newer is there
		}
		if k.publish(top, newMeta(f, dead)) {
			return true
		}
	}
}

// warnGap is the least time between two warnings in one outage: options with
// about the same times share one.
const warnGap = time.Minute

// tell logs when the first option nears its default, and when the first falls:
// one line for each change, however many options.
func (x *expirer) tell(nearing, fallen []string) {
	log := x.m.cfg.Logger
	if len(nearing)+len(fallen) == 0 {
		x.warned = 0
	}
	if is := len(nearing) > 0; is != x.nearing {
		now := max(x.m.now(), 1)
		if x.nearing = is; is && (x.warned == 0 || now-x.warned >= int64(warnGap)) {
			x.warned = now
			log.Warn("fastopt: no tier answers: options have used half of their grace and will fall to their defaults", "options", some(nearing))
		}
	}
	if is := len(fallen) > 0; is != x.fallen {
		if x.fallen = is; is {
			log.Error("fastopt: no tier answered for TTL and grace: options fell to their defaults", "options", some(fallen))
		} else {
			log.Info("fastopt: no option is expired any more")
		}
	}
}

// some returns the first few names.
func some(names []string) []string {
	if len(names) > 5 {
		return append(names[:5:5], "…")
	}
	return names
}
