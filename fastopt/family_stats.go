package fastopt

import "sync/atomic"

// What an operator is told of each family.

// FamilyStats are counters of one family since Open, and what holds now.
type FamilyStats struct {
	Prefix  string
	Entries int // members in memory that are set
	Absent  int // members in memory that are known to be absent
	Working int // members that are being loaded, written or repaired, wait after a failure, or whose row is invalid

	Evicted   uint64 // members dropped to make room for others
	Dropped   uint64 // background loads given up because too many were queued
	Fruitless uint64 // reloads caused by a push that brought nothing new
	Crowded   uint64 // failures and invalid rows forgotten because there were too many
}

// familyCounts are the running part of FamilyStats.
type familyCounts struct {
	evicted, dropped, fruitless, crowded atomic.Uint64
}

// familyStats is Stats.Families.
func (m *Manager) familyStats() []FamilyStats {
	var all []FamilyStats
	for _, f := range m.families {
		s := FamilyStats{Prefix: f.name, Working: f.work.Size(),
			Evicted: f.counts.evicted.Load(), Dropped: f.counts.dropped.Load(),
			Fruitless: f.counts.fruitless.Load(), Crowded: f.counts.crowded.Load()}
		f.mu.Lock()
		s.Entries, s.Absent = f.set.Len(), f.absent.Len()
		f.mu.Unlock()
		all = append(all, s)
	}
	return all
}
