package fastopt

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/fastopt/fastopt-go/internal/evict"
	"github.com/fastopt/fastopt-go/internal/point"
)

// A family in a manager: what its readers find of the members' ages without a
// clock, and what ends the freshness of members.
//
// Everything that decides whether a member is fresh happens under the family's
// mu: an answer is published, a push or a write moves the token and ends
// freshness, a working key begins with what is in memory or ends. So none of
// these can come between the parts of another. Readers take no lock: they see
// a member whole, and its life in one word.

// A family is a familyCore in one manager.
type family struct {
	freshFrom atomic.Int64 // a life: from it on members are fresh; only rises
	reads     *readCounter // immutable: nil: they are not counted

	*familyCore          // immutable
	m           *Manager // immutable
	lives       lives    // immutable
	table       table    // immutable
	show        func()   // immutable: makes the handle read here

	work   *xsync.MapOf[string, *key] // working keys, by what follows the prefix; guarded by mu for who changes it
	cut    atomic.Int64               // ns since Open: answers asked for until then are not fresh
	closed atomic.Int64               // ns since Open: when the clock stopped, as the manager was closed; 0: it runs
	counts familyCounts

	mu        sync.Mutex              // held for a moment; no other lock is taken under it
	set       *evict.Order[*resident] // guarded by mu: members with a value
	absent    *evict.Order[*resident] // guarded by mu: members known to have none
	lingering map[*key]struct{}       // guarded by mu: working keys that nobody holds
	owed      int64                   // guarded by mu: ns since Open: see fruitless
	quiet     atomic.Int64            // ns since Open: until then pushes alone cause no loads
	resting   atomic.Int64            // ns since Open: until then reads cause no loads of members without a working key
}

func (f *family) init(c *familyCore, m *Manager, l lives, t table) {
	f.familyCore, f.m, f.lives, f.table = c, m, l, t
	f.reads = m.countReads(c.name)
	f.work = xsync.NewMapOf[string, *key]()
	f.lingering = map[*key]struct{}{}
	f.set, f.absent = f.newOrders()
	f.cut.Store(-lifeBias / 2)
}

func (f *family) newOrders() (set, absent *evict.Order[*resident]) {
	return evict.New(f.entries, f.keeps, f.evicted), evict.New(f.absents, f.keeps, f.evicted)
}

// addFamily makes a family's state in m.
func (m *Manager) addFamily(c *familyCore, l lives) {
	m.families = append(m.families, c.open(m, l))
}

// A memberRead is a member that a reader found missing or old.
type memberRead struct {
	fam    *family
	member string
}

// now is the manager's clock, until that is closed: a closed manager's members
// keep their last value.
func (f *family) now() int64 {
	if at := f.closed.Load(); at != 0 {
		return at
	}
	return f.m.now()
}

// age judges r exactly: its age, and whether it is fresh and usable.
func (f *family) age(r *resident) (asked, now int64, fresh, usable bool) {
	asked, young := lifeAt(r.life.Load())
	now = f.now()
	return asked, now, young && asked > f.cut.Load() && now < later(asked, f.lives.ttl), now < later(asked, f.lives.usable)
}

// usable reports whether the value of r, which freshFrom does not let pass, may
// be read, and has r loaded again if it is not fresh.
func (f *family) usable(r *resident) bool {
	if k, ok := f.work.Load(r.key); ok {
		return f.usableBy(k, r.key)
	}
	asked, now, fresh, usable := f.age(r)
	switch {
	case fresh:
		f.reads.hit()
		return true
	case usable:
		f.reads.stale()
	default:
		f.reads.missed()
	}
	if f.inVain(asked, now) || now < f.resting.Load() {
		return usable
	}
	if w := r.node.Flags.Load(); w&queued == 0 && r.node.Flags.CompareAndSwap(w, w|queued) && !f.read(r.key) {
		r.node.Flags.And(^uint32(queued))
	}
	return usable
}

// usableBy is usable for a member that something goes on for. A flight in the
// air that no push has overtaken brings all that another would.
func (f *family) usableBy(k *key, member string) bool {
	m, now, token := k.cell.load(), f.now(), k.token()
	if !m.confirmed(now, k.lives, token) && k.flown.Load() != token+1 && k.retryAt.Load() <= now && !f.inVain(m.asked.Load(), now) {
		f.read(member)
	}
	switch m.state(now, k.lives, token) {
	case Fresh:
		f.reads.hit()
	case Stale:
		f.reads.stale()
	default:
		f.reads.missed()
		return false
	}
	return true
}

// read queues a load of a member.
func (f *family) read(member string) bool {
	if f.closed.Load() != 0 {
		return false
	}
	if !f.m.refresher.read(memberRead{f, member}) {
		f.counts.dropped.Add(1)
		return false
	}
	return true
}

