package fastopt

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Loading: one flight per key and token, however many ask. Flights belong to
// the library: their deadline is its own, a caller may leave, and the answer is
// published all the same. Flights started together travel in one batch, so
// that any number of options costs one round trip per tier; a few batches may
// be under way at once, so that a slow one delays no other key.

const maxBatches = 4

// A loader runs the flights of one manager.
type loader struct {
	m     *Manager
	group singleflight.Group // who waits for which flight

	mu      sync.Mutex
	flights map[string]*flight // guarded by mu: newest flight per key, until it lands
	queue   []*flight          // guarded by mu: not yet in a batch
	batches int                // guarded by mu: under way
	closed  bool               // guarded by mu
}

// A flight is one load of one key.
type flight struct {
	k      *key
	token  uint64 // immutable: before the request
	dirty  uint64 // immutable: k.dirtied before the request
	done   chan struct{}
	err    error // written before done is closed
	blind  bool  // written before it lands: the cache was not asked or did not answer, and will announce nothing
	landed sync.Once
}

// start starts or joins the flight of each key. The channels give a *flight
// that has landed.
func (l *loader) start(keys ...*key) []<-chan singleflight.Result {
	waits := make([]<-chan singleflight.Result, len(keys))
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, k := range keys {
		waits[i] = l.boardLocked(k)
	}
	l.dispatchLocked()
	return waits
}

// join is start for who looked before, and found k not fresh since token and no
// reason to wait. If a flight has landed between the look and now, its outcome
// counts, and wait is nil.
func (l *loader) join(k *key, token uint64) (wait <-chan singleflight.Result, err error) {
	point.At(point.FlightJoin, l.m, k.full)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flights[k.full] == nil {
		if k.readingSince(token).State == Fresh {
			return nil, nil
		}
		if failure := k.lastErr.Load(); failure != nil && k.retryAt.Load() > l.m.now() {
			return nil, *failure
		}
	}
	wait = l.boardLocked(k)
	l.dispatchLocked()
	return wait, nil
}

// boardLocked starts or joins the flight of k. One that began before the last
// push to its key is not joined (R7): it is forgotten, and lands for those who
// wait already.
func (l *loader) boardLocked(k *key) <-chan singleflight.Result {
	f, token := l.flights[k.full], k.token()
	if f == nil || f.token != token {
		f = &flight{k: k, token: token, dirty: k.dirtied.Load(), done: make(chan struct{})}
		if l.closed {
			f.err = ErrClosed
			close(f.done)
		} else {
			l.flights[k.full] = f
			l.queue = append(l.queue, f)
			k.due.Store(never) // until it lands
		}
		l.group.Forget(k.full)
	}
	// The function must run no user code: a panic in it would end the process,
	// and a Goexit would leave its waiters for ever. It is called only for f:
	// while f is in flights, under mu, the call that waits for it has not ended.
	return l.group.DoChan(k.full, func() (any, error) { <-f.done; return f, nil })
}

// dispatchLocked sends what is queued, unless enough batches are under way.
func (l *loader) dispatchLocked() {
	for len(l.queue) > 0 && l.batches < maxBatches {
		n := min(len(l.queue), tiers.MaxBatch)
		fs := l.queue[:n:n]
		l.queue = l.queue[n:]
		l.batches++
		l.m.work.Go(func() { l.run(fs) })
	}
}

// run carries out one batch.
func (l *loader) run(fs []*flight) {
	wants := l.askCache(fs)
	l.askSource(wants)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches--
	l.dispatchLocked()
}

// land ends a flight.
func (l *loader) land(f *flight, asked int64, err error) {
	f.landed.Do(func() {
		if f.err = err; err == nil {
			f.k.succeeded(asked, f.token, f.blind)
		} else {
			f.k.failed(err)
		}
		l.mu.Lock()
		if l.flights[f.k.full] == f {
			delete(l.flights, f.k.full)
		}
		l.mu.Unlock()
		close(f.done)
		l.m.refresher.poke()
	})
}

