package fastopt

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v3"
)

// Families: one option per tenant, user or region, under the name prefix/key.
// Members are many, so that they live in a bounded concurrent map (member.go),
// are loaded when first read and renewed when read again.

// A FamilySpec declares a family. Prefix and MaxEntries are required.
type FamilySpec[T any] struct {
	// Prefix matches the grammar of option names, and is that of no other family
	// and no option's name; the name of a member is Prefix/key.
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
	// MaxEntries bounds the members in memory that are set. Those not read
	// lately are evicted first; an evicted member reads the default until it is
	// loaded again. Members that are being loaded, written or repaired are kept
	// beyond the bound. At least 1: how many there will be is known to nobody
	// else. A member takes about 130 bytes and its value.
	MaxEntries int
	// MaxAbsent bounds the members in memory that are known to be absent, apart,
	// so that a flood of unknown keys evicts none that is set. 0: a tenth of
	// MaxEntries, at least 1,000. Negative: ErrDeclaration.
	MaxAbsent int
}

const leastAbsent = 1000

// A Family is the handle of a declared family. All methods may be called by any
// number of goroutines at once. A key is 1 to 255 bytes of valid UTF-8 without
// control characters; else, ErrInvalidName. Before Open, Get and Inspect give the
// default, and the others ErrClosed.
type Family[T any] struct {
	current atomic.Pointer[residents[T]] // in the newest manager; nil before the first Open
	value   T                            // immutable: the default
	core    *familyCore                  // immutable
}

// DeclareFamily declares a family. It panics if the declaration is wrong.
func DeclareFamily[T any](r *Registry, s FamilySpec[T]) *Family[T] {
	f, err := TryDeclareFamily(r, s)
	if err != nil {
		panic(err)
	}
	return f
}

// TryDeclareFamily declares a family, or returns what is wrong, as TryDeclare
// does: ErrDeclaration also if MaxEntries is below 1 or MaxAbsent below 0, or if
// the prefix is that of another family or an option's name.
func TryDeclareFamily[T any](r *Registry, s FamilySpec[T]) (*Family[T], error) {
	d, err := declare(Spec[T]{Name: s.Prefix, Default: s.Default, TTL: s.TTL, Grace: s.Grace, WaitStale: s.WaitStale, Doc: s.Doc, Check: s.Check})
	switch {
	case err != nil:
	case s.MaxEntries < 1:
		err = because(ErrDeclaration, "MaxEntries %d: must be at least 1", s.MaxEntries)
	case s.MaxAbsent < 0:
		err = because(ErrDeclaration, "MaxAbsent %d: must not be negative", s.MaxAbsent)
	}
	if err != nil {
		return nil, failed("declare", s.Prefix, err)
	}
	f := &Family[T]{value: unbox[T](d.fallback), core: &familyCore{decl: d, entries: s.MaxEntries, absents: s.MaxAbsent}}
	if f.core.absents == 0 {
		f.core.absents = max(f.core.entries/10, leastAbsent)
	}
	f.core.open = f.open
	if err := r.add(s.Prefix, func() { r.families = append(r.families, f.core) }); err != nil {
		return nil, failed("declare", s.Prefix, err)
	}
	return f, nil
}

// open makes the family's state in m.
func (f *Family[T]) open(m *Manager, l lives) *family {
	s := &residents[T]{members: xsync.NewMapOf[string, *member[T]](), none: f.value}
	s.family.init(f.core, m, l, s)
	s.show = func() { f.current.Store(s) }
	return &s.family
}

// Get returns the member's value. A member that is not in memory reads the
// default and is loaded in the background; an old one, and one of which a push
// said that it changed, is renewed in the background. Get does not wait for
// that and does no I/O, and a hit takes no lock. How old a value is that it gives
// without having it renewed is judged by a clock that ticks every TTL/64, 1 to
// 50 ms: while a tier answers, a value that is read all the time is at most
// TTL old, plus the lag of the goroutine that ticks, plus the time of a
// request. An invalid key reads the default.
func (f *Family[T]) Get(key string) T {
	s := f.current.Load()
	if s == nil {
		return f.value
	}
	m, ok := s.members.Load(key)
	if ok && m.fresh(&s.freshFrom) {
		s.reads.hit()
		return m.value
	}
	return s.judged(m, key)
}

// Load returns a member's reading as Option.Load does.
func (f *Family[T]) Load(ctx context.Context, key string) Reading[T] {
	s := f.current.Load()
	if s == nil {
		return f.unread(key, ErrClosed)
	}
	if r, ok := s.fresh(key); ok {
		return r
	}
	k, err := s.acquire(key)
	if err != nil {
		return f.unread(key, err)
	}
	defer k.release()
	return reading[T](s.m.loadKey(ctx, k))
}

// unread is the reading of a member that cannot be asked for.
func (f *Family[T]) unread(key string, err error) Reading[T] {
	return Reading[T]{Value: f.value, Err: failed("load", f.core.name+"/"+key, err)}
}

// Set writes a member's value as Option.Set does.
func (f *Family[T]) Set(ctx context.Context, key string, v T, opts ...WriteOption) (Receipt, error) {
	return f.write("set", key, setTo(ctx, v, opts))
}

// SetIf writes a member's value as Option.SetIf does.
func (f *Family[T]) SetIf(ctx context.Context, key string, stamp Stamp, v T, opts ...WriteOption) (Receipt, error) {
	return f.Set(ctx, key, v, unchangedSince(stamp, opts)...)
}

// Delete removes a member's value as Option.Delete does.
func (f *Family[T]) Delete(ctx context.Context, key string, opts ...WriteOption) (Receipt, error) {
	return f.write("delete", key, deletion(ctx, opts))
}

// write calls do with the member's working key.
func (f *Family[T]) write(op, member string, do func(k *key) (Receipt, error)) (Receipt, error) {
	return receipt(op, f.core.name+"/"+member, func() (Receipt, error) {
		s := f.current.Load()
		if s == nil {
			return Receipt{}, ErrClosed
		}
		k, err := s.acquire(member)
		if err != nil {
			return Receipt{}, err
		}
		defer k.release()
		return do(k)
	})
}

func setTo(ctx context.Context, v any, opts []WriteOption) func(*key) (Receipt, error) {
	return func(k *key) (Receipt, error) { return k.set(ctx, v, opts) }
}

func deletion(ctx context.Context, opts []WriteOption) func(*key) (Receipt, error) {
	return func(k *key) (Receipt, error) { return k.delete(ctx, opts) }
}

// A familyCore is a family in code that knows no T.
type familyCore struct {
	*decl                                          // immutable
	entries, absents int                           // immutable: bounds
	open             func(*Manager, lives) *family // immutable
}
