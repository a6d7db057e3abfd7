package fastopt_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// Members while everything goes on at once: readers, writers, watchers, another
// process, tiers that fail, pushes that are lost, and no room. No read is older
// than what was written here before it (I4); and in the end all is fresh and true,
// follows pushes (I5), and no working key is left.
func TestMembersWhateverHappens(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) { memberStorm(t, w, seed) })
		})
	}
}

func memberStorm(t *testing.T, w *world, seed uint64) {
	room := []int{1, 4, 1000}[seed%3]
	cfg := w.config()
	cfg.Jitter = nil
	var mine, theirs fastopt.Registry
	spec := fastopt.FamilySpec[int]{Prefix: "f", Default: -1, TTL: 2 * time.Second, Grace: 3 * time.Second, MaxEntries: room, MaxAbsent: room}
	limit := fastopt.DeclareFamily(&mine, spec)
	other := fastopt.DeclareFamily(&theirs, spec)
	m := w.open(cfg, &mine)
	w.open(cfg, &theirs)
	s := storm{w: w, limit: limit, other: other, m: m, end: time.Now().Add(30 * time.Second), floors: map[string]fastopt.Stamp{}}
	var wg sync.WaitGroup
	for i := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, i))
		wg.Go(func() {
			for time.Now().Before(s.end) {
				if i == 0 {
					s.trouble(rng)
				} else {
					s.work(t, rng)
				}
			}
		})
	}
	wg.Wait()
	w.heal()
	w.cache.Reconnect()
	time.Sleep(3 * time.Minute)
	if s := m.Stats(); s.Dirty != 0 || s.Families[0].Working != 0 || s.Conflicts != 0 {
		t.Errorf("%d dirty, %d conflicts, %+v", s.Dirty, s.Conflicts, s.Families[0])
	}
	for i := range stormKeys {
		key := fmt.Sprint(i)
		truth := -1
		fmt.Sscan(w.row("f/"+key), &truth)
		if r := limit.Load(ctx, key); r.Value != truth || r.State != fastopt.Fresh || r.Err != nil || limit.Get(key) != truth {
			t.Errorf("%s: %+v, and reads %d: want %d", key, r, limit.Get(key), truth)
		}
		settle()
		setMember(t, other, key, i)
		settle()
		if r := limit.Load(ctx, key); r.Value != i || r.State != fastopt.Fresh {
			t.Errorf("%s: %+v after the push of %d", key, r, i)
		}
		settle()
	}
	setMember(t, limit, "one more", 1) // each makes room for itself
	limit.Load(ctx, "nobody's")
	settle()
	if s := m.Stats().Families[0]; s.Working != 0 || s.Entries > room || s.Absent > room {
		t.Errorf("%+v", s)
	}
}

const stormKeys = 8

type storm struct {
	w            *world
	limit, other *fastopt.Family[int]
	m            *fastopt.Manager
	end          time.Time

	mu     sync.Mutex
	floors map[string]fastopt.Stamp // guarded by mu: of what was written here
}

// trouble makes one fault for a while.
func (s *storm) trouble(rng *rand.Rand) {
	switch rng.IntN(9) {
	case 0:
		s.w.cacheGetFails()
	case 1:
		s.w.cacheSetFails()
	case 2:
		s.w.sourceFails()
	case 3:
		s.w.allFail()
	case 4:
		s.w.cache.Inject(faults.Load, faults.Fault{Delay: time.Duration(rng.IntN(80)) * ms})
	case 5:
		s.w.source.Inject(faults.Load, faults.Fault{Delay: time.Duration(rng.IntN(400)) * ms})
	case 6:
		s.w.source.Inject(faults.Write, faults.Fault{Lost: true})
	case 7:
		s.w.cache.Cut()
	}
	time.Sleep(time.Duration(rng.IntN(1500)) * ms)
	s.w.heal()
	s.w.cache.Reconnect()
	time.Sleep(time.Duration(rng.IntN(500)) * ms)
}

// work does one thing with some member.
func (s *storm) work(t *testing.T, rng *rand.Rand) {
	key := fmt.Sprint(rng.IntN(stormKeys))
	s.mu.Lock()
	floor := s.floors[key]
	s.mu.Unlock()
	check := func(r fastopt.Reading[int]) {
		if r.State == fastopt.Fresh && floor.Newer(r.Stamp) {
			t.Errorf("%s: %+v, though %v was written", key, r, floor)
		}
	}
	written := func(rc fastopt.Receipt, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil && rc.Stamp.Newer(s.floors[key]) {
			s.floors[key] = rc.Stamp
		}
	}
	switch rng.IntN(12) {
	case 0:
		written(s.limit.Set(ctx, key, rng.IntN(1000)))
	case 1:
		written(s.limit.Delete(ctx, key))
	case 2:
		written(s.m.SetAll(ctx, map[string]any{"f/" + key: rng.IntN(1000)}))
	case 3:
		s.other.Set(ctx, key, rng.IntN(1000))
	case 4:
		s.other.Delete(ctx, key)
	case 5:
		check(s.limit.Load(ctx, key))
	case 6:
		rs, _ := s.limit.LoadMany(ctx, key, "0", "1", "2")
		check(rs[key])
	case 7:
		c, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(3000))*ms)
		for r := range s.limit.Watch(c, key) {
			check(r)
		}
		cancel()
	case 8:
		check(s.limit.Inspect(key))
	default:
		for range 20 {
			s.limit.Get(key)
			time.Sleep(time.Duration(rng.IntN(5)) * ms)
		}
	}
	time.Sleep(time.Duration(rng.IntN(20)) * ms)
}
