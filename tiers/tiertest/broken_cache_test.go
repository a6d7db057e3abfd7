package tiertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Caches with one bug each.

var cacheBugs = []struct {
	name     string
	caughtBy string
	plant    func() tiers.Cache
}{
	{"fill is blind", "OnlyNewerWins", blindIf(func(old, f tiers.Record) bool { return true })},
	{"equal is a write", "NoWriteIsNoEvent", blindIf(func(old, f tiers.Record) bool { return f.Stamp == old.Stamp })},
	{"equal replaces", "OnlyNewerWins", blindIf(func(old, f tiers.Record) bool { return f.Stamp == old.Stamp })},
	{"no row counts as newer absence", "NoRowOverAbsentIsNoWrite", blindIf(func(old, f tiers.Record) bool {
		return f.NoRow && f.Stamp.Newer(old.Stamp)
	})},
	{"no row over no row announces", "NoWriteIsNoEvent", blindIf(func(old, f tiers.Record) bool {
		return f.NoRow && f.Stamp.Newer(old.Stamp)
	})},
	{"epoch is ignored", "EpochOutranksRevision", blindIf(func(old, f tiers.Record) bool {
		return f.Stamp.Revision > old.Stamp.Revision
	})},
	{"stamps are floats", "OnlyNewerWins", blindIf(func(old, f tiers.Record) bool {
		return float64(f.Stamp.Revision) >= float64(old.Stamp.Revision) && f.Stamp.Revision > 1<<52
	})},
	{"tombstones do not count", "AbsentIsAnAnswer", blindIf(func(old, f tiers.Record) bool { return old.Kind == tiers.Absent })},
	{"compare, then set", "ConcurrentFillsNeverGoBack", func() tiers.Cache { return compareThenSet{blind{memory.NewCache()}, make(chan decided)} }},
	{"stored is always said", "OnlyNewerWins", fillsWith(func(r *tiers.FillResult) { r.Stored = true })},
	{"ahead is never said", "AheadSaysThatTheHeldStampIsNewer", fillsWith(func(r *tiers.FillResult) { r.Ahead = false })},
	{"another value of the same stamp is not ahead", "AheadSaysThatTheHeldStampIsNewer", contradicted},
	{"refused is ahead", "AheadSaysThatTheHeldStampIsNewer", fillsWith(func(r *tiers.FillResult) { r.Ahead = !r.Stored })},
	{"raw is forgotten", "ReplaceOfTheBytesLoadedStoresWhatIsOlder", cacheLoads(func(r *tiers.Result) { r.Raw = nil })},
	{"raw is the value", "ReplaceOfTheBytesLoadedStoresWhatIsOlder", cacheLoads(func(r *tiers.Result) { r.Raw = r.Data })},
	{"absent is a miss", "AbsentIsAnAnswer", cacheLoads(func(r *tiers.Result) {
		if r.Kind == tiers.Absent {
			*r = tiers.Result{Record: tiers.Record{Name: r.Name}, Err: tiers.ErrMiss}
		}
	})},
	{"miss is absent", "NothingKnownIsAMiss", cacheLoads(func(r *tiers.Result) {
		if errors.Is(r.Err, tiers.ErrMiss) {
			*r = tiers.Result{Record: tiers.Record{Name: r.Name, Kind: tiers.Absent, AsOf: time.Now()}}
		}
	})},
	{"no row is a tombstone", "AbsentIsAnAnswer", cacheLoads(func(r *tiers.Result) { r.NoRow = false })},
	{"data are formatted anew", "DataAreKeptToTheByte", cacheLoads(func(r *tiers.Result) {
		var b bytes.Buffer
		if json.Compact(&b, r.Data) == nil {
			r.Data = b.Bytes()
		}
	})},
	{"one bad name fails all", "FillFailsPerName", func() tiers.Cache { return allOrNone{memory.NewCache()} }},
	{"answers in any order", "ManyAtOnceKeepOrder", func() tiers.Cache { return backwards{memory.NewCache()} }},
	{"joined keys collide", "KeysOfNamespacesAreApart", func() tiers.Cache { return joinsKeys{memory.NewCache()} }},
	{"hits go on for ever", "WhatIsFilledIsLoaded", func() tiers.Cache { return &neverInvalid{Cache: memory.NewCache(), seen: map[string]tiers.Result{}} }},
	{"TTL is ignored", "TTLEndsInAMiss", ttlBug(func(f *tiers.Fill) { f.TTL = 0 })},
	{"TTL is halved", "TTLEndsInAMiss", ttlBug(func(f *tiers.Fill) { f.TTL /= 2 })},
	{"loser's TTL holds", "TTLIsThatOfTheFillThatWon", func() tiers.Cache { return losersTTL{blind{memory.NewCache()}} }},
	{"everyone has the lease", "LeaseHasOneHolder", leases(func(held bool) bool { return true })},
	{"a lease never ends", "LeaseEnds", func() tiers.Cache { return foreverLease{memory.NewCache()} }},
	{"a miss is not tracked", "WatchHearsWhatWasMissed", func() tiers.Cache { return &forgetsMisses{Cache: memory.NewCache(), missed: map[string]bool{}} }},
	{"an event is told once", "WatchHearsWhatWasLoaded", func() tiers.Cache { return cacheWatchWith{memory.NewCache(), tellsOnce} }},
	{"alive overtakes", "CacheAliveComesAfterWhatItCovers", func() tiers.Cache { return cacheWatchWith{memory.NewCache(), overtakes} }},
	{"alive is said once", "CacheAliveIsHeardAgainAndAgain", func() tiers.Cache { return cacheWatchWith{memory.NewCache(), aliveOnce} }},
	{"a slow watcher blocks fills", "SlowCacheWatcherDelaysNobody", func() tiers.Cache { return &tellsInFill{Cache: memory.NewCache(), sinks: map[int]func(tiers.Event){}} }},
	{"watch outlives its context", "CacheWatchEndsWithItsContext", func() tiers.Cache { return outlives{memory.NewCache()} }},
	{"bytes are not compared", "ReplaceOfOtherBytesIsAPlainFill", func() tiers.Cache { return replacesAny{blind{memory.NewCache()}} }},
}