// close lets nothing start any more, and ends what never got into a batch.
func (l *loader) close() {
	l.mu.Lock()
	queue := l.queue
	l.queue, l.closed = nil, true
	l.mu.Unlock()
	for _, f := range queue {
		l.land(f, 0, ErrClosed)
	}
}

// A want is a flight that the cache did not settle.
type want struct {
	*flight
	cause    error  // what the cache said; nil: it was not asked
	dirtyKey bool   // it was not asked because the cache may be behind
	fill     bool   // the cache is to get the source's answer
	replace  []byte // … in place of exactly these bytes, if not nil
}

// askCache asks the cache for all flights, publishes what it knows, and returns
// the rest.
func (l *loader) askCache(fs []*flight) []want {
	m := l.m
	var wants []want
	var ask []*flight
	var names []string
	for _, f := range fs {
		switch {
		case m.cfg.Cache == nil:
			wants = append(wants, want{flight: f})
		case m.cfg.Source != nil && f.dirty != f.k.cleaned.Load():
			f.blind = true
			wants = append(wants, want{flight: f, fill: true, dirtyKey: true}) // (I15, I16)
		default:
			ask, names = append(ask, f), append(names, f.k.full)
		}
	}
	if len(ask) == 0 {
		return wants
	}
	point.At(point.FlightSend, m, names[0])
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.CacheTimeout)
	start := m.now()
	results := m.cfg.Cache.Load(ctx, m.cfg.Namespace, names)
	cancel()
	m.cache.observe(worst(results))
	for i, f := range ask {
		wants = l.cacheSaid(wants, f, results[i], start)
	}
	return wants
}

// cacheSaid publishes one result of the cache, or adds it to wants.
func (l *loader) cacheSaid(wants []want, f *flight, r tiers.Result, start int64) []want {
	w := want{flight: f, cause: r.Err, fill: true}
	if r.Err == nil {
		l.m.stats.cacheHits.Add(1)
		if f.k.userCode && r.Kind == tiers.Value {
			l.m.work.Go(func() { // may take its time, or never end: alone
				if err := l.settle(f, r.Record, start, Cache); err != nil {
					w.cause = err
					l.askSource([]want{w})
				}
			})
			return wants
		}
		if w.cause = l.settle(f, r.Record, start, Cache); w.cause == nil {
			return wants
		}
		return append(wants, w)
	}
	l.m.stats.cacheMisses.Add(1)
	if c, ok := errors.AsType[*tiers.CorruptError](r.Err); ok {
		l.m.stats.corrupt.Add(1)
		w.replace = c.Raw
	}
	w.fill = !errors.Is(r.Err, tiers.ErrForeign)
	f.blind = w.fill && !errors.Is(r.Err, tiers.ErrMiss)
	return append(wants, w)
}

// askSource asks the source for all wants, publishes its answers, and offers
// them to the cache.
func (l *loader) askSource(wants []want) {
	m := l.m
	if len(wants) == 0 {
		return
	}
	if m.cfg.Source == nil {
		for _, w := range wants {
			l.land(w.flight, 0, l.withoutSource(w))
		}
		return
	}
	names := make([]string, len(wants))
	for i, w := range wants {
		names[i] = w.k.full
	}
	point.At(point.FlightSend, m, names[0])
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.SourceTimeout)
	start := m.now()
	results := m.cfg.Source.Load(ctx, m.cfg.Namespace, names)
	cancel()
	m.source.observe(worst(results))
	m.stats.sourceLoads.Add(1)
	var fills []filling
	var unanswered []want
	for i, w := range wants {
		r := results[i]
		switch {
		case r.Err != nil:
			w.cause = errors.Join(r.Err, w.cause)
			unanswered = append(unanswered, w)
		case w.k.userCode && r.Kind == tiers.Value:
			m.work.Go(func() { m.fill(l.sourceSaid(nil, w, r.Record, start)) })
		default:
			fills = l.sourceSaid(fills, w, r.Record, start)
		}
	}
	l.liveOn(unanswered)
	for _, w := range unanswered {
		l.land(w.flight, 0, unavailable("source", w.cause))
	}
	m.fill(fills)
}

