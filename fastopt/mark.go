package fastopt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// The mark: whose copy the cache is, and whether somebody feeds it. A cache may
// be another database's (a service of staging pointed at production's), or of a
// history that a failover ended, or complete in itself and fed by nobody any
// more. So the relay keeps a mark in it, and every process looks at the mark
// once a second, and compares it with what its source says of itself.
//
// What follows from it:
//   - a cache of another database is not used at all;
//   - a record of an older epoch than the highest known is no answer;
//   - a record is offered to the cache only if its epoch is the mark's: the
//     relay alone brings a new one in, after it has written the mark;
//   - a mark that stands still, while the source answers, makes the cache's
//     answers renew nothing: the source is asked.

const (
	markEvery  = time.Second
	unfedAfter = 3 * time.Second // without a step of the mark
)

// marks is what one manager knows of the mark of its cache.
type marks struct {
	m      *Manager
	marker tiers.Marker  // immutable; nil: the cache keeps no mark, and all is believed
	kick   chan struct{} // cap 1: look now
	one    chan struct{} // cap 1: held by who looks, and guards what is below the line

	epoch   atomic.Uint32             // the highest known of this history, of the mark or the source
	marked  atomic.Uint32             // the mark's; 0: no mark was found
	checked atomic.Bool               // there is no mark, or the source was found to be its own
	trusted atomic.Uint32             // the lowest of records that were believed before any was known; 0: none were
	movedAt atomic.Int64              // ns since Open: the mark was last seen to step, asked for then
	refusal atomic.Pointer[TierError] // why the cache is not used, and since when; nil: it is

	last  tiers.Mark     // as found last
	still standstill     // of what was found last, also if that was none
	told  tiers.Identity // to the source, last
	home  tiers.Identity // of the source; zero: not known yet
	owner tiers.Identity // whose histories epoch counts: home or, while that is not known, the last mark's
}

// A standing says how a mark relates to the source of this process.
type standing uint8

const (
	ours    standing = iota // the same history, or an earlier epoch of it
	newer                   // the same database; it names a history that the source does not know
	copied                  // the same lineage in another installation
	foreign                 // another database
)

func standingOf(mark, home tiers.Identity) standing {
	switch {
	case mark.Lineage != home.Lineage:
		return foreign
	case mark.System != home.System || mark.Database != home.Database:
		return copied
	case mark.Epoch > home.Epoch, mark.Epoch == home.Epoch && mark.Timeline != home.Timeline:
		return newer
	}
	return ours
}

func (s *marks) init(m *Manager) {
	*s = marks{m: m, kick: make(chan struct{}, 1), one: make(chan struct{}, 1)}
	if m.cfg.Cache != nil {
		s.marker, _ = m.cfg.Cache.(tiers.Marker)
	}
}

// run looks once a second, and when asked to, until Close.
func (s *marks) run() {
	timer := time.NewTimer(markEvery)
	defer timer.Stop()
	for sleep(s.m.ctx, timer, s.kick) {
		s.look(s.m.ctx)
		timer.Reset(markEvery - time.Duration(s.m.jitter()*float64(markEvery/10)))
	}
}

// use returns the cache, nil if there is none that may be used.
func (s *marks) use() tiers.Cache {
	if s.refusal.Load() != nil {
		return nil
	}
	return s.m.cfg.Cache
}

// refused returns why the cache is not used, nil if it is.
func (s *marks) refused() error {
	if p := s.refusal.Load(); p != nil {
		return p.Err
	}
	return nil
}

// fed reports whether an answer of the cache counts: somebody feeds it, or
// nobody could tell better.
func (s *marks) fed() bool {
	return s.marker == nil || s.m.cfg.Source == nil || s.m.source.down.Load() || s.stoodStill() < unfedAfter
}

// age is how long ago the mark was seen to step; 0 without marks.
func (s *marks) age() time.Duration {
	if s.marker == nil {
		return 0
	}
	return s.stoodStill()
}

func (s *marks) stoodStill() time.Duration { return time.Duration(s.m.now() - s.movedAt.Load()) }

