package fastopt

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/fastopt/fastopt-go/internal/point"
)

// An Option is the handle of one declared option. All methods may be called by
// any number of goroutines at once, before Open (the default is read), while
// the manager is open, and after Close (the last value is read).
//
// The whole read path is Get: writers publish, readers load. It is two words
// long, because over many options the size of the handles is what a read costs.
type Option[T any] struct {
	current atomic.Pointer[entry[T]] // never nil
	core    *core                    // immutable
}

// Get returns the newest value known, or the default. It is wait-free and
// cannot fail. While a tier answers, the value is at most TTL old (see Spec);
// while none does, at most TTL + grace, plus the lag of the goroutine that then
// publishes the default, which Stats reports. With Grace: Forever, and while
// the row is invalid, the last good value stays without a bound.
func (o *Option[T]) Get() T { return o.current.Load().value }

// Name returns the name the option was declared with.
func (o *Option[T]) Name() string { return o.core.name }

// Default returns the default the option was declared with.
func (o *Option[T]) Default() T { return unbox[T](o.core.fallback) }

// Inspect returns what Get returns, and how it came to be, judged by the exact
// clock: past TTL + grace it is the default even if Get does not know yet. It
// is lock-free and does no I/O.
func (o *Option[T]) Inspect() Reading[T] {
	e := o.current.Load()
	return reading[T](o.core.inspect(e.meta))
}

// Load returns a value not older than the TTL, and asked for since the last push,
// waiting for a tier if need be: for at most WaitStale (50 ms by default) if there
// is a stale value to fall back on, else for LoadTimeout (300 ms by default); ctx
// may only shorten that. If no tier answers in time, it returns the stale value,
// else the default, with the reason in Reading.Err: ErrUnavailable, or ctx's error.
// The request goes on, is shared by all who ask meanwhile, and its answer is kept.
// Before Open, after Close, and for who waits when the manager is closed, Err is
// ErrClosed.
func (o *Option[T]) Load(ctx context.Context) Reading[T] {
	return reading[T](o.core.load(ctx))
}

// Set writes v to the source, then publishes it in this process, and then
// offers it to the shared cache. It returns when the source has committed and
// the cache has answered: at most WriteTimeout + CacheTimeout later, 800 ms by
// default; ctx shortens the first only. ErrInvalidValue, ErrTooLarge (more than
// Config.MaxValue bytes encoded), ErrReadOnly, ErrClosed (also before Open):
// nothing was sent. ErrUnavailable: nothing was changed. ErrOutcomeUnknown: it
// may have been applied or may still be.
func (o *Option[T]) Set(ctx context.Context, v T, opts ...WriteOption) (Receipt, error) {
	return o.core.set(ctx, v, opts)
}

// SetIf is Set on condition that the option has not changed since it was read
// with that stamp, of a value or of the answer that there is none: Reading.Stamp.
// The zero Stamp: if it has no value. ErrConflict: it has changed, or that cannot
// be told any more; nothing was written, and the next Load reads it anew from
// the source.
func (o *Option[T]) SetIf(ctx context.Context, stamp Stamp, v T, opts ...WriteOption) (Receipt, error) {
	return o.core.set(ctx, v, unchangedSince(stamp, opts))
}

// Delete removes the value from the source, so that the default holds; the
// rest is as for Set. Deleting what is not set succeeds.
func (o *Option[T]) Delete(ctx context.Context, opts ...WriteOption) (Receipt, error) {
	return o.core.delete(ctx, opts)
}

// Watch yields the current reading, then each newer one, until ctx ends or the
// manager is closed. A slow loop body skips to the newest; the last change is
// always delivered, and nobody is delayed. Changes of State alone, as from
// Fresh to Stale, are not yielded, but those to and from the default are, and
// that the row became invalid or valid. Before Open it yields the default and waits.
func (o *Option[T]) Watch(ctx context.Context) iter.Seq[Reading[T]] {
	return func(yield func(Reading[T]) bool) {
		for r := range o.core.watch(ctx) {
			if !yield(reading[T](r)) {
				return
			}
		}
	}
}

// load and swap make the handle a cell.

func (o *Option[T]) load() *meta { return o.current.Load().meta }

func (o *Option[T]) swap(old, new *meta) bool {
	cur := o.current.Load()
	if cur.meta != old {
		return false
	}
	next := &entry[T]{value: unbox[T](new.boxed), meta: new}
	old.pass()
	// Linearization point of every change. No ABA: cur is referenced here, so
	// its address cannot be reused.
	if !o.current.CompareAndSwap(cur, next) {
		return false
	}
	if new.shown != nil {
		point.At(point.PublishShow, new.key.m, new.key.name)
		new.key.show()
	}
	return true
}

// unbox returns the T in v.
func unbox[T any](v any) T {
	t, _ := v.(T) // not a T only if v is nil: never published
	return t
}
