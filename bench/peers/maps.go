// Concurrent maps: no bound, no expiry, nothing but a lookup.

package peers

import (
	"context"
	"sync"

	xsync3 "github.com/puzpuzpuz/xsync/v3"
	xsync4 "github.com/puzpuzpuz/xsync/v4"
)

// locked is a plain map behind a lock.
type locked struct {
	*truth
	mu sync.RWMutex
	m  map[string]int // guarded by mu
}

func openLocked(_ context.Context, size int) (Store, error) {
	s := &locked{truth: newTruth(size), m: make(map[string]int, size)}
	return s, fill(s, s.values)
}

// fill sets all keys of a store.
func fill(s Store, values []int) error {
	for i, v := range values {
		if err := s.Set(i, Key(i), v); err != nil {
			return err
		}
	}
	return nil
}

func (s *locked) get(key string) int {
	s.mu.RLock()
	v, ok := s.m[key]
	s.mu.RUnlock()
	if !ok {
		return s.miss(key)
	}
	return v
}

func (s *locked) miss(key string) int {
	v := s.load(key)
	s.mu.Lock()
	s.m[key] = v
	s.mu.Unlock()
	return v
}

func (s *locked) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *locked) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

func (s *locked) Set(_ int, key string, value int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[key] = value
	return nil
}

func (s *locked) Invalidate(_ int, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
	return nil
}

func (s *locked) Close() error { return nil }

// viaSync is sync.Map.
type viaSync struct {
	*truth
	m sync.Map // of string: *entry
}

func openSync(_ context.Context, size int) (Store, error) {
	s := &viaSync{truth: newTruth(size)}
	return s, fill(s, s.values)
}

func (s *viaSync) get(key string) int {
	v, ok := s.m.Load(key)
	if !ok {
		return s.miss(key)
	}
	return v.(*entry).value
}

func (s *viaSync) miss(key string) int {
	e := &entry{value: s.load(key)}
	s.m.Store(key, e)
	return e.value
}

func (s *viaSync) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaSync) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

func (s *viaSync) Set(_ int, key string, value int) error {
	s.m.Store(key, &entry{value: value})
	return nil
}

func (s *viaSync) Invalidate(_ int, key string) error { s.m.Delete(key); return nil }
func (s *viaSync) Close() error                       { return nil }

// A loadMap is what both versions of xsync offer.
type loadMap interface {
	Load(key string) (*entry, bool)
	Store(key string, e *entry)
	Delete(key string)
}

// viaXsync3 is xsync's map of pointers, against which all that are read by key
// are measured.
type viaXsync3 struct {
	xsyncBase
	m *xsync3.MapOf[string, *entry]
}

func openXsync3(_ context.Context, size int) (Store, error) {
	m := xsync3.NewMapOf[string, *entry]()
	s := &viaXsync3{xsyncBase{newTruth(size), m}, m}
	return s, fill(s, s.values)
}

func (s *viaXsync3) get(key string) int {
	e, ok := s.m.Load(key)
	if !ok {
		return s.miss(key)
	}
	return e.value
}

func (s *viaXsync3) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaXsync3) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

// viaXsync4 is the same of the next major version.
type viaXsync4 struct {
	xsyncBase
	m *xsync4.Map[string, *entry]
}

func openXsync4(_ context.Context, size int) (Store, error) {
	m := xsync4.NewMap[string, *entry]()
	s := &viaXsync4{xsyncBase{newTruth(size), m}, m}
	return s, fill(s, s.values)
}

func (s *viaXsync4) get(key string) int {
	e, ok := s.m.Load(key)
	if !ok {
		return s.miss(key)
	}
	return e.value
}

func (s *viaXsync4) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaXsync4) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

// xsyncBase is what both do beside reading.
type xsyncBase struct {
	*truth
	all loadMap
}

func (s *xsyncBase) miss(key string) int {
	e := &entry{value: s.load(key)}
	s.all.Store(key, e)
	return e.value
}

func (s *xsyncBase) Set(_ int, key string, value int) error {
	s.all.Store(key, &entry{value: value})
	return nil
}

func (s *xsyncBase) Invalidate(_ int, key string) error { s.all.Delete(key); return nil }
func (s *xsyncBase) Close() error                       { return nil }
