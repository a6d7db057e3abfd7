package fastopt

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Sweeping: two ways of going over all rows. When the cache may have lost
// anything, everything is offered to it at once. And all the time a patrol goes
// round, a few rows every few seconds whatever their number, for what no
// history shows: entries that somebody else removed or wrote, rows changed with
// the triggers off. What the cache holds too new is corrected from the source.

const (
	patrolEvery = 5 * time.Second
	patrolRows  = 100 // in one step
)

// sweep offers everything to the cache when that is wanted.
func (r *relay) sweep(ctx context.Context, t *trouble) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wanted:
		}
		for {
			wanted := r.passes.Load()
			err := r.offerAll(ctx, nil)
			if err == nil {
				r.passed.Store(wanted)
				break
			}
			if rest(ctx, t.wait(ctx, err)); ctx.Err() != nil {
				return
			}
			unring(r.wanted) // the next attempt begins after that
		}
		t.over()
		r.m.stats.relayResyncs.Add(1)
		rest(ctx, resyncGap)
	}
}

// patrol goes round until ctx ends. A failure ends a round, and is no trouble:
// the follower notices it sooner.
func (r *relay) patrol(ctx context.Context) {
	for ctx.Err() == nil {
		if !r.round(ctx) {
			r.pause(ctx)
		}
	}
}

func (r *relay) pause(ctx context.Context) {
	rest(ctx, patrolEvery-time.Duration(r.m.jitter()*float64(patrolEvery/5)))
}

// round offers all rows once, in steps with a pause after each, and at last the
// answers that there is none for options declared here: without a row a scan
// tells nothing of them. It reports whether there was anything to offer.
func (r *relay) round(ctx context.Context) (worked bool) {
	if r.refuses() != nil {
		return false
	}
	rowless := maps.Clone(r.m.byName)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := max(relayLimit, r.m.cfg.SourceTimeout)
	silent := time.AfterFunc(limit, cancel) // while rows are awaited
	defer silent.Stop()
	next, stop := iter.Pull2(r.m.cfg.Source.Scan(ctx, r.m.cfg.Namespace))
	defer stop()
	for more := true; more && ctx.Err() == nil; {
		silent.Reset(limit)
		var rows []tiers.Record
		for size := 0; len(rows) < patrolRows && size < chunkSize; {
			rec, err, ok := next()
			if err != nil {
				return worked
			} else if more = ok; !more {
				break
			}
			rows, size = append(rows, rec), size+len(rec.Data)
			delete(rowless, rec.Name)
		}
		silent.Stop()
		if len(rows) == 0 {
			break
		}
		if r.mend(ctx, rows) != nil {
			return worked
		}
		worked = true
		r.pause(ctx)
	}
	for names := range slices.Chunk(slices.Sorted(maps.Keys(rowless)), patrolRows) {
		if r.mendRowless(ctx, names) != nil {
			return worked
		}
		worked = true
		r.pause(ctx)
	}
	return worked
}

// mend offers rows, and corrects what the cache holds too new.
func (r *relay) mend(ctx context.Context, rows []tiers.Record) error {
	if err := r.refuses(); err != nil {
		return err
	}
	ahead, err := r.offerSome(ctx, rows)
	if err != nil {
		return err
	}
	return r.correct(ctx, ahead)
}

// mendRowless is mend for names of which the source was found to have no row.
func (r *relay) mendRowless(ctx context.Context, names []string) error {
	if err := r.refuses(); err != nil {
		return err
	}
	bound, cancel := context.WithTimeout(ctx, max(relayLimit, r.m.cfg.SourceTimeout))
	results := r.m.cfg.Source.Load(bound, r.m.cfg.Namespace, names)
	cancel()
	rows := make([]tiers.Record, len(results))
	for i, res := range results {
		if res.Err != nil {
			return res.Err
		}
		rows[i] = res.Record
	}
	return r.mend(ctx, rows)
}

// correct replaces what the cache holds of names by what the source says, which
// is asked later: if it knows nothing so new, its triggers were bypassed, its
// disk set back, or the cache poisoned (P5). Usually a name was changed a moment
// ago, and there is nothing to correct.
func (r *relay) correct(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	m := r.m
	ctx, cancel := context.WithTimeout(ctx, 2*max(relayLimit, m.cfg.SourceTimeout, m.cfg.CacheTimeout))
	defer cancel()
	held := m.cfg.Cache.Load(ctx, m.cfg.Namespace, names)
	truth := m.cfg.Source.Load(ctx, m.cfg.Namespace, names) // after what is held was read
	var fills []tiers.Fill
	var wrong []tiers.Stamp // what each of them replaces
	for i := range names {
		if truth[i].Err != nil {
			return truth[i].Err
		}
		raw, epoch := held[i].Raw, truth[i].Stamp.Epoch
		if c, ok := errors.AsType[*tiers.CorruptError](held[i].Err); ok {
			raw = c.Raw
		} else if held[i].Err != nil || held[i].Stamp == truth[i].Stamp && sumOf(held[i].Record) == sumOf(truth[i].Record) {
			continue
		}
		if raw == nil || !m.marks.admits(epoch) || held[i].Stamp.Epoch > epoch && !m.marks.namesNow(ctx, epoch) {
			continue // or it is this source that lags
		}
		rec := truth[i].Record
		fills = append(fills, tiers.Fill{Record: rec, Replace: raw, TTL: m.keptFor(rec, isMember(rec.Name))})
		wrong = append(wrong, held[i].Stamp)
	}
	if len(fills) == 0 {
		return nil
	}
	var failure error
	for i, res := range m.cfg.Cache.Fill(ctx, m.cfg.Namespace, fills) {
		if failure = errors.Join(failure, res.Err); res.Stored && !fills[i].Stamp.Newer(wrong[i]) {
			m.corrected(fills[i].Name, wrong[i], fills[i].Stamp)
		}
	}
	return failure
}

// corrected counts and logs that the source contradicted a stamp.
func (m *Manager) corrected(name string, held, truth tiers.Stamp) {
	m.stats.corrections.Add(1)
	if held == truth {
		m.cfg.Logger.Warn("fastopt: the source has another value of the stamp that was held: corrected", "option", name, "stamp", held)
		return
	}
	m.cfg.Logger.Warn("fastopt: the source knows nothing so new as was held: corrected", "option", name, "held", held, "source", truth)
}
