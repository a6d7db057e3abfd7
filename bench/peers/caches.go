// Caches in memory: bounded, with expiry. Each is set up as its documentation
// has it, with room for all keys, so that every read of a table is a hit.

package peers

import (
	"context"
	"fmt"
	"time"

	"github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/maypok86/otter/v2"
	"github.com/viccon/sturdyc"
)

// viaOtter is otter.
type viaOtter struct {
	*truth
	c     *otter.Cache[string, int]
	clock *otter.CoarseClock // nil: the exact one
}

func openOtter(_ context.Context, size int) (Store, error) { return newOtter(size, nil) }

func openOtterCoarse(_ context.Context, size int) (Store, error) {
	return newOtter(size, otter.NewCoarseClock(time.Millisecond))
}

func newOtter(size int, clock *otter.CoarseClock) (Store, error) {
	o := otter.Options[string, int]{MaximumSize: room(size), ExpiryCalculator: otter.ExpiryWriting[string, int](ttl)}
	if clock != nil {
		o.Clock = clock
	}
	c, err := otter.New(&o)
	if err != nil {
		return nil, err
	}
	s := &viaOtter{truth: newTruth(size), c: c, clock: clock}
	return s, fill(s, s.values)
}

func (s *viaOtter) get(key string) int {
	v, ok := s.c.GetIfPresent(key)
	if !ok {
		return s.miss(key)
	}
	return v
}

func (s *viaOtter) miss(key string) int {
	v := s.load(key)
	s.c.Set(key, v)
	return v
}

func (s *viaOtter) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaOtter) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

func (s *viaOtter) Set(_ int, key string, value int) error { s.c.Set(key, value); return nil }
func (s *viaOtter) Invalidate(_ int, key string) error     { s.c.Invalidate(key); return nil }

func (s *viaOtter) Close() error {
	s.c.StopAllGoroutines()
	if s.clock != nil {
		s.clock.Stop()
	}
	return nil
}

// viaRistretto is ristretto, each entry at a cost of one.
type viaRistretto struct {
	*truth
	c *ristretto.Cache[string, int]
}

func openRistretto(_ context.Context, size int) (Store, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, int]{
		NumCounters: 10 * int64(size), MaxCost: int64(room(size)), BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	s := &viaRistretto{truth: newTruth(size), c: c}
	for i, v := range s.values {
		if !c.SetWithTTL(Key(i), v, 1, ttl) {
			return nil, fmt.Errorf("ristretto dropped key %d", i)
		}
		if i%1000 == 0 {
			c.Wait() // or its buffer overflows
		}
	}
	c.Wait()
	return s, nil
}

func (s *viaRistretto) get(key string) int {
	v, ok := s.c.Get(key)
	if !ok {
		return s.miss(key)
	}
	return v
}

func (s *viaRistretto) miss(key string) int {
	v := s.load(key)
	s.c.SetWithTTL(key, v, 1, ttl)
	return v
}

func (s *viaRistretto) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaRistretto) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

// Set does not wait for its buffer: that of a key that is there can be read at once.
func (s *viaRistretto) Set(_ int, key string, value int) error {
	s.c.SetWithTTL(key, value, 1, ttl)
	return nil
}

func (s *viaRistretto) Invalidate(_ int, key string) error { s.c.Del(key); return nil }
func (s *viaRistretto) Close() error                       { s.c.Close(); return nil }

// viaTheine is theine.
type viaTheine struct {
	*truth
	c *theine.Cache[string, int]
}

func openTheine(_ context.Context, size int) (Store, error) {
	c, err := theine.NewBuilder[string, int](int64(room(size))).Build()
	if err != nil {
		return nil, err
	}
	s := &viaTheine{truth: newTruth(size), c: c}
	err = fill(s, s.values)
	c.Wait()
	return s, err
}

func (s *viaTheine) get(key string) int {
	v, ok := s.c.Get(key)
	if !ok {
		return s.miss(key)
	}
	return v
}

func (s *viaTheine) miss(key string) int {
	v := s.load(key)
	s.c.SetWithTTL(key, v, 1, ttl)
	return v
}

func (s *viaTheine) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaTheine) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

func (s *viaTheine) Set(_ int, key string, value int) error {
	s.c.SetWithTTL(key, value, 1, ttl)
	return nil
}

func (s *viaTheine) Invalidate(_ int, key string) error { s.c.Delete(key); return nil }
func (s *viaTheine) Close() error                       { s.c.Close(); return nil }

// viaSturdyc is sturdyc, read as it is meant to be: by GetOrFetch. It has no
// way to end its goroutine, so what it holds stays until the process ends.
type viaSturdyc struct {
	*truth
	c *sturdyc.Client[int]
}

const sturdycShards = 64

func openSturdyc(_ context.Context, size int) (Store, error) {
	c := sturdyc.New[int](max(2*room(size), 100*sturdycShards), sturdycShards, ttl, 10)
	s := &viaSturdyc{truth: newTruth(size), c: c}
	return s, fill(s, s.values)
}

func (s *viaSturdyc) get(key string) int {
	v, err := s.c.GetOrFetch(context.Background(), key, func(context.Context) (int, error) { return s.load(key), nil })
	if err != nil {
		panic(err) // the truth never fails
	}
	return v
}

func (s *viaSturdyc) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaSturdyc) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

func (s *viaSturdyc) Set(_ int, key string, value int) error { s.c.Set(key, value); return nil }
func (s *viaSturdyc) Invalidate(_ int, key string) error     { s.c.Delete(key); return nil }
func (s *viaSturdyc) Close() error                           { return nil }

// viaLRU is golang-lru's expirable. It has no way to end its goroutine, so what
// it holds stays until the process ends, unless it is purged.
type viaLRU struct {
	*truth
	c *expirable.LRU[string, int]
}

func openLRU(_ context.Context, size int) (Store, error) {
	s := &viaLRU{truth: newTruth(size), c: expirable.NewLRU[string, int](room(size), nil, ttl)}
	return s, fill(s, s.values)
}

func (s *viaLRU) get(key string) int {
	v, ok := s.c.Get(key)
	if !ok {
		return s.miss(key)
	}
	return v
}

func (s *viaLRU) miss(key string) int {
	v := s.load(key)
	s.c.Add(key, v)
	return v
}

func (s *viaLRU) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaLRU) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

func (s *viaLRU) Set(_ int, key string, value int) error { s.c.Add(key, value); return nil }
func (s *viaLRU) Invalidate(_ int, key string) error     { s.c.Remove(key); return nil }
func (s *viaLRU) Close() error                           { s.c.Purge(); return nil }
