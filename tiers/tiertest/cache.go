package tiertest

import (
	"bytes"
	"errors"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A cacheCheck breaks if a cache does not keep the promise it is named after.
type cacheCheck struct {
	name string
	run  func(p *cacheProbe)
}

var cacheChecks = []cacheCheck{
	{"NothingKnownIsAMiss", nothingKnownIsAMiss},
	{"WhatIsFilledIsLoaded", whatIsFilledIsLoaded},
	{"OnlyNewerWins", onlyNewerWins},
	{"EpochOutranksRevision", epochOutranksRevision},
	{"AbsentIsAnAnswer", absentIsAnAnswer},
	{"NoRowOverAbsentIsNoWrite", noRowOverAbsent},
	{"AheadSaysThatTheHeldStampIsNewer", aheadIsSaid},
	{"ReplaceOfOtherBytesIsAPlainFill", replaceOfOtherBytes},
	{"ReplaceOfTheBytesLoadedStoresWhatIsOlder", replaceOfRaw},
	{"ManyAtOnceKeepOrder", manyAtOnce},
	{"FillFailsPerName", fillFailsPerName},
	{"KeysAreTakenLiterally", keysAreTakenLiterally},
	{"KeysOfNamespacesAreApart", keysAreApart},
	{"DataAreKeptToTheByte", dataAreKept},
	{"TTLEndsInAMiss", ttlEnds},
	{"TTLIsThatOfTheFillThatWon", ttlOfTheWinner},
	{"LeaseHasOneHolder", leaseHasOneHolder},
	{"LeaseEnds", leaseEnds},
	{"ConcurrentFillsNeverGoBack", concurrentFills},
	{"CacheEndedContextIsNoAnswer", cacheContextEnded},
	{"WatchHearsWhatWasLoaded", cacheWatchHears},
	{"WatchHearsWhatWasMissed", cacheWatchHearsMisses},
	{"NoWriteIsNoEvent", noWriteIsNoEvent},
	{"CacheWatchIsApart", cacheWatchIsApart},
	{"CacheAliveComesAfterWhatItCovers", cacheAliveCovers},
	{"CacheAliveIsHeardAgainAndAgain", cacheAliveRepeats},
	{"SlowCacheWatcherDelaysNobody", cacheSlowWatcher},
	{"CacheWatchEndsWithItsContext", cacheWatchEnds},
}

// A corruptCheck needs entries that were damaged.
type corruptCheck struct {
	name string
	run  func(p *cacheProbe, c Corrupter)
}

var corruptChecks = []corruptCheck{
	{"CorruptIsAMissWithItsBytes", corruptIsAMiss},
	{"ReplaceRepairs", replaceRepairs},
}

// cacheLag is how old an answer of a cache may be on arrival: one that a
// client-side cache vouches for by its last heartbeat.
const cacheLag = 2 * time.Second

// A cacheProbe is a probe of a cache, with calls that must succeed.
type cacheProbe struct {
	*probe
	cache tiers.Cache
}

func at(revision uint64) tiers.Stamp { return tiers.Stamp{Epoch: 1, Revision: revision} }

func value(name, data string, stamp tiers.Stamp) tiers.Record {
	return tiers.Record{Name: name, Kind: tiers.Value, Stamp: stamp, Data: []byte(data), AsOf: time.Now()}
}

func tombstone(name string, stamp tiers.Stamp) tiers.Record {
	return tiers.Record{Name: name, Kind: tiers.Absent, Stamp: stamp, AsOf: time.Now()}
}

func noRow(name string, stamp tiers.Stamp) tiers.Record {
	r := tombstone(name, stamp)
	r.NoRow = true
	return r
}

func (p *cacheProbe) fill(fills ...tiers.Fill) []tiers.FillResult {
	p.Helper()
	rs := p.cache.Fill(p.ctx, p.ns, fills)
	if len(rs) != len(fills) {
		p.Fatalf("%d results for %d fills", len(rs), len(fills))
	}
	for i, r := range rs {
		if r.Err != nil {
			p.Fatalf("fill %q: %v", fills[i].Name, r.Err)
		}
	}
	return rs
}

// stores fills r, which must be stored and then be loaded.
func (p *cacheProbe) stores(r tiers.Record) {
	p.Helper()
	if !p.fill(tiers.Fill{Record: r})[0].Stored {
		p.Fatalf("fill %q with %v of %v: refused", r.Name, r.Kind, r.Stamp)
	}
	p.loads(r)
}

// refuses fills r, which must change nothing: kept stays what is loaded.
func (p *cacheProbe) refuses(r, kept tiers.Record) {
	p.Helper()
	if p.fill(tiers.Fill{Record: r})[0].Stored {
		p.Fatalf("fill %q with %v of %v over %v of %v: stored", r.Name, r.Kind, r.Stamp, kept.Kind, kept.Stamp)
	}
	p.settle()
	if got := p.load(r.Name)[0]; got.Err != nil || !same(got.Record, kept) {
		p.Fatalf("fill %q with %v of %v was refused, but %v of %v became %v of %v, %v",
			r.Name, r.Kind, r.Stamp, kept.Kind, kept.Stamp, got.Kind, got.Stamp, got.Err)
	}
}

// loads waits until r is what is loaded: a client-side cache may trail by the
// time that an invalidation takes.
func (p *cacheProbe) loads(r tiers.Record) {
	p.Helper()
	p.eventually(func() bool {
		got := p.load(r.Name)[0]
		return got.Err == nil && same(got.Record, r)
	}, "load of %.40q gives %v of %v", r.Name, r.Kind, r.Stamp)
}

// misses waits until name is a miss.
func (p *cacheProbe) misses(name string) {
	p.Helper()
	p.eventually(func() bool {
		return errors.Is(p.load(name)[0].Err, tiers.ErrMiss)
	}, "load of %.40q is a miss", name)
}

// load returns the results of names, each well-formed, a record or a miss.
func (p *cacheProbe) load(names ...string) []tiers.Result {
	p.Helper()
	start := time.Now()
	rs := p.cache.Load(p.ctx, p.ns, names)
	if len(rs) != len(names) {
		p.Fatalf("%d results for %d names", len(rs), len(names))
	}
	for i, r := range rs {
		p.checkResult(r, names[i], start, cacheLag)
		if r.Err != nil && !errors.Is(r.Err, tiers.ErrMiss) {
			p.Fatalf("load %q: %v", names[i], r.Err)
		}
	}
	return rs
}

// settle waits until a client-side cache must have heard of every change made
// before the call.
func (p *cacheProbe) settle() {
	p.Helper()
	l := p.listen(p.cache.Watch, nil)
	defer l.stop()
	l.settled()
}

// same reports whether a cache gave back what it was given.
func same(got, want tiers.Record) bool {
	return got.Kind == want.Kind && got.Stamp == want.Stamp && got.NoRow == want.NoRow && bytes.Equal(got.Data, want.Data)
}
