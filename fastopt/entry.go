package fastopt

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// An entry is what a handle points to: a value, and the facts behind it. An
// entry is built, published by one swap of the handle's pointer, and then left
// alone; only meta.asked moves, by renewal (I17).
//
// The value stands first and the facts behind a pointer, so that a read touches
// one small object.
type entry[T any] struct {
	value T
	*meta
}

// meta is everything but the typed value. All decisions are made on metas, in
// code that knows no T; a cell ties the two together.
type meta struct {
	facts // immutable

	// asked is the instant before the request of the newest answer that
	// confirmed this entry was sent, in ns since the manager was opened; dead
	// once the entry may not be used again. It only rises, then dies.
	asked atomic.Int64

	shown *shown // immutable: to reads by name; nil of a member of a family, and before the first Open
}

// facts never change once their meta is published.
type facts struct {
	key    *key // that published it; nil before the first Open
	kind   kind
	origin Origin
	boxed  any         // value, boxed once
	stamp  tiers.Stamp // of the record that value came from; zero: none
	seen   tiers.Stamp // newest record believed, ≥ stamp; greater if that one is invalid
	sum    uint64      // of the data of the record with stamp seen
	got    int64       // ns since Open: the record with stamp seen had been read by then
	token  uint64      // of the key, taken before the request for this answer was sent
	err    error       // why the record with stamp seen is not used; nil if it is
	absent bool        // the record with stamp seen says that there is no value
	saved  bool        // of the snapshot: no tier has said so since Open
	data   []byte      // of the record that value came from, if it is to stand in the snapshot
	died   int64       // kindExpired: asked of the entry that expired
	under  *meta       // what the tiers say while an override is in force; else nil
}

// dead is the value of meta.asked that no renewal leaves: the expirer's claim.
const dead = math.MinInt64

// kind tells how an entry came to be.
type kind uint8

const (
	kindUnloaded kind = iota // default: nothing was read since Open
	kindValue                // value of a record, or the last good one before an invalid record
	kindAbsent               // default: the tiers say that there is no value
	kindExpired              // default: no tier answered for TTL + grace
	kindOverride             // value set by a test
)

// newMeta returns a meta that no reader knows yet.
func newMeta(f facts, asked int64) *meta {
	m := &meta{facts: f}
	if f.key != nil && f.key.slot != nil {
		m.shown = &shown{value: f.boxed, key: f.key, known: m.known()}
	}
	m.asked.Store(asked)
	return m
}

// A cell is a handle as seen by code that knows no T.
type cell interface {
	load() *meta
	// swap publishes new and the value boxed in it, if old is still current.
	swap(old, new *meta) bool
}

// tier returns what the tiers say: m itself, or what an override hides.
func (m *meta) tier() *meta {
	if m.under != nil {
		return m.under
	}
	return m
}

// renew raises asked, and reports false if the entry is dead: then only a new
// entry can bring its value back.
func (m *meta) renew(asked int64) bool {
	for {
		old := m.asked.Load()
		switch {
		case old == dead:
			return false
		case asked <= old:
			return true
		case m.asked.CompareAndSwap(old, asked):
			return true
		}
	}
}

// confirmed reports whether the newest answer for m was asked for less than a
// TTL ago and after token was current: whatever it said, to ask again could
// bring nothing new.
func (m *meta) confirmed(now int64, l lives, token uint64) bool {
	asked := m.asked.Load()
	return asked != dead && m.kind != kindExpired && m.token >= token && now < later(asked, l.ttl)
}

// lives are the times of one key, resolved at Open.
type lives struct {
	ttl    int64 // ns; fresh for so long after asked
	usable int64 // ns; TTL + grace; math.MaxInt64: for ever

	patience time.Duration // of a Load that has a stale value; 0: it does not wait
}

// state is the verdict on m at now, both in ns since Open: half-open intervals
// [asked, asked+ttl) fresh and [asked+ttl, asked+usable) stale. An entry is
// fresh only if its answer was asked for after token was current: after the
// last push, for who passes the key's token.
func (m *meta) state(now int64, l lives, token uint64) State {
	if m.kind == kindOverride {
		return Fresh
	}
	asked := m.asked.Load()
	switch {
	case m.kind == kindUnloaded && m.err == nil:
		return Unloaded
	case m.err != nil:
		return Stale // kept for as long as the row stays invalid (I11)
	case asked == dead, m.kind == kindExpired, now >= later(asked, l.usable):
		return Expired
	case m.confirmed(now, l, token):
		return Fresh
	}
	return Stale
}

// later is t + d, for ever if d is.
func later(t, d int64) int64 {
	if d == math.MaxInt64 || t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}
