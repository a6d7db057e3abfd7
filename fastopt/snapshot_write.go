package fastopt

import (
	"context"
	"math"
	"time"

	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers"
)

// Writing the snapshot: one goroutine, which nobody waits for, writes within a
// second of a change, and now and then while options are confirmed, so that the
// ages in the file stay true. While no tier answers there is nothing to say that
// the file does not say already.

// A writer is the state of that goroutine, and used by it alone.
type writer struct {
	due       int64 // ns since Open: when to write because of a change; never if there was none
	renewAt   int64 // ns since Open: when to write if options were confirmed
	last      int64 // ns since Open: the last attempt
	notBefore int64 // ns since Open: after a failure
	confirmed int64 // when the newest confirmation in the file had been asked for, ns since Open
	fails     int   // in a row
}

const (
	snapshotGather = 200 * time.Millisecond // changes in a row become one write
	snapshotGap    = 800 * time.Millisecond // between two writes
	// After a failure, such as a full disk, it is tried again after the first of
	// these, twice as long after each, and at most the second.
	snapshotRetry    = time.Second
	snapshotMaxRetry = 30 * time.Second
)

// changed notes that k has a new value, or none any more. It waits for nothing.
func (s *snapshots) changed(k *key) {
	if s.file != nil && k.fam == nil {
		s.dirty.Store(true)
		ring(s.kick)
	}
}

// holds reports whether k is an option whose value may stand in the file.
func (s *snapshots) holds(k *key) bool {
	return s.file != nil && k.fam == nil && (!k.secret || s.key() != nil)
}

// run writes until Close, once more then, and gives the file up.
func (s *snapshots) run() {
	s.due, s.renewAt, s.confirmed = never, s.m.now()+int64(s.period()), math.MinInt64
	timer := time.NewTimer(s.period())
	defer timer.Stop()
	for sleep(s.m.ctx, timer, s.kick) {
		timer.Reset(s.step())
	}
	s.write(context.WithoutCancel(s.m.ctx), s.dirty.Load() || s.due != never)
	if err := s.file.Close(); err != nil {
		s.m.cfg.Logger.Warn("fastopt: the snapshot's lock could not be released", "error", err)
	}
}

// period is how often ages are brought up to date: a quarter of the shortest
// grace, from 5 s to 5 min.
func (s *snapshots) period() time.Duration {
	shortest := 20 * time.Minute
	for _, k := range s.m.keys {
		if k.lives.usable != int64(Forever) && s.holds(k) {
			shortest = min(shortest, time.Duration(k.lives.usable-k.lives.ttl))
		}
	}
	return max(shortest/4, 5*time.Second)
}

// step writes if it is time, and returns how long until it may be again.
func (s *snapshots) step() time.Duration {
	now := s.m.now()
	if s.dirty.Swap(false) && s.due == never {
		s.due = max(now+int64(snapshotGather), s.last+int64(snapshotGap), s.notBefore)
	}
	if now >= min(s.due, s.renewAt) {
		s.write(s.m.ctx, s.due != never)
	}
	return max(time.Duration(min(s.due, s.renewAt)-s.m.now()), 0)
}

// write writes what is known, if a tier has confirmed any of it since the last
// time; with anew, also if it confirmed something else.
func (s *snapshots) write(ctx context.Context, anew bool) {
	s.m.clocks.look()     // a machine may have slept: its options are older than it seems
	written := time.Now() // before ages are told, whatever happens until they stand in the file
	entries, confirmed, epoch := s.collect()
	s.last = s.m.now()
	s.renewAt = s.last + int64(s.period())
	if confirmed == math.MinInt64 || confirmed <= s.confirmed && !anew {
		s.due = never
		return
	}
	home := s.homeOf(ctx, epoch)
	err := s.put(snapshot.Snapshot{Entries: known(entries, home), Header: snapshot.Header{
		Namespace: s.m.cfg.Namespace, Written: written, Home: home}})
	if err != nil {
		s.failed(err)
		return
	}
	s.written.Add(1)
	if s.fails > 0 {
		s.m.cfg.Logger.Info("fastopt: the snapshot is written again")
	}
	s.due, s.notBefore, s.fails, s.confirmed = never, 0, 0, confirmed
}

func (s *snapshots) put(all snapshot.Snapshot) error {
	raw, err := snapshot.Encode(all, s.key())
	if err != nil {
		return err
	}
	if s.refused.Load() {
		if err := s.file.PutAside(); err != nil {
			return err
		}
		s.refused.Store(false)
	}
	return s.file.Write(raw)
}

// failed plans the next attempt, and says so once.
func (s *snapshots) failed(err error) {
	s.failures.Add(1)
	if s.fails++; s.fails == 1 {
		s.m.cfg.Logger.Warn("fastopt: the snapshot could not be written; the one before stays", "error", s.because(err))
	}
	s.notBefore = s.m.now() + int64(min(snapshotRetry<<min(s.fails-1, 10), snapshotMaxRetry))
	s.due, s.renewAt = s.notBefore, never
}

// collect returns what is usable of the options, each as of now; when the newest
// confirmation by a tier was asked for, math.MinInt64 if there is none; and the
// latest epoch.
func (s *snapshots) collect() (entries []saved, confirmed int64, epoch uint32) {
	confirmed = math.MinInt64
	for _, k := range s.m.keys {
		cur := k.cell.load().tier()
		asked, now := cur.asked.Load(), s.m.now()
		if cur.key != k || !s.holds(k) || asked == dead || cur.kind != kindValue && cur.kind != kindAbsent {
			continue
		}
		if cur.err == nil && now >= later(asked, k.lives.usable) {
			continue
		}
		// While a row is invalid this is the last good value, under its own stamp.
		e := snapshot.Entry{Name: k.name, Type: fingerprint(k.codec.typ), Kind: tiers.Absent, Stamp: cur.stamp, Age: time.Duration(now - asked)}
		if cur.kind == kindValue {
			e.Kind, e.Data = tiers.Value, cur.data
		}
		if !cur.saved {
			confirmed = max(confirmed, asked)
		}
		epoch = max(epoch, e.Stamp.Epoch)
		entries = append(entries, saved{e, cur.saved && cur.seen.IsZero()})
	}
	return entries, confirmed, epoch
}

// saved is an entry to be written. nobodys: it stems from a file of which it was
// not known whose it is.
type saved struct {
	snapshot.Entry
	nobodys bool
}

// known returns the entries that may be said to be of home.
func known(all []saved, home tiers.Identity) []snapshot.Entry {
	entries := make([]snapshot.Entry, 0, len(all))
	for _, e := range all {
		if !e.nobodys || home.Lineage == "" {
			entries = append(entries, e.Entry)
		}
	}
	return entries
}
