package fastopt

import (
	"context"
	"errors"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Filling: what this process has read from the source, or committed, is offered
// to the cache, which takes it only if it is newer. Not offered is what is of a
// history that the cache's mark does not name, and what is too old by the clock.

// A filling is a record to be offered to the cache for a key.
type filling struct {
	k       *key
	rec     tiers.Record
	asked   int64 // before the source was
	replace []byte
	dirty   uint64 // what of k is repaired once the cache has the record; 0: nothing
}

// absentTTL bounds how long the cache keeps what bounds only its memory: that a
// name is absent, and members of families. Values of options do not expire.
const absentTTL = 24 * time.Hour

// keptFor is how long the cache is to keep rec, which may be of a family's member.
func (m *Manager) keptFor(rec tiers.Record, member bool) time.Duration {
	if rec.Kind == tiers.Absent || member {
		return absentTTL - time.Duration(m.jitter()*float64(absentTTL/10))
	}
	return 0
}

// fill offers records to the cache and reports whether all were taken, or were
// known already.
func (m *Manager) fill(ctx context.Context, list []filling) (all bool) {
	if len(list) == 0 {
		return true
	}
	point.At(point.FillSend, m, list[0].k.full)
	// Only now look at the mark and the clock: a process that stood still since
	// it asked does not bring back another history, nor what was deleted, and
	// whose tombstone is forgotten (R15).
	some, fills := m.inTime(m.offerable(list))
	all = len(some) == len(list)
	cache := m.marks.use()
	if len(some) == 0 || cache == nil {
		return false
	}
	leave, err := m.cache.enter()
	if err != nil {
		m.stats.fillsFailed.Add(uint64(len(fills)))
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.CacheTimeout)
	results := cache.Fill(ctx, m.cfg.Namespace, fills)
	cancel()
	var failure error
	for i, r := range results {
		if r.Err != nil {
			failure = r.Err
			m.stats.fillsFailed.Add(1)
			continue
		}
		if r.Stored {
			m.stats.fills.Add(1)
		}
		some[i].k.clean(some[i].dirty)
	}
	if unusable(failure) {
		leave(failure)
	} else {
		leave(nil)
	}
	return all && failure == nil
}

// unusable reports whether err says that a tier could not answer, not that it
// refuses what it was given.
func unusable(err error) bool {
	return errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup)
}

// offerable returns what of list the cache may be offered.
func (m *Manager) offerable(list []filling) []filling {
	if m.marks.use() == nil {
		return nil
	}
	some := make([]filling, 0, len(list))
	for _, f := range list {
		if m.marks.admits(f.rec.Stamp.Epoch) {
			some = append(some, f)
		} else {
			m.stats.withheld.Add(1)
		}
	}
	return some
}

// lateFill is how long after its request, and the longest that calls may take,
// an answer is offered to the cache no more.
const lateFill = 5 * time.Second

// inTime returns what of list was asked for lately, and the fills of that.
func (m *Manager) inTime(list []filling) ([]filling, []tiers.Fill) {
	m.clocks.look() // a machine may have slept, too
	oldest := m.now() - int64(lateFill+m.cfg.CacheTimeout+m.cfg.SourceTimeout+m.cfg.WriteTimeout)
	some := list[:0]
	fills := make([]tiers.Fill, 0, len(list))
	for _, f := range list {
		if f.asked < oldest {
			m.stats.late.Add(1)
			continue
		}
		some = append(some, f)
		fills = append(fills, tiers.Fill{Record: f.rec, Replace: f.replace, TTL: m.keptFor(f.rec, f.k.fam != nil)})
	}
	return some, fills
}
