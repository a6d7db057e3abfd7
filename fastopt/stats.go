package fastopt

import (
	"sync/atomic"
	"time"
)

// What an operator is told: counters, readiness, and one log line per change of
// state, never one per read.

// Stats are counters since Open, and what holds now. Reads are counted only if
// Config.CountReads says so: counting would be a part of what they cost.
type Stats struct {
	Options    int // registered
	FamilyKeys int // members of families in memory
	Families   []FamilyStats

	CacheHits    uint64 // results of the cache that were a value or absent
	CacheMisses  uint64 // results that were not: missing, corrupt, failed
	CacheCorrupt uint64 // entries of the cache whose bytes were unusable
	CacheBehind  uint64 // results older than what this process knew
	SourceLoads  uint64 // requests to the source, of any number of names
	LeaseWaits   uint64 // times that a key waited for another process to ask the source for it
	Corrections  uint64 // stamps that the source contradicted: triggers bypassed, a disk set back, a poisoned cache

	Fills         uint64 // records that the cache stored for this process
	FillsFailed   uint64 // records that it refused or did not answer for
	FillsWithheld uint64 // records not offered to it, because its mark is of another history
	FillsLate     uint64 // records not offered to it, because this process stood still meanwhile
	Repaired      uint64 // keys whose failed fill or unknown write was repaired
	RepairDropped uint64 // keys put off because too many were under repair
	Dirty         int    // keys under repair now

	Epoch    uint32        // the highest history of the source known
	CacheFed bool          // a relay feeds the cache, or no source could tell better
	MarkAge  time.Duration // since the cache's mark was seen to step; 0: it keeps none

	Relay        bool   // this process carries changes by others into the cache now
	RelayFills   uint64 // records that the cache stored for the relay, or for Sync
	RelayResyncs uint64 // times the relay offered everything because the cache may have lost it, or on taking over
	RelayErrors  uint64 // attempts of the relay that failed, and records that the cache cannot hold

	Writes       uint64 // acknowledged
	WritesFailed uint64 // refused, or of unknown outcome

	Pushes     uint64 // changes announced
	PushesLost uint64 // times that announcements may have been lost
	PushesUp   bool   // announcements arrive

	Refused   uint64 // answers older than what was known
	Conflicts uint64 // answers with the stamp of what was known and other bytes: must stay 0
	Rejected  uint64 // changes to a value that does not decode, pass Check or fit MaxValue

	Stale    int           // registered options that read Stale now
	Expired  int           // … that read their default because no tier answered
	Unloaded int           // … that were never loaded
	Oldest   time.Duration // since the request of the answer that last confirmed the oldest of the others

	CacheTier  TierStats
	SourceTier TierStats

	Reads []ReadStats // of declared options by name, then of each family; nil without CountReads

	BudgetWaits    uint64 // requests to the source that waited for the budget
	RetriesWaited  uint64 // retries put off because they were more than a tenth of the requests
	Dropped        uint64 // background loads of family members given up because too many were queued
	Unverified     uint64 // times that everything was revalidated because this process stood still, or its clock was set
	SnapshotWrites uint64 // snapshots written
	SnapshotErrors uint64 // snapshots that could not be written

	Expiries     uint64        // falls to a default because no tier answered
	ExpirerLag   time.Duration // how late the most recent of them was published
	ExpirerWorst time.Duration // the greatest such lag since Open
}

// TierStats say how a tier fares.
type TierStats struct {
	Up      bool      // it answered when it was last asked; or is not configured
	Since   time.Time // Up is what it is; while it is not, the first failure in a row
	Breaker string    // "closed": it is asked; "open": only probes are; "half-open": a probe is under way
	Opened  uint64    // times the breaker opened
	Probes  uint64    // requests that asked only whether it answers, after a failure
	Spared  uint64    // requests not made because the breaker was open
}

// counters are the running part of Stats.
type counters struct {
	cacheHits, cacheMisses, corrupt, behind, sourceLoads atomic.Uint64
	leaseWaits, corrections                              atomic.Uint64
	fills, fillsFailed, repaired, dirtyDropped           atomic.Uint64
	withheld, late                                       atomic.Uint64
	relayFills, relayResyncs, relayErrors                atomic.Uint64
	writes, writesFailed                                 atomic.Uint64
	pushes, pushesLost                                   atomic.Uint64
	refused, conflicts, rejected, expiries               atomic.Uint64
	budgetWaits, retriesWaited, dropped, unverified      atomic.Uint64
	expirerLag, expirerWorst                             atomic.Int64
}

