package fastopt

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/fastopt/fastopt-go/tiers"
)

// By name: for code that learns at run time which option it wants. Names are
// those of declared options, or prefix/key of families; for any other the
// answer is ErrUnknownOption, without I/O.

// Get returns the value of an option as Option.Get does: wait-free, without an
// allocation. A family's member is read as Family.Get reads it; to return its
// value as an any may allocate that. An error
// (ErrUnknownOption, ErrInvalidName) costs a look at all names.
func (m *Manager) Get(name string) (any, error) {
	v, f, member, err := m.find(name)
	if f != nil {
		return f.table.value(member), nil
	}
	return v, err
}

// find returns the value of an option, or the family and the key of a member.
func (m *Manager) find(name string) (v any, _ *family, member string, _ error) {
	if s := m.names.find(name); s != nil {
		v := s.shown.Load()
		if v.passed.Load() { // else this load is the linearization point
			v = v.key.cell.load().shown
		}
		if m.reads != nil {
			m.reads.found(v.known)
		}
		return v.value, nil, "", nil
	}
	f, member, err := m.member(name)
	if err != nil {
		return nil, nil, "", failed("get", name, err)
	}
	return nil, f, member, nil
}

// maxNames bounds one call of Load.
const maxNames = 100_000

// Load returns readings of all names, as Option.Load does, together: one
// request per tier for each 500 names, and one bound of time for all.
// ErrUnknownOption or ErrInvalidName for any name, or ErrTooLarge for more than
// 100,000: nothing is loaded. No names: an empty map.
func (m *Manager) Load(ctx context.Context, names ...string) (map[string]Reading[any], error) {
	if len(names) > maxNames {
		return nil, fmt.Errorf("fastopt: load: %w: %d names, the limit is %d", ErrTooLarge, len(names), maxNames)
	}
	keys := make([]*key, 0, len(names))
	readings := make(map[string]Reading[any], len(names))
	for _, name := range names {
		k, err := m.keyOf(name)
		if err != nil {
			return nil, failed("load", name, err)
		}
		defer k.release()
		if _, twice := readings[k.full]; !twice {
			keys = append(keys, k)
			readings[k.full] = Reading[any]{}
		}
	}
	for i, r := range m.loadKeys(ctx, keys...) {
		readings[keys[i].full] = r
	}
	return readings, nil
}

// Set writes v, which must be of the option's type, as Option.Set does. For an
// unknown name (ErrUnknownOption, ErrInvalidName) nothing is sent.
func (m *Manager) Set(ctx context.Context, name string, v any, opts ...WriteOption) (Receipt, error) {
	return receipt("set", name, func() (Receipt, error) {
		k, err := m.keyOf(name)
		if err != nil {
			return Receipt{}, err
		}
		defer k.release()
		return k.set(ctx, v, opts)
	})
}

// SetIf writes v as Option.SetIf does.
func (m *Manager) SetIf(ctx context.Context, name string, stamp Stamp, v any, opts ...WriteOption) (Receipt, error) {
	return m.Set(ctx, name, v, unchangedSince(stamp, opts)...)
}

// SetAll writes values by name, each of its option's type, in one transaction
// and with one stamp, or none of them: readers in other processes may see them
// one after the other, never one of them alone for good. At most 500; of none
// the Receipt is zero. An error names the option it is about, where it is about
// one; else as for Option.Set. For unknown names and invalid values nothing is sent.
func (m *Manager) SetAll(ctx context.Context, values map[string]any, opts ...WriteOption) (Receipt, error) {
	if len(values) > tiers.MaxBatch {
		return Receipt{}, fmt.Errorf("fastopt: set: %w: %d options, the limit is %d", ErrTooLarge, len(values), tiers.MaxBatch)
	}
	cs := make([]change, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		k, err := m.keyOf(name)
		if err != nil {
			return Receipt{}, failed("set", name, err)
		}
		defer k.release()
		c, err := k.change(values[name])
		if err != nil {
			return Receipt{}, failed("set", name, err)
		}
		cs = append(cs, c)
	}
	if len(cs) == 0 {
		return Receipt{}, nil
	}
	r, err := m.write(ctx, cs, opts)
	if err != nil {
		return Receipt{}, fmt.Errorf("fastopt: set %d options, %q first: %w", len(cs), cs[0].Name, err)
	}
	return r, nil
}

