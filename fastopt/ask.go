package fastopt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Asking: one batch of flights, first through the cache; what it does not
// settle, through the source, whose answers then fill the cache.

// A question is a flight that the cache did not settle.
type question struct {
	*flight
	cause   error         // what the cache said; nil: it was not asked
	doubt   bool          // it was not asked because it may be behind
	fill    bool          // it is to get the source's answer
	replace []byte        // … in place of exactly these bytes, if not nil
	said    *tiers.Record // … or of this record of it, if the source contradicts that
	unfed   *answer       // what it said, if it counts only where the source cannot tell
}

var (
	errCacheMiss = fmt.Errorf("cache: %w", tiers.ErrMiss)

	errUnfed = errors.New("nobody feeds it")
	errEpoch = errors.New("its entry is of another history")
	errOlder = errors.New("it answers of an older history than is known")
)

// askCache asks the cache for all flights, publishes what it knows, and returns
// the rest.
func (l *loader) askCache(fs []*flight) []question {
	m := l.m
	var rest []question
	ask := fs[:0] // fs is the batch's own
	for _, f := range fs {
		switch {
		case m.marks.use() == nil:
			rest = append(rest, question{flight: f, cause: m.marks.refused()})
		case m.cfg.Source != nil && !f.k.isClean():
			f.blind = true
			rest = append(rest, question{flight: f, fill: true, doubt: true}) // (I15, I16)
		default:
			ask = append(ask, f)
		}
	}
	results, start := m.loadFromCache(ask)
	sure := m.marks.lookFor(results)
	for i, f := range ask {
		rest = l.cacheSaid(rest, f, &results[i], start, sure)
	}
	return rest
}

// loadFromCache returns the cache's results for flights, and the instant before
// it was asked.
func (m *Manager) loadFromCache(fs []*flight) ([]tiers.Result, int64) {
	if len(fs) == 0 {
		return nil, 0
	}
	names := make([]string, len(fs))
	for i, f := range fs {
		names[i] = f.k.full
	}
	point.At(point.FlightSend, m, names[0])
	start := m.now()
	leave, err := m.cache.enter()
	if err != nil {
		return failedAll(names, err), start
	}
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.CacheTimeout)
	defer cancel()
	results := m.cfg.Cache.Load(ctx, m.cfg.Namespace, names)
	leave(worst(results))
	return results, start
}

// failedAll is the outcome of a call that was not made.
func failedAll(names []string, err error) []tiers.Result {
	results := make([]tiers.Result, len(names))
	for i, name := range names {
		results[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: err}
	}
	return results
}

// cacheSaid publishes one result of the cache, or adds it to the rest. sure: what
// is known of the mark is newer than the result, if that matters.
func (l *loader) cacheSaid(rest []question, f *flight, r *tiers.Result, start int64, sure bool) []question {
	q := question{flight: f, fill: true}
	if r.Err != nil {
		q.cause = errCacheMiss
		if r.Err != tiers.ErrMiss {
			q.cause = fmt.Errorf("cache: %w", r.Err)
		}
		l.m.stats.cacheMisses.Add(1)
		if c, ok := errors.AsType[*tiers.CorruptError](r.Err); ok {
			l.m.stats.corrupt.Add(1)
			q.replace = c.Raw
		}
		q.fill = !errors.Is(r.Err, tiers.ErrForeign)
		f.blind = q.fill && !errors.Is(r.Err, tiers.ErrMiss)
		return append(rest, q)
	}
	l.m.stats.cacheHits.Add(1)
	q.said = &r.Record
	a := l.m.answerOf(f, r.Record, start, Cache)
	switch marks := &l.m.marks; {
	case !marks.knows(r.Stamp.Epoch):
		q.cause = errEpoch
		switch {
		case !marks.unheard(r.Stamp.Epoch):
		case marks.marked.Load() == 0:
			q.said, q.unfed = nil, a.kept() // the source may be behind: what is there is the relay's concern
		case !sure:
			q.said = nil
		}
		return append(rest, q)
	case !marks.fed():
		q.cause, q.unfed = errUnfed, a.kept()
		return append(rest, q)
	}
	if f.k.mayLinger(&a) {
		l.settleAlone(q, a)
		return rest
	}
	return l.settleOrAsk(rest, q, &a)
}

// settleOrAsk settles q by what the cache said, or adds it to the rest.
func (l *loader) settleOrAsk(rest []question, q question, a *answer) []question {
	if q.cause = l.settle(q.flight, a); q.cause == nil {
		return rest
	}
	if q.cause == errBehind {
		q.unfed = a.kept()
	}
	return append(rest, q)
}

// kept returns a copy of a that outlives the batch.
func (a answer) kept() *answer { return &a }

// settleAlone settles what the cache said, a, whose decoding runs code of the
// user, on a goroutine of its own.
func (l *loader) settleAlone(q question, a answer) {
	l.m.work.Go(func() { l.askSource(l.settleOrAsk(nil, q, &a)) })
}

// askSource asks the source for all questions, but for those that another
// process asks for, as soon as the budget allows.
func (l *loader) askSource(qs []question) {
	if qs = l.lease(qs); len(qs) == 0 {
		return
	}
	if l.m.cfg.Source == nil {
		for _, q := range qs {
			l.land(q.flight, 0, fmt.Errorf("%w: %w", ErrUnavailable, q.cause))
		}
		return
	}
	l.queueUp(qs)
}