// blind can store what its memory would refuse: it damages the entry and
// names the damage.
type blind struct{ *memory.Cache }

func (c blind) force(ctx context.Context, ns string, f tiers.Fill) tiers.FillResult {
	f.Replace = []byte("in the way")
	c.Corrupt(ns, f.Name, f.Replace)
	return c.Cache.Fill(ctx, ns, []tiers.Fill{f})[0]
}

// blindFill forces the fills for which when holds, given the record they meet.
type blindFill struct {
	blind
	when func(old, f tiers.Record) bool
}

func blindIf(when func(old, f tiers.Record) bool) func() tiers.Cache {
	return func() tiers.Cache { return blindFill{blind{memory.NewCache()}, when} }
}

func (c blindFill) Fill(ctx context.Context, ns string, fills []tiers.Fill) (rs []tiers.FillResult) {
	for _, f := range fills {
		old := c.Load(ctx, ns, []string{f.Name})[0]
		if old.Err == nil && c.when(old.Record, f.Record) {
			rs = append(rs, c.force(ctx, ns, f))
			continue
		}
		rs = append(rs, c.Cache.Fill(ctx, ns, []tiers.Fill{f})...)
	}
	return rs
}

// compareThenSet compares and stores in two steps. Two fills that both found
// themselves newer meet in between; then the older one is stored last.
type compareThenSet struct {
	blind
	meet chan decided
}

type decided struct {
	fill   tiers.Fill
	stored chan tiers.FillResult
}

