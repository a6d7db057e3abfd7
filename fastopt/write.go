package fastopt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Writing: the source first; then this process, so that it reads its own write
// whatever becomes of the cache; then the cache, which tells everyone. Nothing
// is published before the commit is known.

// A WriteOption says more about a write. Of several By the last counts.
type WriteOption struct {
	actor, reason string
	unchanged     *tiers.Stamp // if not nil, all that this option says: SetIf's condition
}

// By records who writes and why, in the history of the option. Both are valid
// UTF-8 without NUL, at most 1,000 bytes, and may be empty; else the write is
// ErrInvalidValue. Neither may hold a secret.
func By(actor, reason string) WriteOption { return WriteOption{actor: actor, reason: reason} }

// unchangedSince makes a write conditional.
func unchangedSince(s Stamp, opts []WriteOption) []WriteOption {
	return append(slices.Clip(opts), WriteOption{unchanged: &s})
}

// maxSigned is the longest actor or reason, in bytes.
const maxSigned = 1000

func (o WriteOption) check() error {
	for what, text := range map[string]string{"actor": o.actor, "reason": o.reason} {
		switch {
		case len(text) > maxSigned:
			return because(ErrInvalidValue, "the %s has %d bytes, the limit is %d", what, len(text), maxSigned)
		case !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0:
			return because(ErrInvalidValue, "the %s is not valid UTF-8 without NUL", what)
		}
	}
	return nil
}

func (c *core) set(ctx context.Context, v any, opts []WriteOption) (Receipt, error) {
	return receipt("set", c.name, func() (Receipt, error) {
		k := c.key.Load()
		if k == nil {
			return Receipt{}, ErrClosed
		}
		return k.set(ctx, v, opts)
	})
}

func (c *core) delete(ctx context.Context, opts []WriteOption) (Receipt, error) {
	return receipt("delete", c.name, func() (Receipt, error) {
		k := c.key.Load()
		if k == nil {
			return Receipt{}, ErrClosed
		}
		return k.delete(ctx, opts)
	})
}

// receipt names the option in the error of a write.
func receipt(op, name string, f func() (Receipt, error)) (Receipt, error) {
	r, err := f()
	if err != nil {
		return Receipt{}, failed(op, name, err)
	}
	return r, nil
}

func (k *key) set(ctx context.Context, v any, opts []WriteOption) (Receipt, error) {
	c, err := k.change(v)
	if err != nil {
		return Receipt{}, err
	}
	return k.m.write(ctx, []change{c}, opts)
}

func (k *key) delete(ctx context.Context, opts []WriteOption) (Receipt, error) {
	return k.m.write(ctx, []change{{k: k, Write: tiers.Write{Name: k.full, Delete: true}}}, opts)
}

// A change is what a write does to one key.
type change struct {
	tiers.Write
	k     *key
	value any    // decoded from Data
	token uint64 // of k, before the request
}

// change encodes v, and decodes what was encoded: what readers will decode, not
// what the caller holds and may still change.
func (k *key) change(v any) (change, error) {
	data, err := k.codec.encode(v)
	if err != nil {
		return change{}, err
	}
	if limit := k.m.cfg.MaxValue; len(data) > limit {
		return change{}, because(ErrTooLarge, "it has %d bytes encoded, the limit is %d", len(data), limit)
	}
	value, err := k.decode(data)
	if err != nil {
		return change{}, err
	}
	return change{Write: tiers.Write{Name: k.full, Data: data}, k: k, value: value}, nil
}

// sign puts into c what opts say.
func (c *change) sign(opts []WriteOption) error {
	for _, o := range opts {
		if o.unchanged != nil {
			c.If = o.unchanged
			continue
		}
		if err := o.check(); err != nil {
			return err
		}
		c.Actor, c.Reason = o.actor, o.reason
	}
	return nil
}

