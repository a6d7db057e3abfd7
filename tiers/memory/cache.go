package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A Cache is a tiers.Cache in memory. It keeps, per name, the record with the
// newest stamp. It does not track who loaded what: each watcher of a namespace
// hears each change in it. So several managers may share one Cache, as several
// processes share a server.
type Cache struct {
	mu     sync.Mutex
	spaces map[string]*cacheSpace // guarded by mu
	stores uint64                 // guarded by mu; fills that were stored, ever
	hub    hub                    // guarded by mu
}

// cacheSpace is one namespace of a Cache.
type cacheSpace struct {
	entries map[string]entry
	leases  map[string]time.Time // until when
	mark    tiers.Mark           // zero: none
	blot    []byte               // if not nil: bytes found in place of the mark, see CorruptMark
}

type entry struct {
	record  tiers.Record // its Raw is a text that no other entry ever had, or see Corrupt
	until   time.Time    // zero: without end
	damaged bool
}

var _ tiers.Marker = (*Cache)(nil)

// NewCache returns an empty cache.
func NewCache() *Cache {
	c := &Cache{spaces: map[string]*cacheSpace{}}
	c.hub = newHub(&c.mu)
	return c
}

// Load is tiers.Cache's. An invalid name is an error for that name alone.
func (c *Cache) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	asOf := time.Now()
	if err := refuses(ctx, namespace); err != nil {
		return failAll(names, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaceLocked(namespace)
	rs := make([]tiers.Result, len(names))
	for i, name := range names {
		rs[i].Name = name
		if rs[i].Err = tiers.CheckName(name); rs[i].Err != nil {
			continue
		}
		e, ok := sp.entryLocked(name)
		switch {
		case !ok:
			rs[i].Err = tiers.ErrMiss
		case e.damaged:
			rs[i].Err = &tiers.CorruptError{Raw: e.record.Raw, Reason: "damaged on purpose"}
		default:
			rs[i].Record = e.record
			rs[i].AsOf = asOf
		}
	}
	return rs
}

// Fill is tiers.Cache's.
func (c *Cache) Fill(ctx context.Context, namespace string, fills []tiers.Fill) []tiers.FillResult {
	rs := make([]tiers.FillResult, len(fills))
	if err := refuses(ctx, namespace); err != nil {
		for i := range rs {
			rs[i].Err = err
		}
		return rs
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaceLocked(namespace)
	for i, f := range fills {
		if err := checkFill(f); err != nil {
			rs[i].Err = fmt.Errorf("fill %q: %w", f.Name, err)
			continue
		}
		old, ok := sp.entryLocked(f.Name)
		if ok && !replaces(old, f) {
			rs[i].Ahead = old.record.Stamp.Newer(f.Stamp) || contradicts(old.record, f.Record)
			continue
		}
		c.stores++
		e := entry{record: f.Record}
		e.record.Data = slices.Clone(f.Data)
		e.record.Raw = fmt.Appendf(nil, "entry %d", c.stores)
		if f.TTL > 0 {
			e.until = time.Now().Add(f.TTL)
		}
		sp.entries[f.Name] = e
		rs[i].Stored = true
		c.hub.changedLocked(namespace, f.Name)
	}
	return rs
}

// replaces reports whether f takes the place of old.
func replaces(old entry, f tiers.Fill) bool {
	switch {
	case f.Replace != nil && bytes.Equal(old.record.Raw, f.Replace):
		return true
	case f.NoRow && old.record.Kind == tiers.Absent && old.record.Stamp.Epoch == f.Stamp.Epoch:
		return false
	}
	return f.Stamp.Newer(old.record.Stamp)
}

// contradicts reports whether a and b say different things with one stamp.
func contradicts(a, b tiers.Record) bool {
	return a.Stamp == b.Stamp && (a.Kind != b.Kind || !bytes.Equal(a.Data, b.Data))
}

func checkFill(f tiers.Fill) error {
	if err := tiers.CheckName(f.Name); err != nil {
		return err
	}
	switch {
	case f.Kind != tiers.Value && f.Kind != tiers.Absent:
		return fmt.Errorf("record is neither value nor absent")
	case f.Oversize > 0:
		return fmt.Errorf("record is not whole")
	case len(f.Data) > tiers.MaxData:
		return fmt.Errorf("data has %d bytes, the limit is %d", len(f.Data), tiers.MaxData)
	}
	return nil
}

// Lease is tiers.Cache's. An invalid name is an error for all.
func (c *Cache) Lease(ctx context.Context, namespace string, names []string, d time.Duration) ([]bool, error) {
	if err := refuses(ctx, namespace); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	for _, name := range names {
		if err := tiers.CheckName(name); err != nil {
			return nil, fmt.Errorf("lease %q: %w", name, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaceLocked(namespace)
	now := time.Now()
	held := make([]bool, len(names))
	for i, name := range names {
		if !now.Before(sp.leases[name]) {
			sp.leases[name] = now.Add(d)
			held[i] = true
		}
	}
	return held, nil
}

// Watch is tiers.Cache's.
func (c *Cache) Watch(ctx context.Context, namespace string, sink func(tiers.Event)) error {
	return c.hub.watch(ctx, namespace, sink)
}

// Mark is tiers.Marker's.
func (c *Cache) Mark(ctx context.Context, namespace string) (tiers.Mark, error) {
	if err := refuses(ctx, namespace); err != nil {
		return tiers.Mark{}, fmt.Errorf("mark: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaceLocked(namespace)
	switch {
	case sp.blot != nil:
		return tiers.Mark{}, &tiers.CorruptError{Raw: sp.blot, Reason: "damaged on purpose"}
	case sp.mark == tiers.Mark{}:
		return tiers.Mark{}, tiers.ErrMiss
	}
	return sp.mark, nil
}

// PutMark is tiers.Marker's. A zero next is refused: it stands for no mark.
func (c *Cache) PutMark(ctx context.Context, namespace string, old, next tiers.Mark) (stored bool, err error) {
	if err := refuses(ctx, namespace); err != nil {
		return false, fmt.Errorf("put mark: %w", err)
	}
	if next == (tiers.Mark{}) {
		return false, fmt.Errorf("put mark: the zero mark stands for none")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaceLocked(namespace)
	if sp.mark != old {
		return false, nil
	}
	sp.mark, sp.blot = next, nil
	return true, nil
}

// Flush loses everything, leases and marks too, as a server that restarts empty.
// Watchers hear Lost, then Alive.
func (c *Cache) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.spaces)
	c.hub.lostLocked()
}

// Corrupt damages the entry of name, if there is one: Load finds raw, which
// must not be empty, in its place. The entry keeps its stamp, so that a newer
// record replaces it, and one that names raw in Fill.Replace.
func (c *Cache) Corrupt(namespace, name string, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaceLocked(namespace)
	if e, ok := sp.entryLocked(name); ok {
		e.record.Raw, e.damaged = slices.Clone(raw), true
		sp.entries[name] = e
		c.hub.changedLocked(namespace, name)
	}
}

// CorruptMark damages the mark of a namespace, if there is one: Mark finds raw,
// which must not be empty, in its place, and PutMark takes it for no mark.
func (c *Cache) CorruptMark(namespace string, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sp := c.spaceLocked(namespace)
	if sp.mark != (tiers.Mark{}) || sp.blot != nil {
		sp.mark, sp.blot = tiers.Mark{}, slices.Clone(raw)
	}
}

func (c *Cache) spaceLocked(namespace string) *cacheSpace {
	sp := c.spaces[namespace]
	if sp == nil {
		sp = &cacheSpace{entries: map[string]entry{}, leases: map[string]time.Time{}}
		c.spaces[namespace] = sp
	}
	return sp
}

// entryLocked returns what is kept of name and has not expired.
func (sp *cacheSpace) entryLocked(name string) (entry, bool) {
	e, ok := sp.entries[name]
	if ok && !e.until.IsZero() && !time.Now().Before(e.until) {
		delete(sp.entries, name)
		return entry{}, false
	}
	return e, ok
}