func (c compareThenSet) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	old := c.Load(ctx, ns, []string{fills[0].Name})[0]
	if old.Err == nil && !fills[0].Stamp.Newer(old.Stamp) {
		return make([]tiers.FillResult, 1)
	}
	me := decided{fills[0], make(chan tiers.FillResult, 1)}
	store := func(d decided) { d.stored <- c.force(ctx, ns, d.fill) }
	select {
	case c.meet <- me:
	case other := <-c.meet:
		first, second := me, other
		if other.fill.Stamp.Newer(me.fill.Stamp) {
			first, second = other, me
		}
		store(first)
		store(second)
	case <-time.After(100 * time.Millisecond):
		store(me)
	}
	return []tiers.FillResult{<-me.stored}
}

type losersTTL struct{ blind }

func (c losersTTL) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	rs := c.Cache.Fill(ctx, ns, fills)
	for i, f := range fills {
		if old := c.Load(ctx, ns, []string{f.Name})[0]; !rs[i].Stored && old.Err == nil {
			c.force(ctx, ns, tiers.Fill{Record: old.Record, TTL: f.TTL})
		}
	}
	return rs
}

type replacesAny struct{ blind }

func (c replacesAny) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	rs := c.Cache.Fill(ctx, ns, fills)
	for i, f := range fills {
		if f.Replace != nil && !rs[i].Stored {
			rs[i] = c.force(ctx, ns, f)
		}
	}
	return rs
}

type neverReplaces struct{ *memory.Cache }

func (c neverReplaces) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	fills = slices.Clone(fills)
	for i := range fills {
		fills[i].Replace = nil
	}
	return c.Cache.Fill(ctx, ns, fills)
}

type saysMissForCorrupt struct{ *memory.Cache }

func (c saysMissForCorrupt) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := c.Cache.Load(ctx, ns, names)
	for i := range rs {
		if errors.Is(rs[i].Err, tiers.ErrMiss) {
			rs[i].Err = tiers.ErrMiss
		}
	}
	return rs
}

// bent passes what goes in and out of a cache through its functions.
type bent struct {
	tiers.Cache
	load   func(*tiers.Result)
	fill   func(*tiers.Fill)
	filled func(*tiers.FillResult)
	lease  func(held bool) bool
}

func cacheLoads(f func(*tiers.Result)) func() tiers.Cache {
	return func() tiers.Cache { return bent{Cache: memory.NewCache(), load: f} }
}

func fillsWith(f func(*tiers.FillResult)) func() tiers.Cache {
	return func() tiers.Cache { return bent{Cache: memory.NewCache(), filled: f} }
}

// A deaf cache does not say that what it holds contradicts what it is offered.
type deaf struct{ *memory.Cache }

func contradicted() tiers.Cache { return deaf{memory.NewCache()} }

func (c deaf) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	names := make([]string, len(fills))
	for i, f := range fills {
		names[i] = f.Name
	}
	held := c.Cache.Load(ctx, ns, names)
	rs := c.Cache.Fill(ctx, ns, fills)
	for i := range rs {
		rs[i].Ahead = rs[i].Ahead && held[i].Stamp != fills[i].Stamp
	}
	return rs
}

func ttlBug(f func(*tiers.Fill)) func() tiers.Cache {
	return func() tiers.Cache { return bent{Cache: memory.NewCache(), fill: f} }
}

func leases(f func(bool) bool) func() tiers.Cache {
	return func() tiers.Cache { return bent{Cache: memory.NewCache(), lease: f} }
}

func (c bent) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := c.Cache.Load(ctx, ns, names)
	for i := range rs {
		if c.load != nil {
			c.load(&rs[i])
		}
	}
	return rs
}

func (c bent) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	fills = slices.Clone(fills)
	for i := range fills {
		if c.fill != nil {
			c.fill(&fills[i])
		}
	}
	rs := c.Cache.Fill(ctx, ns, fills)
	for i := range rs {
		if c.filled != nil {
			c.filled(&rs[i])
		}
	}
	return rs
}

func (c bent) Lease(ctx context.Context, ns string, names []string, d time.Duration) ([]bool, error) {
	held, err := c.Cache.Lease(ctx, ns, names, d)
	for i := range held {
		if c.lease != nil {
			held[i] = c.lease(held[i])
		}
	}
	return held, err
}