// flush forgets all members. What is worked on is made unloaded.
func (f *family) flush() {
	f.mu.Lock()
	f.table.clear()
	f.set, f.absent = f.newOrders()
	f.mu.Unlock()
	f.work.Range(func(_ string, k *key) bool { k.start(); return true })
}

// reconsider ends back-offs as a tier answers again, and the freshness of what
// may have been loaded past the cache, if anything may: changes of that are not
// announced.
func (f *family) reconsider(now int64, past bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if past {
		f.cutAt(now)
	}
	f.resting.Store(0)
	f.work.Range(func(_ string, k *key) bool {
		if !k.ahead() && k.reconsider() {
			k.due.Store(min(k.due.Load(), now)) // for who reads it next: readers spread them
		}
		return true
	})
}

// reading is the reading of r, but for its value, and whether it is fresh.
func (f *family) reading(r *resident) (_ Reading[any], fresh bool) {
	asked, now, fresh, usable := f.age(r)
	out := Reading[any]{State: Stale, Origin: r.origin, Stamp: r.stamp(), Age: time.Duration(now - asked)}
	switch {
	case fresh:
		out.State = Fresh
	case !usable:
		out.State, out.Origin = Expired, Default
	}
	return out, fresh
}

// wanted returns the working key of a member that a reader found missing or old,
// to be released, or nil if there is nothing to be done for it now.
func (f *family) wanted(member string) *key {
	if r := f.table.find(member); r != nil {
		r.node.Flags.And(^uint32(queued))
	}
	k, err := f.acquire(member)
	if err != nil {
		return nil
	}
	if k.retryAt.Load() > f.m.now() || k.confirmedSince(k.token()) {
		k.release()
		return nil
	}
	return k
}

// changedMember handles the push of a name that may be a member's.
func (m *Manager) changedMember(name string) {
	prefix, member, _ := strings.Cut(name, "/")
	for _, f := range m.families {
		if f.name == prefix && f.knows(member) {
			point.At(point.PushHandle, m, name)
			m.stats.pushes.Add(1)
			f.pushed(member)
		}
	}
}

// knows reports whether a member is in memory or worked on.
func (f *family) knows(member string) bool {
	_, working := f.work.Load(member)
	return working || f.table.find(member) != nil
}

// pushed ends the freshness of a member, of which a push has come, and has it
// loaded if somebody watches it: else its next reader has it loaded. A load that
// is under way is what they who wait for it came for; it does not make the member
// fresh.
func (f *family) pushed(member string) {
	f.mu.Lock()
	k, working := f.work.Load(member)
	r := f.table.find(member)
	held := working && k.refs > 0
	if held {
		k.refs++
		f.suspectLocked(k, r)
	}
	f.stirLocked(member, r)
	f.mu.Unlock()
	if held {
		defer k.release()
		f.m.loader.unpark(k)
		if k.wakes.Load() > 0 {
			f.m.refresher.push(k)
		}
	}
}

// stirLocked moves the member's part of its token: nothing asked for earlier is
// fresh. A member that is not being worked on needs no token: nothing was asked for.
func (f *family) stirLocked(member string, r *resident) {
	if k, ok := f.work.Load(member); ok {
		k.moved.Add(1)
	}
	if r != nil {
		r.end()
	}
}

// moveAll moves the process' part of every token: nothing asked for earlier is
// fresh. Under mu of all families, answers are published either before, and
// were asked for before now, or after, and find the token moved.
func (m *Manager) moveAll() {
	for _, f := range m.families {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	m.moved.Add(1)
	now := m.now()
	for _, f := range m.families {
		f.cutAt(now)
	}
}

// cutAt ends the freshness of all that was asked for until now.
func (f *family) cutAt(now int64) {
	raise(&f.cut, now)
	raise(&f.freshFrom, freshLife(now+1))
}

// raise makes a at least v.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); old < v && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// How often the clock of families ticks.
const (
	leastTick = time.Millisecond
	mostTick  = 50 * time.Millisecond
)

// tick is the clock of all families, until the manager is closed. freshFrom is
// kept ahead by one tick, so that members which it lets pass are fresh until the
// next; what it does not let pass is judged by the exact clock.
func (m *Manager) tick() {
	step := int64(mostTick)
	for _, f := range m.families {
		step = min(step, max(f.lives.ttl/64, int64(leastTick)))
	}
	t := time.NewTicker(time.Duration(step))
	defer t.Stop()
	for {
		now := m.now()
		for _, f := range m.families {
			raise(&f.freshFrom, freshLife(now+step-f.lives.ttl+1))
			f.sweep(now)
		}
		select {
		case <-m.ctx.Done():
			for _, f := range m.families {
				f.closed.Store(max(m.now(), 1))
			}
			return
		case <-t.C:
		}
	}
}
