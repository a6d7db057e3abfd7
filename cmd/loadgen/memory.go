package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// The memory backend: one source and one cache in this process, behind wrappers
// that all managers share, so that a fault meets everyone as a dead server does.
// A fault has bitten when calls have met it.
type memoryStores struct {
	bareCache  *memory.Cache
	bareSource *memory.Source
	cache      *faults.Cache
	source     *faults.Source
}

func openMemory() *memoryStores {
	s := &memoryStores{bareCache: memory.NewCache(), bareSource: memory.NewSource()}
	s.cache, s.source = faults.NewCache(s.bareCache), faults.NewSource(s.bareSource)
	return s
}

func (s *memoryStores) process(int) (tiers.Cache, tiers.Source, func(), error) {
	return s.cache, s.source, func() {}, nil
}

func (s *memoryStores) truth() tiers.Source   { return s.bareSource }
func (s *memoryStores) shared() tiers.Cache   { return s.bareCache }
func (s *memoryStores) settle() time.Duration { return 0 } // a wrapper applies a write at once or never
func (s *memoryStores) close() error          { return nil }

// tooLate is a long time: a call waits for nothing but its goroutine.
func (s *memoryStores) tooLate() time.Duration { return time.Second }

func (s *memoryStores) times() (ttl, grace time.Duration) {
	return time.Second, 1500 * time.Millisecond
}

var errInjected = fmt.Errorf("%w: injected: refused", tiers.ErrUnavailable)

var (
	cacheOps  = []faults.Op{faults.Load, faults.Fill, faults.Lease, faults.Watch}
	sourceOps = []faults.Op{faults.Identity, faults.Load, faults.Write, faults.Scan, faults.Changes, faults.Watch}
)

const (
	slowCall = 20 * time.Millisecond  // within every timeout
	lateCall = 200 * time.Millisecond // beyond the cache's, and nearly the source's
)

func (s *memoryStores) faults(r *run) []fault {
	refuse, hang := faults.Fault{Err: errInjected}, faults.Fault{Hang: true}
	cacheOut, sourceOut := effects{cacheOut: true}, effects{sourceOut: true}
	cacheRefuses, sourceRefuses := s.onCache("cache refuses", cacheOut, refuse, s.cache.Cut), s.onSource("source refuses", sourceOut, refuse, sourceOps)
	late := faults.Fault{Delay: lateCall}
	return []fault{
		bothOut("both refuse beyond grace", cacheRefuses, sourceRefuses),
		cacheRefuses,
		s.onCache("cache hangs", cacheOut, hang, s.cache.Freeze),
		s.onCache("cache slow", effects{}, faults.Fault{Delay: slowCall}, nil),
		s.flush(r),
		s.onWatch("pushes cut", s.cache.Cut, s.cache.Reconnect),
		atLeast(noticed, s.onWatch("pushes silent", s.cache.Freeze, s.cache.Reconnect)),
		// A channel that lied cannot heal by itself before the TTL: it breaks in the end.
		s.onWatch("pushes dropped", func() { s.cache.DropEvents(true) }, func() {
			s.cache.DropEvents(false)
			s.cache.Cut()
			s.cache.Reconnect()
		}),
		s.onCache("cache too slow", effects{cacheOut: true, partly: true}, late, nil),
		sourceRefuses,
		s.onSource("source too slow", effects{sourceOut: true, partly: true}, late, sourceOps),
		s.onSource("source hangs", sourceOut, hang, sourceOps),
		s.onSource("answers to writes lost", effects{}, faults.Fault{Lost: true}, []faults.Op{faults.Write}),
	}
}

// noticed is longer than it takes until a silent channel counts as lost.
const noticed = 2500 * time.Millisecond

func atLeast(d time.Duration, f fault) fault {
	f.least = d
	return f
}

// onCache breaks the calls of the cache; link, if not nil, its pushes.
func (s *memoryStores) onCache(name string, e effects, f faults.Fault, link func()) fault {
	ops := cacheOps
	if link == nil {
		ops = []faults.Op{faults.Load, faults.Fill}
	}
	before := int64(0)
	return fault{name: name, effects: e, uses: []resource{cacheServer},
		strike: func(context.Context) error {
			before = bites(s.cache.Bites, ops)
			for _, op := range ops {
				if op != faults.Watch { // what watches fares as link says
					s.cache.Inject(op, f)
				}
			}
			if link != nil {
				link()
			}
			return nil
		},
		mend:   func(context.Context) error { s.cache.Heal(); s.cache.Reconnect(); return nil },
		bitten: func(context.Context) bool { return bites(s.cache.Bites, ops) > before },
	}
}

func (s *memoryStores) onSource(name string, e effects, f faults.Fault, ops []faults.Op) fault {
	before := int64(0)
	return fault{name: name, effects: e, uses: []resource{sourceServer},
		strike: func(context.Context) error {
			before = bites(s.source.Bites, ops)
			for _, op := range ops {
				s.source.Inject(op, f)
			}
			return nil
		},
		mend:   func(context.Context) error { s.source.Heal(); return nil },
		bitten: func(context.Context) bool { return bites(s.source.Bites, ops) > before },
	}
}

func (s *memoryStores) onWatch(name string, strike, mend func()) fault {
	before := int64(0)
	return fault{name: name, uses: []resource{cacheServer},
		strike: func(context.Context) error { before = s.cache.Bites(faults.Watch); strike(); return nil },
		mend:   func(context.Context) error { mend(); return nil },
		bitten: func(context.Context) bool { return s.cache.Bites(faults.Watch) > before },
	}
}

// flush empties the cache. It has bitten when every process was told so.
func (s *memoryStores) flush(r *run) fault {
	var before []uint64
	return fault{name: "cache flushed", effects: effects{cacheLoss: true}, alone: true,
		strike: func(context.Context) error {
			before = r.pushesLost()
			s.bareCache.Flush()
			return nil
		},
		mend:   func(context.Context) error { return nil },
		bitten: func(context.Context) bool { return allRose(before, r.pushesLost()) },
	}
}

func bites(count func(faults.Op) int64, ops []faults.Op) (sum int64) {
	for _, op := range ops {
		sum += count(op)
	}
	return sum
}