// Delete removes the value of an option, as Option.Delete does.
func (m *Manager) Delete(ctx context.Context, name string, opts ...WriteOption) (Receipt, error) {
	return receipt("delete", name, func() (Receipt, error) {
		k, err := m.keyOf(name)
		if err != nil {
			return Receipt{}, err
		}
		defer k.release()
		return k.delete(ctx, opts)
	})
}

// IsSet asks the source (without one, the cache) whether the option has a value
// of its own. A default does not count, nor does having been read; without any
// tier nothing is set. It waits for at most SourceTimeout. ErrUnavailable: no
// answer. ErrUnknownOption, ErrInvalidName, ErrClosed: nobody was asked.
func (m *Manager) IsSet(ctx context.Context, name string) (bool, error) {
	if m.byName[name] == nil {
		if _, _, err := m.member(name); err != nil {
			return false, failed("query", name, err)
		}
	}
	if m.isClosed() {
		return false, failed("query", name, ErrClosed)
	}
	caller := orEnded(ctx)
	ctx, cancel := context.WithTimeout(caller, m.cfg.SourceTimeout)
	defer cancel()
	var load func(context.Context, string, []string) []tiers.Result
	t, known := &m.source, m.marks.answered
	switch {
	case m.cfg.Source != nil:
		if err := m.source.refuses(); err != nil {
			return false, failed("query", name, unavailable("source", err))
		}
		if err := m.loader.options.bucket.Wait(ctx); err != nil {
			return false, failed("query", name, unavailable("source", err))
		}
		load = m.cfg.Source.Load
	case m.cfg.Cache != nil:
		if err := m.marks.refused(); err != nil {
			return false, failed("query", name, unavailable("cache", err))
		}
		load, t, known = m.cfg.Cache.Load, &m.cache, m.marks.knows
	default:
		return false, nil
	}
	leave, err := t.enter()
	if err != nil {
		return false, failed("query", name, unavailable(t.name, err))
	}
	res := load(ctx, m.cfg.Namespace, []string{name})[0]
	if caller.Err() != nil { // a caller that left says nothing about the tier
		leave(context.Canceled)
	} else {
		leave(worst([]tiers.Result{res}))
	}
	if res.Err == nil && !known(res.Stamp.Epoch) {
		res.Err = errOlder
	}
	if res.Err != nil {
		return false, failed("query", name, unavailable(t.name, res.Err))
	}
	return res.Kind == tiers.Value, nil
}

// All yields every declared option in the order of declaration, as Inspect
// reads it. Members of families are not among them.
func (m *Manager) All() iter.Seq2[string, Reading[any]] {
	return func(yield func(string, Reading[any]) bool) {
		for _, k := range m.keys {
			if !yield(k.name, k.reading()) {
				return
			}
		}
	}
}

// Refresh asks the tiers for every declared option now, as a Load does: the
// cache first, whose answer suffices. It waits for the answers, for ctx, or for
// the timeouts of both tiers. The first failure is its error (ErrUnavailable,
// ErrClosed). Options that a test overrides are refreshed beneath.
func (m *Manager) Refresh(ctx context.Context) error {
	if m.isClosed() {
		return fmt.Errorf("fastopt: refresh: %w", ErrClosed)
	}
	for _, k := range m.keys {
		k.stir()
	}
	if err := m.loadAll(orEnded(ctx)); err != nil {
		return fmt.Errorf("fastopt: refresh: %w", err)
	}
	return nil
}

// keyOf returns the key of a name. That of a family's member lasts until it is
// released.
func (m *Manager) keyOf(name string) (*key, error) {
	if k := m.byName[name]; k != nil {
		return k, nil
	}
	f, key, err := m.member(name)
	if err != nil {
		return nil, err
	}
	return f.acquire(key)
}

// member splits the name of a family's member.
func (m *Manager) member(name string) (*family, string, error) {
	prefix, key, ok := strings.Cut(name, "/")
	for _, f := range m.families {
		if ok && f.name == prefix {
			return f, key, checkFamilyKey(key)
		}
	}
	if err := checkName(prefix); err != nil && !ok {
		return nil, "", err
	}
	for _, f := range m.families {
		if f.name == name {
			return nil, "", because(ErrUnknownOption, "it is a family: its members are called %s/key", name)
		}
	}
	return nil, "", unknown(name, func(yield func(string) bool) {
		for have := range m.byName {
			if !yield(have) {
				return
			}
		}
	})
}
