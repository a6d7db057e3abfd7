package fastopt

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/fastopt/fastopt-go/tiers"
)

// By name: for code that learns at run time which option it wants. Names are
// those of declared options, or prefix/key of families; for any other the
// answer is ErrUnknownOption, without I/O.

// Get returns the value of an option as Option.Get does. It is wait-free and
// does not allocate. The name of a family's member that is not in memory gives
// the default and loads it in the background.
func (m *Manager) Get(name string) (any, error) {
	if k := m.byName[name]; k != nil {
		return k.cell.load().boxed, nil
	}
	f, key, err := m.member(name)
	if err != nil {
		return nil, failed("get", name, err)
	}
	return f.get(key), nil
}

// Load returns readings of all names, as Option.Load does: together, at the
// price of one request per tier. ErrUnknownOption or ErrInvalidName for any
// name: nothing is loaded. No names: an empty map.
func (m *Manager) Load(ctx context.Context, names ...string) (map[string]Reading[any], error) {
	keys := make([]*key, 0, len(names))
	for _, name := range names {
		k, err := m.keyOf(name)
		if err != nil {
			return nil, failed("load", name, err)
		}
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	// Their flights share a batch; each is then awaited as by itself.
	tokens := make([]uint64, len(keys))
	var cold []*key
	for i, k := range keys {
		tokens[i] = k.token()
		if k.readingSince(tokens[i]).State != Fresh && k.retryAt.Load() <= m.now() {
			cold = append(cold, k)
		}
	}
	if len(cold) > 0 && ctx.Err() == nil {
		m.loader.start(cold...)
	}
	readings := make(map[string]Reading[any], len(keys))
	for i, k := range keys {
		readings[k.full] = k.loadSince(ctx, tokens[i])
	}
	return readings, nil
}

// Set writes v, which must be of the option's type, as Option.Set does.
func (m *Manager) Set(ctx context.Context, name string, v any, opts ...WriteOption) (Receipt, error) {
	return receipt("set", name, func() (Receipt, error) {
		k, err := m.keyOf(name)
		if err != nil {
			return Receipt{}, err
		}
		return k.set(ctx, v, opts)
	})
}

// Delete removes the value of an option, as Option.Delete does.
func (m *Manager) Delete(ctx context.Context, name string, opts ...WriteOption) (Receipt, error) {
	return receipt("delete", name, func() (Receipt, error) {
		k, err := m.keyOf(name)
		if err != nil {
			return Receipt{}, err
		}
		return k.delete(ctx, opts)
	})
}

// IsSet asks the source (without one, the cache) whether the option has a value
// of its own. A default does not count, nor does having been read. It waits for
// at most SourceTimeout. ErrUnavailable: no answer.
func (m *Manager) IsSet(ctx context.Context, name string) (bool, error) {
	k, err := m.keyOf(name)
	if err != nil {
		return false, failed("query", name, err)
	}
	if m.isClosed() {
		return false, failed("query", name, ErrClosed)
	}
	ask := m.cfg.Source
	ctx, cancel := context.WithTimeout(ctx, m.cfg.SourceTimeout)
	defer cancel()
	var res tiers.Result
	switch {
	case ask != nil:
		res = ask.Load(ctx, m.cfg.Namespace, []string{k.full})[0]
	case m.cfg.Cache != nil:
		res = m.cfg.Cache.Load(ctx, m.cfg.Namespace, []string{k.full})[0]
	default:
		return false, nil
	}
	if res.Err != nil {
		return false, failed("query", name, errors.Join(ErrUnavailable, res.Err))
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

// Refresh asks the tiers for every declared option now and waits for the
// answers, or for ctx. The first failure is its error.
func (m *Manager) Refresh(ctx context.Context) error {
	if m.isClosed() {
		return failed("refresh", "*", ErrClosed)
	}
	m.moved.Add(1)
	return m.loadAll(ctx)
}

// keyOf returns the key of a name, creating that of a family's member.
func (m *Manager) keyOf(name string) (*key, error) {
	if k := m.byName[name]; k != nil {
		return k, nil
	}
	f, key, err := m.member(name)
	if err != nil {
		return nil, err
	}
	return f.memberKey(key)
}

// member splits the name of a family's member.
func (m *Manager) member(name string) (*family, string, error) {
	prefix, key, ok := strings.Cut(name, "/")
	for _, f := range m.families {
		if ok && f.name == prefix {
			return f, key, checkFamilyKey(name, key)
		}
	}
	if err := checkName(prefix); err != nil && !ok {
		return nil, "", err
	}
	return nil, "", unknown(name, func(yield func(string) bool) {
		for have := range m.byName {
			if !yield(have) {
				return
			}
		}
	})
}
