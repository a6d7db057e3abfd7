package fastopt

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"
)

// Families: one option per tenant, user or region, under the name prefix/key.
// Members are many, so that they live in a bounded concurrent map, are loaded
// when first read and renewed when read again.

// A FamilySpec declares a family. Prefix is required.
type FamilySpec[T any] struct {
	// Prefix matches the grammar of option names; the name of a member is
	// Prefix/key.
	Prefix string
	// Default, TTL, Grace, WaitStale, Doc and Check are as in Spec. Members are
	// not part of a snapshot. They fall to the default when they are read past TTL +
	// Grace, without the warnings that the log has of registered options.
	Default   T
	TTL       time.Duration
	Grace     time.Duration
	WaitStale time.Duration
	Doc       string
	Check     func(T) error
	// MaxEntries bounds the members in memory, whether set or known to be
	// absent. Those not read lately are evicted first; an evicted member reads
	// the default until it is loaded again. Members that are being written or
	// repaired are kept beyond the bound. 0: 100,000. Negative: ErrDeclaration.
	MaxEntries int
}

const defaultMaxEntries = 100_000

// A Family is the handle of a declared family. All methods may be called by any
// number of goroutines at once. A key is not empty and valid UTF-8 without NUL;
// with the prefix and the '/' it has at most 400 bytes. Else, ErrInvalidName.
// Before Open, Get gives the default, and the others ErrClosed.
type Family[T any] struct{ core *familyCore }

// DeclareFamily declares a family. It panics if the declaration is wrong.
func DeclareFamily[T any](r *Registry, s FamilySpec[T]) *Family[T] {
	f, err := TryDeclareFamily(r, s)
	if err != nil {
		panic(err)
	}
	return f
}

// TryDeclareFamily declares a family, or returns what is wrong, as TryDeclare does.
func TryDeclareFamily[T any](r *Registry, s FamilySpec[T]) (*Family[T], error) {
	d, err := declare(Spec[T]{Name: s.Prefix, Default: s.Default, TTL: s.TTL, Grace: s.Grace, WaitStale: s.WaitStale, Doc: s.Doc, Check: s.Check})
	if err == nil && s.MaxEntries < 0 {
		err = because(ErrDeclaration, "MaxEntries %d: must not be negative", s.MaxEntries)
	}
	if err != nil {
		return nil, failed("declare", s.Prefix, err)
	}
	f := &familyCore{decl: d, limit: s.MaxEntries, handle: func() *core { return newOption[T](d).core }}
	if f.limit == 0 {
		f.limit = defaultMaxEntries
	}
	if err := r.add(s.Prefix, func() { r.families = append(r.families, f) }); err != nil {
		return nil, failed("declare", s.Prefix, err)
	}
	return &Family[T]{core: f}, nil
}

// Get returns the member's value. A member that is not in memory reads the
// default and is loaded in the background; an old one is renewed in the
// background. It does not wait for that, and does no I/O. An invalid key reads
// the default.
func (f *Family[T]) Get(key string) T {
	if s := f.core.state.Load(); s != nil {
		return unbox[T](s.get(key))
	}
	return unbox[T](f.core.fallback)
}

// Load returns a member's reading as Option.Load does.
func (f *Family[T]) Load(ctx context.Context, key string) Reading[T] {
	k, err := f.core.memberKey(key)
	if err != nil {
		return Reading[T]{Value: unbox[T](f.core.fallback), Err: failed("load", f.core.name+"/"+key, err)}
	}
	return reading[T](k.m.loadKey(ctx, k))
}

// Set writes a member's value as Option.Set does.
func (f *Family[T]) Set(ctx context.Context, key string, v T, opts ...WriteOption) (Receipt, error) {
	return receipt("set", f.core.name+"/"+key, func() (Receipt, error) {
		k, err := f.core.writeKey(key)
		if err != nil {
			return Receipt{}, err
		}
		defer k.writing.Add(-1)
		return k.set(ctx, v, opts)
	})
}

// SetIf writes a member's value as Option.SetIf does.
func (f *Family[T]) SetIf(ctx context.Context, key string, stamp Stamp, v T, opts ...WriteOption) (Receipt, error) {
	return f.Set(ctx, key, v, unchangedSince(stamp, opts)...)
}

