package fastopt

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Writing: the source first; then this process, so that it reads its own write
// whatever becomes of the cache; then the cache, which tells everyone. Nothing
// is published before the commit is known.

// A WriteOption says more about a write. Of several the last counts.
type WriteOption struct{ actor, reason string }

// By records who writes and why, in the history of the option. Both are valid
// UTF-8 without NUL, at most 1,000 bytes, and may be empty; else the write is
// ErrInvalidValue. Neither may hold a secret.
func By(actor, reason string) WriteOption { return WriteOption{actor, reason} }

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
	data, err := k.codec.encode(v)
	if err != nil {
		return Receipt{}, err
	}
	if limit := k.m.cfg.MaxValue; len(data) > limit {
		return Receipt{}, because(ErrTooLarge, "it has %d bytes encoded, the limit is %d", len(data), limit)
	}
	// What readers will decode, not what the caller holds and may still change.
	value, err := k.decode(data)
	if err != nil {
		return Receipt{}, err
	}
	return k.write(ctx, tiers.Write{Name: k.full, Data: data}, value, opts)
}

func (k *key) delete(ctx context.Context, opts []WriteOption) (Receipt, error) {
	return k.write(ctx, tiers.Write{Name: k.full, Delete: true}, nil, opts)
}

func (k *key) write(ctx context.Context, w tiers.Write, value any, opts []WriteOption) (Receipt, error) {
	m := k.m
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
	for _, o := range opts {
		if err := o.check(); err != nil {
			return Receipt{}, err
		}
		w.Actor, w.Reason = o.actor, o.reason
	}
	wctx, cancel := context.WithTimeout(ctx, m.cfg.WriteTimeout)
	asked, token := m.now(), k.token()
	stamp, err := m.cfg.Source.Write(wctx, m.cfg.Namespace, []tiers.Write{w})
	cancel()
	if ctx.Err() == nil { // a caller that left says nothing about the source
		m.source.observeWrite(err)
	}
	if err != nil {
		m.stats.writesFailed.Add(1)
		if tiers.OutcomeOf(err) == tiers.Unknown {
			k.doubt()
		}
		return Receipt{}, writeError(err)
	}
	m.stats.writes.Add(1)
	point.At(point.WriteCommit, m, k.full)
	rec := tiers.Record{Name: k.full, Kind: tiers.Value, Stamp: stamp, Data: w.Data}
	if w.Delete {
		rec.Kind, rec.Data = tiers.Absent, nil
	}
	// No answer asked for before the commit is fresh; nor is this one, if a
	// push came meanwhile: it may be of a later write.
	k.moved.Add(1)
	if k.token() == token+1 {
		token++
	}
	k.install(&answer{rec: rec, value: value, origin: Write, token: token, asked: asked})
	point.At(point.WriteFill, m, k.full)
	return Receipt{Stamp: stamp, Cached: k.offer(context.WithoutCancel(ctx), rec)}, nil
}

// offer gives the cache a committed record, and reports whether it took it.
func (k *key) offer(ctx context.Context, rec tiers.Record) bool {
	if k.m.cfg.Cache == nil {
		return true
	}
	if k.m.fill(ctx, []filling{{k: k, rec: rec}}) {
		return true
	}
	k.dirtied.Add(1)
	k.m.repairer.add(k, false)
	return false
}

// doubt is what remains of a write whose outcome is unknown: nothing is
// published, but the key is not fresh until the source was read again (I15).
func (k *key) doubt() {
	k.dirtied.Add(1)
	k.moved.Add(1)
	k.m.repairer.add(k, true)
}

// A filling is a record to be offered to the cache for a key.
type filling struct {
	k       *key
	rec     tiers.Record
	replace []byte
	dirty   uint64 // what of k is repaired once the cache has the record; 0: nothing
}

// absentTTL bounds how long the cache keeps what bounds only its memory: that a
// name is absent, and members of families. Values of options do not expire.
const absentTTL = 24 * time.Hour

// keptFor is how long the cache is to keep rec, which may be of a family's member.
func (m *Manager) keptFor(rec tiers.Record, member bool) time.Duration {
	if rec.Kind == tiers.Absent || member {
		return absentTTL - time.Duration(m.jitter()*float64(absentTTL/10))
	}
	return 0
}

// fill offers records to the cache and reports whether all were taken, or were
// known already.
func (m *Manager) fill(ctx context.Context, list []filling) bool {
	if len(list) == 0 {
		return true
	}
	fills := make([]tiers.Fill, len(list))
	for i, f := range list {
		fills[i] = tiers.Fill{Record: f.rec, Replace: f.replace, TTL: m.keptFor(f.rec, f.k.fam != nil)}
	}
	point.At(point.FillSend, m, list[0].k.full)
	ctx, cancel := context.WithTimeout(ctx, m.cfg.CacheTimeout)
	results := m.cfg.Cache.Fill(ctx, m.cfg.Namespace, fills)
	cancel()
	var failure error
	for i, r := range results {
		if r.Err != nil {
			failure = r.Err
			m.stats.fillsFailed.Add(1)
			continue
		}
		if r.Stored {
			m.stats.fills.Add(1)
		}
		list[i].k.clean(list[i].dirty)
	}
	if failure != nil {
		m.cache.observe(failure)
	}
	return failure == nil
}