type foreverLease struct{ tiers.Cache }

func (c foreverLease) Lease(ctx context.Context, ns string, names []string, d time.Duration) ([]bool, error) {
	return c.Cache.Lease(ctx, ns, names, time.Hour)
}

type allOrNone struct{ tiers.Cache }

func (c allOrNone) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	for _, f := range fills {
		if err := tiers.CheckName(f.Name); err != nil {
			rs := make([]tiers.FillResult, len(fills))
			for i := range rs {
				rs[i].Err = err
			}
			return rs
		}
	}
	return c.Cache.Fill(ctx, ns, fills)
}

type backwards struct{ tiers.Cache }

func (c backwards) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := c.Cache.Load(ctx, ns, names)
	slices.Reverse(rs)
	return rs
}

type joinsKeys struct{ tiers.Cache }

func (c joinsKeys) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	fills = slices.Clone(fills)
	for i := range fills {
		fills[i].Name = ns + ":" + fills[i].Name
	}
	return c.Cache.Fill(ctx, "all", fills)
}

// neverInvalid is a client-side cache that no push reaches.
type neverInvalid struct {
	tiers.Cache
	mu   sync.Mutex
	seen map[string]tiers.Result // guarded by mu
}

func (c *neverInvalid) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	rs := c.Cache.Load(ctx, ns, names)
	for i, name := range names {
		if old, ok := c.seen[ns+name]; ok {
			rs[i] = old
		}
		c.seen[ns+name] = rs[i]
	}
	return rs
}

// forgetsMisses announces changes of names that were found, not of those that
// were missed.
type forgetsMisses struct {
	tiers.Cache
	mu     sync.Mutex
	missed map[string]bool // guarded by mu
}

func (c *forgetsMisses) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	rs := c.Cache.Load(ctx, ns, names)
	for _, r := range rs {
		c.missed[r.Name] = errors.Is(r.Err, tiers.ErrMiss)
	}
	return rs
}

func (c *forgetsMisses) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	return c.Cache.Watch(ctx, ns, func(e tiers.Event) {
		c.mu.Lock()
		drop := e.Kind == tiers.Changed && c.missed[e.Name]
		c.mu.Unlock()
		if !drop {
			sink(e)
		}
	})
}

// cacheWatchWith bends the sinks of a cache's watchers.
type cacheWatchWith struct {
	tiers.Cache
	bend func(sink func(tiers.Event)) func(tiers.Event)
}

func (c cacheWatchWith) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	return c.Cache.Watch(ctx, ns, c.bend(sink))
}

func tellsOnce(sink func(tiers.Event)) func(tiers.Event) {
	told := map[string]bool{}
	return func(e tiers.Event) {
		if e.Kind == tiers.Changed && told[e.Name] {
			return
		}
		told[e.Name] = true
		sink(e)
	}
}

// tellsInFill calls every sink from within Fill.
type tellsInFill struct {
	tiers.Cache
	mu    sync.Mutex
	sinks map[int]func(tiers.Event) // guarded by mu
}

func (c *tellsInFill) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	var one sync.Mutex
	guarded := func(e tiers.Event) {
		one.Lock()
		defer one.Unlock()
		sink(e)
	}
	c.mu.Lock()
	c.sinks[len(c.sinks)] = guarded
	c.mu.Unlock()
	return c.Cache.Watch(ctx, ns, onlyAlive(guarded))
}

func (c *tellsInFill) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	rs := c.Cache.Fill(ctx, ns, fills)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sink := range c.sinks {
		for _, f := range fills {
			sink(tiers.Event{Kind: tiers.Changed, Name: f.Name})
		}
	}
	return rs
}

// outlives watches on for a while after its context has ended.
type outlives struct{ tiers.Cache }

func (c outlives) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	on, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(1200*time.Millisecond, cancel) })()
	return c.Cache.Watch(on, ns, sink)
}