// lag notes how late an expiry was. Only the expirer calls it.
func (c *counters) lag(ns int64) {
	c.expirerLag.Store(ns)
	c.expirerWorst.Store(max(ns, c.expirerWorst.Load()))
}

// Stats returns the counters. They are read one by one.
func (m *Manager) Stats() Stats {
	c := &m.stats
	a := m.ages()
	s := Stats{
		Reads: m.readStats(),
		Stale: a.Stale, Expired: a.Expired, Unloaded: a.Unloaded, Oldest: a.Oldest,
		CacheTier: m.cache.stats(), SourceTier: m.source.stats(),
		BudgetWaits: c.budgetWaits.Load(), RetriesWaited: c.retriesWaited.Load(), Dropped: c.dropped.Load(),
		Unverified: c.unverified.Load(),
		Options:    len(m.keys), Families: m.familyStats(),
		CacheHits: c.cacheHits.Load(), CacheMisses: c.cacheMisses.Load(), CacheCorrupt: c.corrupt.Load(),
		CacheBehind: c.behind.Load(), SourceLoads: c.sourceLoads.Load(),
		Fills: c.fills.Load(), FillsFailed: c.fillsFailed.Load(), Repaired: c.repaired.Load(),
		LeaseWaits: c.leaseWaits.Load(), Corrections: c.corrections.Load(),
		FillsWithheld: c.withheld.Load(), FillsLate: c.late.Load(),
		Epoch: m.marks.epoch.Load(), CacheFed: m.marks.fed(), MarkAge: m.marks.age(),
		RepairDropped: c.dirtyDropped.Load(), Dirty: m.repairer.size(),
		Relay: m.relay.leading.Load(), RelayFills: c.relayFills.Load(),
		RelayResyncs: c.relayResyncs.Load(), RelayErrors: c.relayErrors.Load(),
		Writes: c.writes.Load(), WritesFailed: c.writesFailed.Load(),
		Pushes: c.pushes.Load(), PushesLost: c.pushesLost.Load(), PushesUp: m.pushUp.Load(),
		Refused: c.refused.Load(), Conflicts: c.conflicts.Load(), Rejected: c.rejected.Load(),
		Expiries: c.expiries.Load(), ExpirerLag: time.Duration(c.expirerLag.Load()),
		ExpirerWorst:   time.Duration(c.expirerWorst.Load()),
		SnapshotWrites: m.snapshot.written.Load(), SnapshotErrors: m.snapshot.failures.Load(),
	}
	for _, f := range s.Families {
		s.FamilyKeys += f.Entries + f.Absent
	}
	return s
}

// ages counts the registered options by their states.
func (m *Manager) ages() (s Stats) {
	for _, k := range m.keys {
		meta := k.cell.load().tier()
		if meta.key != k {
			continue // another manager's by now
		}
		r := meta.reading(m.now(), k.token())
		switch r.State {
		case Unloaded:
			s.Unloaded++
		case Expired:
			s.Expired++
		case Stale:
			s.Stale++
			fallthrough
		default:
			s.Oldest = max(s.Oldest, r.Age)
		}
	}
	return s
}

// tellDropped logs, at most once a minute, that work was given up because too much
// of it was queued. Not who gives it up says so: that may be a Get.
func (r *refresher) tellDropped() {
	loads, repairs := r.m.stats.dropped.Load(), r.m.stats.dirtyDropped.Load()
	if now := r.m.now(); loads+repairs > r.told && now >= r.tellAt {
		r.told, r.tellAt = loads+repairs, now+int64(time.Minute)
		r.m.cfg.Logger.Warn("fastopt: too much is queued: some of it is given up", "loads of families", loads, "repairs", repairs)
	}
}

// rejected counts and logs a change to a value that cannot be used.
func (m *Manager) rejected(k *key, err error) {
	m.stats.rejected.Add(1)
	m.cfg.Logger.Error("fastopt: a new value cannot be used; the last good one stays", "option", k.full, "error", err)
}
