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
	// Default, TTL, Grace, Doc and Check are as in Spec.
	Default T
	TTL     time.Duration
	Grace   time.Duration
	Doc     string
	Check   func(T) error
	// MaxEntries bounds the members in memory, whether set or known to be
	// absent. 0: 100,000.
	MaxEntries int
}

const defaultMaxEntries = 100_000

// A Family is the handle of a declared family.
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
	d, err := declare(Spec[T]{Name: s.Prefix, Default: s.Default, TTL: s.TTL, Grace: s.Grace, Doc: s.Doc, Check: s.Check})
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

// Get returns the value of a member: fresh, or stale while it is renewed in the
// background, or the default, while it is loaded if it was never asked for. It
// does not wait and does no I/O. An invalid key reads the default.
func (f *Family[T]) Get(key string) T { return unbox[T](f.core.get(key)) }

// Load returns a member's reading as Option.Load does.
func (f *Family[T]) Load(ctx context.Context, key string) Reading[T] {
	k, err := f.core.memberKey(key)
	if err != nil {
		return Reading[T]{Value: unbox[T](f.core.fallback), Err: failed("load", f.core.name+"/"+key, err)}
	}
	return reading[T](k.loadSince(ctx, k.token()))
}

// Set writes a member's value as Option.Set does.
func (f *Family[T]) Set(ctx context.Context, key string, v T, opts ...WriteOption) (Receipt, error) {
	return receipt("set", f.core.name+"/"+key, func() (Receipt, error) {
		k, err := f.core.memberKey(key)
		if err != nil {
			return Receipt{}, err
		}
		return k.set(ctx, v, opts)
	})
}

// Delete removes a member's value as Option.Delete does.
func (f *Family[T]) Delete(ctx context.Context, key string, opts ...WriteOption) (Receipt, error) {
	return receipt("delete", f.core.name+"/"+key, func() (Receipt, error) {
		k, err := f.core.memberKey(key)
		if err != nil {
			return Receipt{}, err
		}
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

// A familyWant is a member that a reader found missing or old.
type familyWant struct {
	fam    *family
	member string
}

// get is Family.Get. It writes nothing shared unless the member is old, or is
// read for the first time since the eviction hand passed.
func (f *familyCore) get(member string) any {
	s := f.state.Load()
	if s == nil {
		return f.fallback
	}
	k, ok := s.members.Load(member)
	if !ok {
		s.m.refresher.want(familyWant{s, member})
		return f.fallback
	}
	if !k.used.Load() {
		k.used.Store(true)
	}
	m := k.cell.load()
	state := m.state(s.m.now(), k.lives, k.token())
	if state != Fresh {
		k.renewLater(member)
	}
	if state == Expired {
		return f.fallback
	}
	return m.boxed
}

// renewLater queues one load of a member.
func (k *key) renewLater(member string) {
	if k.wanted.CompareAndSwap(false, true) && !k.m.refresher.want(familyWant{k.fam, member}) {
		k.wanted.Store(false)
	}
}

// want queues a load, and reports false if too many are queued: the next read
// tries again.
func (r *refresher) want(w familyWant) bool {
	select {
	case r.wants <- w:
		return true
	default:
		return false
	}
}

// memberKey returns the key of a member in the newest manager, creating it.
func (f *familyCore) memberKey(member string) (*key, error) {
	full := f.name + "/" + member
	if err := checkFamilyKey(full, member); err != nil {
		return nil, err
	}
	s := f.state.Load()
	if s == nil {
		return nil, ErrClosed
	}
	if k, ok := s.members.Load(member); ok {
		return k, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.members.Load(member); ok {
		return k, nil
	}
	for len(s.hand) >= f.limit {
		s.evictLocked()
	}
	k := &key{core: f.handle(), full: full, m: s.m, lives: s.lives, fam: s}
	k.start()
	s.hand = append(s.hand, k)
	s.members.Store(member, k)
	s.m.dynamic.Store(full, k)
	return k, nil
}

// evictLocked drops the oldest member that was not read since the hand passed
// it last (CLOCK, also called second chance).
func (s *family) evictLocked() {
	for {
		k := s.hand[0]
		s.hand = s.hand[1:]
		if k.used.CompareAndSwap(true, false) {
			s.hand = append(s.hand, k)
			continue
		}
		s.members.Delete(k.full[len(s.name)+1:])
		s.m.dynamic.Delete(k.full)
		return
	}
}