// Delete removes a member's value as Option.Delete does.
func (f *Family[T]) Delete(ctx context.Context, key string, opts ...WriteOption) (Receipt, error) {
	return receipt("delete", f.core.name+"/"+key, func() (Receipt, error) {
		k, err := f.core.writeKey(key)
		if err != nil {
			return Receipt{}, err
		}
		defer k.writing.Add(-1)
		return k.delete(ctx, opts)
	})
}

// A familyCore is a family in code that knows no T.
type familyCore struct {
	*decl               // immutable
	limit  int          // immutable
	handle func() *core // immutable: makes a member that reads the default
	state  atomic.Pointer[family]
}

// A family is a familyCore in one manager.
type family struct {
	*familyCore                            // immutable
	m           *Manager                   // immutable
	lives       lives                      // immutable
	members     *xsync.MapOf[string, *key] // by what follows the prefix

	mu   sync.Mutex
	hand []*key // guarded by mu: in the order of eviction
}

// A memberRead is a member that a reader found missing or old.
type memberRead struct {
	fam    *family
	member string
}

// get is Family.Get. It writes nothing shared unless the member is missing or
// old, or is read for the first time since the eviction hand passed.
func (f *family) get(member string) any {
	k, ok := f.members.Load(member)
	if !ok {
		if checkFamilyKey(f.name+"/"+member, member) == nil {
			f.m.refresher.read(memberRead{f, member})
		}
		return f.fallback
	}
	if !k.used.Load() {
		k.used.Store(true)
	}
	m, now := k.cell.load(), f.m.now()
	k.outlive(now)
	if !m.confirmed(now, k.lives, k.token()) && k.retryAt.Load() <= now {
		k.renewLater(member)
	}
	if m.state(now, k.lives, k.token()) == Expired {
		return f.fallback
	}
	return m.boxed
}

// renewLater queues one load of a member.
func (k *key) renewLater(member string) {
	if k.queued.CompareAndSwap(false, true) && !k.m.refresher.read(memberRead{k.fam, member}) {
		k.queued.Store(false)
	}
}

// memberKey returns the key of a member in the newest manager, creating it.
func (f *familyCore) memberKey(member string) (*key, error) {
	s := f.state.Load()
	if s == nil {
		return nil, ErrClosed
	}
	return s.memberKey(member)
}

// writeKey is memberKey for a write, during which the member is not evicted:
// who calls it takes k.writing down again.
func (f *familyCore) writeKey(member string) (*key, error) {
	s := f.state.Load()
	if s == nil {
		return nil, ErrClosed
	}
	return s.writeKey(member)
}

func (s *family) memberKey(member string) (*key, error) {
	if k, ok := s.members.Load(member); ok {
		return k, nil
	}
	return s.pick(member, 0)
}

func (s *family) writeKey(member string) (*key, error) { return s.pick(member, 1) }

// pick returns the key of a member, creating it, with so many more writes under
// way.
func (s *family) pick(member string, writes int32) (*key, error) {
	full := s.name + "/" + member
	if err := checkFamilyKey(full, member); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.members.Load(member)
	if !ok {
		s.evictLocked()
		k = &key{core: s.handle(), full: full, m: s.m, lives: s.lives, fam: s}
		k.due.Store(never)
		k.start()
		s.hand = append(s.hand, k)
		s.m.dynamic.Store(full, k) // first: no push for it may be overlooked
		s.members.Store(member, k)
	}
	k.writing.Add(writes)
	return k, nil
}

// evictLocked makes room for one member: it drops the oldest that was not read
// since the hand passed it last (CLOCK, also called second chance). What is
// being written or repaired is kept, so that nobody reads less than he wrote
// (I4); if all are, there is one more.
func (s *family) evictLocked() {
	for range 2 * len(s.hand) {
		if len(s.hand) < s.limit {
			return
		}
		k := s.hand[0]
		s.hand = s.hand[1:]
		if k.used.CompareAndSwap(true, false) || k.writing.Load() > 0 || !k.isClean() {
			s.hand = append(s.hand, k)
			continue
		}
		s.members.Delete(k.full[len(s.name)+1:])
		s.m.dynamic.Delete(k.full)
	}
}
