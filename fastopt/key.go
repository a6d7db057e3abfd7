package fastopt

import (
	"sync"
	"sync/atomic"
	"time"
)

// Behind a handle stand two things: its core, which lives as long as it does,
// and its key, which lives as long as a manager and knows when the value was
// confirmed last, and when to ask again.

// A core is the cold half of a handle: what Get never touches.
type core struct {
	*decl                     // immutable
	cell  cell                // immutable
	key   atomic.Pointer[key] // of the newest manager, also after its Close; nil before the first Open
	wakes atomic.Int32        // how many watch

	mu        sync.Mutex
	overrides []*any                     // guarded by mu; the last is in force
	watchers  map[chan struct{}]struct{} // guarded by mu; each has room for one
}

// A key is one name in one manager.
type key struct {
	*core        // immutable
	full  string // immutable: name in the tiers; the option's, or prefix/key of a family
	m     *Manager
	lives lives
	slot  *nameSlot // immutable; nil for a member of a family
	fam   *family   // immutable; nil for a registered option

	refs    int   // guarded by fam.mu: how many hold a member's working key
	wanted  int64 // guarded by fam.mu: ns since Open: when another began to hold it; 0: none did
	suspect Stamp // guarded by fam.mu: what the cache had told of a member, if only a push made it not fresh

	moved    atomic.Uint64 // own part of the token (I5): pushes, writes
	due      atomic.Int64  // ns since Open: when to refresh; of a member, when it ceases to be fresh
	retryAt  atomic.Int64  // ns since Open: no request before, after a failure
	fails    atomic.Int32  // failed requests in a row
	reloadAt atomic.Int64  // ns since Open: no reload by a push before
	lastErr  atomic.Pointer[error]
	leased   atomic.Int64  // ns since Open: this process holds the key's lease until then
	aligned  atomic.Bool   // the last load was begun by what befell the whole fleet at one instant
	behind   atomic.Int64  // ns since Open: since when the cache, and there is no source, has been behind; 0: it is not
	held     atomic.Uint64 // 1 + the token of the last load, if the cache told the entry; else 0
	flown    atomic.Uint64 // 1 + the token of the flight in the air; 0: there is none
	dirtied  atomic.Uint64 // counts what the cache may have missed …
	cleaned  atomic.Uint64 // … and what of it was repaired
}

// never is a due time that does not come.
const never = int64(Forever)

// neverFresh is the token of what no answer vouches for: less than any key's.
const neverFresh = 0

// token changes whenever something may have changed that an answer asked for
// earlier does not know. Both parts only grow, so equal sums mean that neither
// moved.
func (k *key) token() uint64 { return k.moved.Load() + k.m.moved.Load() }

// reading judges m exactly, at now, for who wants no answer from before token.
func (m *meta) reading(now int64, token uint64) Reading[any] {
	k := m.key
	if k == nil {
		return Reading[any]{Value: m.boxed, State: m.stateless(), Origin: m.origin}
	}
	r := Reading[any]{Value: m.boxed, State: m.state(now, k.lives, token), Origin: m.origin, Stamp: m.stamp, Err: m.err}
	switch asked := m.asked.Load(); {
	case m.kind == kindExpired:
		r.Age = time.Duration(now - m.died)
	case asked != dead:
		r.Age = time.Duration(now - asked)
	}
	if r.State == Expired {
		r.Value, r.Origin = k.fallback, Default
	}
	if r.Err == nil && r.State != Fresh {
		if p := k.lastErr.Load(); p != nil {
			r.Err = *p
		}
	}
	return r
}

// stateless is the state of an entry that no manager published.
func (m *meta) stateless() State {
	if m.kind == kindOverride {
		return Fresh
	}
	return Unloaded
}

// inspect judges top now.
func (c *core) inspect(top *meta) Reading[any] {
	if top.key == nil {
		return top.reading(0, 0)
	}
	return top.reading(top.key.m.now(), top.key.token())
}

// reading is what Inspect gives.
func (c *core) reading() Reading[any] { return c.inspect(c.cell.load()) }

// confirmedSince reports whether the key was confirmed within its TTL, by an
// answer asked for after token was current.
func (k *key) confirmedSince(token uint64) bool {
	m := k.cell.load().tier()
	return m.key == k && m.confirmed(k.m.now(), k.lives, token)
}

// readingSince is a reading for who came when token was current.
func (k *key) readingSince(token uint64) Reading[any] {
	return k.cell.load().reading(k.m.now(), token)
}