// admits reports whether a record of that epoch may be offered to the cache. It
// may not while the mark could not be read yet, or compared with the source.
func (s *marks) admits(epoch uint32) bool {
	if s.marker == nil {
		return true
	}
	marked := s.marked.Load()
	return s.refusal.Load() == nil && s.checked.Load() && (marked == 0 || marked == epoch)
}

// current reports whether records of the latest history known may be offered.
func (s *marks) current() bool { return s.admits(s.epoch.Load()) }

// answered notes the epoch of an answer of the source, and reports whether the
// answer is one: an older history than is known gives none (P10).
func (s *marks) answered(epoch uint32) bool {
	if s.marker == nil {
		return true
	}
	if epoch > s.epoch.Load() {
		s.raise(epoch)
		ring(s.kick)
	}
	return epoch >= s.epoch.Load()
}

// raise notes an epoch. One that is not the first ends the freshness of
// everything: values of the older one may have been lost with it (R26). So does
// the first, if records of an older one were believed before it was known.
func (s *marks) raise(epoch uint32) {
	for {
		old := s.epoch.Load()
		if epoch <= old {
			return
		}
		if s.epoch.CompareAndSwap(old, epoch) {
			if old != 0 {
				s.m.cfg.Logger.Warn("fastopt: the source began another history: revalidating all options", "epoch", epoch)
			}
			if trusted := s.trusted.Load(); old != 0 || trusted != 0 && trusted < epoch {
				s.m.revalidate()
			}
			return
		}
	}
}

// look reads the mark and judges it, one caller after the other. It waits for
// the cache and, where identities differ, for the source, each for its timeout.
// It reports whether the cache told of the mark.
func (s *marks) look(ctx context.Context) (told bool) {
	if s.marker == nil {
		return false
	}
	select {
	case s.one <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-s.one }()
	start := s.m.now()
	mark, err := s.read(ctx)
	switch {
	case errors.Is(err, tiers.ErrMiss):
		s.still.see(tiers.Mark{}, start, s.m.now(), s.gap())
		s.marked.Store(0)
		if s.home == (tiers.Identity{}) { // else nothing tells which histories there are
			s.learnHome(ctx)
		}
		s.checked.Store(true)
	case errors.Is(err, tiers.ErrForeign): // so are its entries, to be read from the source (R40)
		s.refuse(fmt.Errorf("%w: the cache is written by a newer version, or sealed with a key that this process lacks: %w", tiers.ErrUnavailable, err))
	case err == nil:
		s.still.see(mark, start, s.m.now(), s.gap())
		before := s.last
		if s.last = mark; mark != before {
			s.movedAt.Store(start)
		}
		s.judge(ctx, mark, mark != before && before != (tiers.Mark{}))
	default:
		return false
	}
	return true
}