// ask asks the source for all questions, publishes its answers, and offers them
// to the cache.
func (l *loader) ask(qs []question) {
	m := l.m
	names := make([]string, len(qs))
	for i, q := range qs {
		names[i] = q.k.full
	}
	point.At(point.FlightSend, m, names[0])
	leave, err := m.source.enter()
	if err != nil {
		l.sourceSilent(qs, err)
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.SourceTimeout)
	start := m.now()
	results := m.cfg.Source.Load(ctx, m.cfg.Namespace, names)
	cancel()
	leave(worst(results))
	m.stats.sourceLoads.Add(1)
	unsure := m.snapshot.verify(m.ctx)
	var fills []filling
	var silent, slow []question
	var late []answer // for slow
	for i, q := range qs {
		err := results[i].Err
		if err == nil && !m.marks.answered(results[i].Stamp.Epoch) {
			err = errOlder
		}
		if err == nil {
			err = unsure
		}
		if err != nil {
			q.cause = and(err, q.cause)
			silent = append(silent, q)
			continue
		}
		if a := m.answerOf(q.flight, results[i].Record, start, Source); q.k.mayLinger(&a) {
			slow, late = append(slow, q), append(late, a)
		} else {
			fills = l.sourceSaid(fills, q, &a)
		}
	}
	fills = append(fills, l.settleApart(slow, late)...)
	l.sourceSilent(silent, nil)
	m.fill(m.ctx, fills)
}

// sourceSilent lands what the source did not answer. why is the reason of all, if
// not nil.
func (l *loader) sourceSilent(qs []question, why error) {
	l.liveOn(qs)
	for _, q := range qs {
		silent := unavailable("source", and(why, q.cause))
		switch {
		case q.unfed == nil:
			l.land(q.flight, 0, silent)
		case q.k.mayLinger(q.unfed):
			l.m.work.Go(func() { l.liveOnUnfed(q, silent) })
		default:
			l.liveOnUnfed(q, silent)
		}
	}
}

// and is both errors in one line; either may be nil.
func and(a, b error) error {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return fmt.Errorf("%w; %w", a, b)
}

// liveOnUnfed settles q by what the cache said: while the source does not
// answer, nothing newer can be committed that is not there (D6).
func (l *loader) liveOnUnfed(q question, silent error) {
	if l.settle(q.flight, q.unfed) != nil {
		q.k.outlast(q.unfed)
		l.land(q.flight, 0, silent)
	}
}

// settleApart settles answers whose decoding runs code of the user, each on a
// goroutine of its own. It returns the fills of those that are quick, for one
// batch; a laggard fills for itself.
func (l *loader) settleApart(qs []question, as []answer) (fills []filling) {
	if len(qs) == 0 {
		return nil
	}
	settled := make(chan []filling) // without room: what it takes is filled
	patience := time.NewTimer(l.m.cfg.CacheTimeout)
	defer patience.Stop()
	over := make(chan struct{})
	defer close(over)
	for i, q := range qs {
		l.m.work.Go(func() {
			mine := l.sourceSaid(nil, q, &as[i])
			select {
			case <-over:
				l.m.fill(l.m.ctx, mine)
			case settled <- mine:
			}
		})
	}
	for range qs {
		select {
		case more := <-settled:
			fills = append(fills, more...)
		case <-patience.C:
			return fills
		}
	}
	return fills
}

// sourceSaid publishes one answer of the source and adds to fills what the cache
// is to get: nothing invalid.
func (l *loader) sourceSaid(fills []filling, q question, a *answer) []filling {
	l.settle(q.flight, a)
	if l.m.marks.use() == nil || !q.fill || a.err != nil {
		q.k.clean(q.dirty)
		return fills
	}
	rec := a.rec
	switch contradicted := q.contradicted(rec); {
	case contradicted:
		q.replace = q.said.Raw
	case q.said != nil && q.said.Stamp == rec.Stamp:
		q.k.clean(q.dirty)
		return fills // it has it
	}
	if q.doubt {
		// A repair is to leave the newest stamp there: an older "absent" would
		// let the late fill of a value deleted since come back (I9).
		rec.NoRow = false
	}
	return append(fills, filling{k: q.k, rec: rec, asked: a.asked, replace: q.replace, dirty: q.dirty})
}

// contradicted reports whether what the cache said is no commit of the source's:
// asked after that had been read, it knows nothing so new, or it gives that stamp
// to other bytes (P5).
func (q question) contradicted(rec tiers.Record) bool {
	switch {
	case q.said == nil:
		return false
	case q.said.Stamp.Epoch != rec.Stamp.Epoch: // by its mark nobody has begun such a history
		return q.cause == errEpoch && q.said.Stamp.Newer(rec.Stamp)
	case q.said.Stamp == rec.Stamp:
		return sumOf(*q.said) != sumOf(rec)
	}
	return q.said.Stamp.Newer(rec.Stamp)
}

// liveOn lets the cache keep what is known of doubtful keys usable while the
// source does not answer, as its answers do for all others (D6): for want of
// the source's word what it repeats is no news, but no reason to fall to a default
// either.
func (l *loader) liveOn(silent []question) {
	var doubtful []*flight
	for _, q := range silent {
		if q.doubt {
			doubtful = append(doubtful, q.flight)
		}
	}
	results, start := l.m.loadFromCache(doubtful)
	for i, f := range doubtful {
		if results[i].Err != nil || !l.m.marks.knows(results[i].Stamp.Epoch) {
			continue
		}
		a := l.m.answerOf(f, results[i].Record, start, Cache)
		a.token = neverFresh // whatever was pushed: it is not fresher for this
		if !a.known || f.k.install(&a) == refused {
			f.k.outlast(&a)
		}
	}
}

// worst returns the error that says most about the tier, nil if it answered.
func worst(results []tiers.Result) error {
	for _, r := range results {
		if r.Err == nil || errors.Is(r.Err, tiers.ErrMiss) || errors.Is(r.Err, tiers.ErrForeign) {
			return nil
		}
	}
	if len(results) == 0 {
		return nil
	}
	return results[0].Err
}