// write applies all changes in one transaction, or none.
func (m *Manager) write(ctx context.Context, cs []change, opts []WriteOption) (Receipt, error) {
	ctx = orEnded(ctx)
	if m.cfg.Source == nil && !m.isClosed() {
		return Receipt{}, ErrReadOnly
	}
	if !m.beginWrite() {
		return Receipt{}, ErrClosed
	}
	defer m.writes.Done()
	if err := ctx.Err(); err != nil {
		return Receipt{}, unavailable("source", err) // never sent
	}
	if err := m.source.refuses(); err != nil {
		m.stats.writesFailed.Add(1)
		return Receipt{}, unavailable("source", err) // never sent
	}
	writes := make([]tiers.Write, len(cs))
	for i := range cs {
		if err := cs[i].sign(opts); err != nil {
			return Receipt{}, err
		}
		cs[i].token, writes[i] = cs[i].k.token(), cs[i].Write
	}
	wctx, cancel := context.WithTimeout(ctx, m.cfg.WriteTimeout)
	if err := m.snapshot.verify(wctx); err != nil { // else its stamps might outrank this write's
		cancel()
		m.stats.writesFailed.Add(1)
		return Receipt{}, unavailable("source", err)
	}
	asked := m.now()
	stamp, err := m.cfg.Source.Write(wctx, m.cfg.Namespace, writes)
	cancel()
	if ctx.Err() == nil { // a caller that left says nothing about the source
		m.source.observeWrite(err)
	}
	if err == nil && !m.marks.answered(stamp.Epoch) {
		err = &tiers.WriteError{Outcome: tiers.Unknown, Err: errOlder} // committed, where nobody may ever read it
	}
	if err != nil {
		m.stats.writesFailed.Add(1)
		m.afterFailure(cs, err)
		return Receipt{}, writeError(err)
	}
	m.stats.writes.Add(1)
	return Receipt{Stamp: stamp, Cached: m.committed(ctx, cs, stamp, asked)}, nil
}

// committed publishes what was written, and offers it to the cache.
func (m *Manager) committed(ctx context.Context, cs []change, stamp tiers.Stamp, asked int64) (cached bool) {
	fills := make([]filling, len(cs))
	for i, c := range cs {
		point.At(point.WriteCommit, m, c.k.full)
		rec := tiers.Record{Name: c.k.full, Kind: tiers.Value, Stamp: stamp, Data: c.Data}
		if c.Delete {
			rec.Kind, rec.Data = tiers.Absent, nil
		}
		// No answer asked for before the commit is fresh; nor is this one, if a
		// push came meanwhile: it may be of a later write.
		c.k.moved.Add(1)
		overtaken := c.k.token() != c.token+1
		if !overtaken {
			c.token++
		}
		c.k.install(&answer{rec: rec, value: c.value, origin: Write, token: c.token, asked: asked})
		if overtaken { // what that push reloaded may have landed before
			m.refresher.push(c.k)
		}
		fills[i] = filling{k: c.k, rec: rec, asked: asked}
	}
	point.At(point.WriteFill, m, cs[0].k.full)
	return m.offer(context.WithoutCancel(ctx), fills)
}

// afterFailure sees to it that keys are read again from the source if that may
// hold what is not known here: after a write of unknown outcome, of which
// nothing is published (I15), and after a conflict.
func (m *Manager) afterFailure(cs []change, err error) {
	unknown := tiers.OutcomeOf(err) == tiers.Unknown
	if !unknown && !errors.Is(err, tiers.ErrConflict) {
		return
	}
	for _, c := range cs {
		if unknown || c.If != nil {
			c.k.doubt(unknown)
		}
	}
}

// offer gives the cache committed records, and reports whether it took them all.
func (m *Manager) offer(ctx context.Context, fills []filling) bool {
	if m.cfg.Cache == nil || m.fill(ctx, fills) {
		return true
	}
	if m.marks.use() == nil {
		return false // and nobody here reads it
	}
	for _, f := range fills {
		f.k.dirtied.Add(1)
		m.repairer.add(f.k, false)
	}
	return false
}

// doubt makes the key not fresh until the source was read again. late: what the
// source holds may still change, by a write that is under way.
func (k *key) doubt(late bool) {
	k.dirtied.Add(1)
	k.moved.Add(1)
	k.m.repairer.add(k, late)
}