// liveOn keeps dirty keys usable while the source does not answer, as the
// cache's answer does for all others (D6): for want of the source's word it is
// not fresh, but it is no reason to fall to a default either.
func (l *loader) liveOn(unanswered []want) {
	m := l.m
	dirty := slices.DeleteFunc(slices.Clone(unanswered), func(w want) bool { return !w.dirtyKey })
	if len(dirty) == 0 {
		return
	}
	names := make([]string, len(dirty))
	for i, w := range dirty {
		names[i] = w.k.full
	}
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.CacheTimeout)
	defer cancel()
	start := m.now()
	for i, r := range m.cfg.Cache.Load(ctx, m.cfg.Namespace, names) {
		k := dirty[i].k
		a := m.answerOf(r.Record, start, Cache) // with no token: never fresh
		if r.Err == nil && k.knows(r.Record, &a) {
			k.install(&a)
		}
	}
}

// sourceSaid publishes one answer of the source and adds what the cache is to
// get to fills: nothing invalid.
func (l *loader) sourceSaid(fills []filling, w want, rec tiers.Record, start int64) []filling {
	l.settle(w.flight, rec, start, Source)
	if l.m.cfg.Cache == nil || !w.fill || w.k.cell.load().tier().err != nil {
		w.k.clean(w.dirty)
		return fills
	}
	return append(fills, filling{k: w.k, rec: rec, replace: w.replace, dirty: w.dirty})
}

// errBehind: the cache holds less than this process knows already.
var errBehind = errors.New("cache is behind")

// settle decodes and publishes one record and lands the flight. If the cache's
// record is of no use but the source could tell better, it returns why and
// leaves the flight in the air.
func (l *loader) settle(f *flight, rec tiers.Record, start int64, from Origin) error {
	m, k := l.m, f.k
	a := m.answerOf(rec, start, from)
	a.token = f.token
	known := k.knows(rec, &a)
	if !known {
		a.value, a.err = m.decode(k, rec)
	}
	if a.err != nil && !known && from == Cache && m.cfg.Source != nil {
		return a.err
	}
	point.At(point.FlightSettle, m, k.full)
	out := k.install(&a)
	if out == refused && from == Cache {
		m.stats.behind.Add(1)
		if m.cfg.Source != nil {
			return errBehind // the source will tell
		}
	}
	if out == changed && a.err != nil {
		m.rejected(k, a.err)
	}
	l.land(f, a.asked, nil)
	return nil
}

// answerOf is an answer that is not yet decoded, and of no token.
func (m *Manager) answerOf(rec tiers.Record, start int64, from Origin) answer {
	a := answer{rec: rec, origin: from, asked: start}
	if !rec.AsOf.IsZero() {
		a.asked = m.instant(rec.AsOf)
	}
	return a
}

// knows reports whether the key's entry stems from the very bytes of rec, so
// that they need not be decoded again, and completes a from it.
func (k *key) knows(rec tiers.Record, a *answer) bool {
	if rec.Kind == tiers.Absent {
		return true
	}
	m := k.cell.load().tier()
	if m.key != k || m.seen != rec.Stamp || m.sum != sumOf(rec) || m.err == nil && m.kind != kindValue {
		return false
	}
	a.value, a.err = m.boxed, m.err
	return true
}

// withoutSource is the error of a flight that nobody could settle.
func (l *loader) withoutSource(w want) error {
	if w.cause == nil {
		return ErrUnavailable
	}
	return unavailable("cache", w.cause)
}

// decode decodes rec on a goroutine that it may panic on, or end.
func (m *Manager) decode(k *key, rec tiers.Record) (any, error) {
	size := max(len(rec.Data), rec.Oversize)
	if size > m.cfg.MaxValue {
		return nil, because(ErrTooLarge, "it has %d bytes, the limit is %d", size, m.cfg.MaxValue)
	}
	if !k.userCode {
		return k.decode(rec.Data)
	}
	var v any
	err := because(ErrInvalidValue, "the decoder or Check ended its goroutine")
	done := make(chan struct{})
	m.work.Go(func() {
		defer close(done)
		v, err = k.decode(rec.Data)
	})
	<-done
	return v, err
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