func (s *marks) read(ctx context.Context) (tiers.Mark, error) {
	leave, err := s.m.cache.enter()
	if err != nil {
		return tiers.Mark{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.CacheTimeout)
	defer cancel()
	mark, err := s.marker.Mark(ctx, s.m.cfg.Namespace)
	if unusable(err) {
		leave(err)
	} else {
		leave(nil)
	}
	return mark, err
}

// judge draws the consequences of mark. Guarded by one.
func (s *marks) judge(ctx context.Context, mark tiers.Mark, moved bool) {
	s.m.snapshot.meetMark(mark.Identity)
	if s.home.Lineage != mark.Lineage || s.home != mark.Identity {
		s.learnHome(ctx)
	}
	home, known := s.home, s.home != (tiers.Identity{})
	if !known { // taken from the mark, and checked once the source answers
		home = mark.Identity
		home.Lineage = cmp.Or(s.owner.Lineage, mark.Lineage)
	}
	standing := standingOf(mark.Identity, home)
	switch standing {
	case foreign:
		s.refuse(fmt.Errorf("%w: the cache belongs to another database (lineage %.8s, not %.8s): use another key prefix or namespace, or, if this database replaces that one, delete the keys of this namespace in the cache and restart",
			tiers.ErrSetup, mark.Lineage, home.Lineage))
		return
	case copied:
		s.refuse(fmt.Errorf("%w: the cache belongs to the database that this one is a copy of (system %s, not %s), as long as that one feeds it",
			tiers.ErrUnavailable, mark.System, home.System))
		return
	}
	// Only a mark that moves is a sign of life. Of a later history the source is
	// to know in any case, and need be told but once.
	if known && (moved || standing == newer && s.told != mark.Identity) {
		s.told = mark.Identity
		if h, ok := s.m.cfg.Source.(tiers.Historian); ok {
			h.Learn(mark.Identity)
		}
	}
	if !known {
		s.owner = mark.Identity
	}
	s.marked.Store(mark.Epoch)
	s.checked.Store(s.home != (tiers.Identity{}))
	s.raise(mark.Epoch)
	s.admit()
}

// learnHome asks the source who it is, if it may answer. Guarded by one.
func (s *marks) learnHome(ctx context.Context) {
	if s.m.cfg.Source == nil || s.m.source.down.Load() {
		return
	}
	leave, err := s.m.source.enter()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.SourceTimeout)
	defer cancel()
	id, err := s.m.cfg.Source.Identity(ctx)
	if leave(err); err != nil {
		return
	}
	if s.owner != (tiers.Identity{}) {
		standing := standingOf(s.owner, id)
		if standing == foreign || standing == copied && s.home == (tiers.Identity{}) {
			s.epoch.Store(0) // counted by the other database, whose mark was believed so far
			s.m.revalidate()
		}
	}
	s.home, s.owner = id, id
	s.m.snapshot.meet(id)
	s.raise(id.Epoch)
}

// refuse keeps the cache from being used, and says so once.
func (s *marks) refuse(why error) {
	next := &TierError{Tier: "cache", Since: time.Now(), Err: why}
	before := s.refusal.Load()
	if before != nil {
		next.Since = before.Since
	}
	if s.refusal.Store(next); before == nil {
		s.m.cfg.Logger.Error("fastopt: the cache is not used", "error", why)
		s.m.revalidate()
	}
}

// admit lets the cache be used again.
func (s *marks) admit() {
	if s.refusal.Swap(nil) != nil {
		s.m.cfg.Logger.Info("fastopt: the cache is used again")
		s.m.revalidate()
	}
}

// lookFor looks at the mark if results tell of a later history than is known,
// and reports false if it had to and was not told.
func (s *marks) lookFor(results []tiers.Result) (sure bool) {
	if s.marker == nil {
		return true
	}
	for _, r := range results {
		if r.Err == nil && r.Stamp.Epoch > s.epoch.Load() {
			return s.look(s.m.ctx)
		}
	}
	return true
}

// names reports whether there is a mark, and it is of that epoch.
func (s *marks) names(epoch uint32) bool { return s.marked.Load() == epoch }

// namesNow is names after a look: a history that has begun is marked before there
// are records of it.
func (s *marks) namesNow(ctx context.Context, epoch uint32) bool {
	return s.look(ctx) && s.names(epoch)
}

// unheard reports whether neither the source nor a mark ever named that epoch,
// nor a later one.
func (s *marks) unheard(epoch uint32) bool { return s.marker != nil && epoch > s.epoch.Load() }

// knows reports whether a record of the cache is of the history that is known.
// Where no mark tells of histories, one that is unheard of may have begun; but if
// there is a source that answers, it is to say so.
func (s *marks) knows(epoch uint32) bool {
	if s.marker == nil {
		return true
	}
	marked := s.marked.Load() != 0
	if s.epoch.Load() == 0 && !marked {
		s.trust(epoch) // who raises it from now on finds what was trusted
	}
	return epoch == s.epoch.Load() ||
		!marked && s.unheard(epoch) && (s.m.cfg.Source == nil || s.m.source.down.Load())
}

// trust notes that a record of epoch may be believed before any epoch is known.
func (s *marks) trust(epoch uint32) {
	for {
		old := s.trusted.Load()
		if old != 0 && old <= epoch || s.trusted.CompareAndSwap(old, epoch) {
			return
		}
	}
}