// start makes the handle k's: unloaded, with no floor.
func (k *key) start() {
	for !k.publish(k.cell.load(), newMeta(facts{key: k, boxed: k.fallback}, dead)) {
	}
	k.aligned.Store(true) // a deployment starts many processes at once
	k.core.key.Store(k)
}

// succeeded and failed set when the key is asked for next.

func (k *key) succeeded(asked int64, f *flight) {
	k.fails.Store(0)
	k.retryAt.Store(0)
	k.lastErr.Store(nil)
	k.held.Store(0)
	if f.held && !f.blind {
		k.held.Store(f.token + 1)
	}
	k.told(f.held && !f.blind)
	if f.blind && k.m.pushUp.Load() && !k.m.cache.broken.Load() { // else all is due when it answers again
		k.lookAgain(asked)
		return
	}
	if !k.ahead() {
		return
	}
	if k.aligned.Swap(false) { // the fleet is not to stay in step
		asked -= int64(k.m.jitter() * float64(k.lives.ttl/10*6))
	}
	k.planRefresh(asked, f.token)
}

// planRefresh sets the next refresh to 70–90 % of the TTL after asked, jittered,
// so that a fleet does not align, or to as soon as may be if token has moved.
func (k *key) planRefresh(asked int64, token uint64) {
	k.due.Store(later(asked, k.lives.ttl/10*7+int64(k.m.jitter()*float64(k.lives.ttl/5))))
	// Only now look at the token: who moves it sets due afterwards, so that one
	// of the two sees the other.
	if token != k.token() {
		k.due.Store(k.reloadAt.Load())
	}
}

// renewUnasked confirms the entry without a request, if the cache would say the
// same again: it announces each change of the key since it told the entry, nothing
// was announced, and the channel was alive a moment ago. It reports whether it did.
// A cache that is too slow to be asked may be too slow to be filled: what it does
// not announce proves nothing.
func (k *key) renewUnasked(now int64) bool {
	m := k.m
	token, alive := k.token(), m.aliveSince.Load()
	lately := now-alive < min(int64(aliveFor), k.lives.ttl/2)
	if k.held.Load() != token+1 || !lately || !m.pushUp.Load() || m.cache.broken.Load() || !k.isClean() || !m.marks.fed() {
		return false
	}
	cur := k.cell.load().tier()
	if cur.key != k || cur.token != token || cur.err != nil || cur.kind == kindExpired || !cur.renew(alive) {
		return false
	}
	k.renewed(cur)
	k.planRefresh(alive, token)
	return true
}

// aliveFor is how long ago a heartbeat may have been sent that vouches for
// entries (P7).
const aliveFor = time.Second

// lookAgain plans to ask the cache soon: only what was loaded through it is
// announced when it changes. While pushes do not arrive at all there is no
// hurry: everything is read again once they do.
func (k *key) lookAgain(asked int64) {
	soon := k.m.now() + int64(lastRetry) + int64(k.m.jitter()*float64(lastRetry))
	k.due.Store(min(soon, later(asked, k.lives.ttl/10*7)))
}

// outlive ends the freshness of a family's member that is due: whoever reads it
// has it loaded.
func (k *key) outlive(now int64) {
	if at := k.due.Load(); !k.ahead() && at <= now && k.due.CompareAndSwap(at, never) {
		k.stir()
	}
}

// ahead reports whether k is renewed ahead of need, whether read or not: options
// are, and members that somebody watches.
func (k *key) ahead() bool { return k.fam == nil || k.wakes.Load() > 0 }

func (k *key) failed(err error) {
	n := k.fails.Add(1)
	wait := min(firstRetry<<min(n-1, 10), lastRetry)
	if k.m.dark() { // whoever answers first makes it due
		wait = darkRetry
	}
	at := k.m.attemptIn(wait)
	k.lastErr.Store(&err)
	k.aligned.Store(true)
	k.retryAt.Store(at)
	k.held.Store(0)
	if k.ahead() {
		k.due.Store(at)
	}
}

// attemptIn returns when to try again, ns since Open: half of wait to wait from
// now, jittered, or earlier if an attempt is planned already: in an outage all
// keys are tried together, so that attempts do not grow with their number (I20).
func (m *Manager) attemptIn(wait time.Duration) int64 {
	for {
		now, planned := m.now(), m.attempt.Load()
		if planned > now {
			return planned
		}
		at := now + int64(wait/2) + int64(m.jitter()*float64(wait/2))
		if m.attempt.CompareAndSwap(planned, at) {
			return at
		}
	}
}

// Waits between attempts while tiers fail. The last bounds how late a tier's
// return is noticed, and lets a Load that waits still see it.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 250 * time.Millisecond
	darkRetry  = time.Second // while nothing would be sent
)
