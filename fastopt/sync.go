package fastopt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// Offering: records of the source go to the cache as they are, in chunks that
// delay no reader, and only if newer. The relay does it all the time, Sync once.
// What a record means is not asked: it may be of an option that only other
// processes declare.

const (
	chunkLen  = tiers.MaxBatch // fills in one call
	chunkSize = 512 << 10      // bytes of data in one call, unless one record is larger
)

// Sync offers everything that the source holds to the cache, whether this
// process is the relay or not, and whatever Config.Relay says: rows of options
// that nobody declares here, and tombstones, too. After it returned nil, the
// cache holds each row as it was when Sync began, or newer, but for rows that
// it cannot hold, which are logged. It waits for as long as that takes, and
// ends with ctx. ErrConfig: there is no Source or no Cache. ErrUnavailable: a
// tier failed; the cache has what was offered until then.
func (m *Manager) Sync(ctx context.Context) error {
	if m.cfg.Source == nil || m.cfg.Cache == nil {
		return fmt.Errorf("fastopt: sync: %w", because(ErrConfig, "it takes a Source and a Cache"))
	}
	ctx, cancel := context.WithCancel(orEnded(ctx))
	defer cancel()
	var err error
	done := make(chan struct{})
	m.gate.Lock()
	if m.isClosed() {
		m.gate.Unlock()
		return fmt.Errorf("fastopt: sync: %w", ErrClosed)
	}
	m.work.Go(func() {
		defer close(done)
		defer context.AfterFunc(m.ctx, cancel)()
		err = m.syncOnce(ctx)
	})
	m.gate.Unlock()
	<-done
	switch {
	case err == nil:
		return nil
	case m.isClosed():
		err = ErrClosed
	default:
		err = unavailable("tiers", err)
	}
	return fmt.Errorf("fastopt: sync: %w", err)
}

// syncOnce makes one pass, and says what it met that nobody here declares.
func (m *Manager) syncOnce(ctx context.Context) error {
	strangers, example := 0, ""
	err := m.relay.offerAll(ctx, func(r tiers.Record) {
		if r.Kind == tiers.Value && !m.knows(r.Name) {
			strangers, example = strangers+1, r.Name
		}
	})
	if strangers > 0 {
		m.cfg.Logger.Info("fastopt: synced rows of options that are not declared here", "rows", strangers, "one", example)
	}
	return err
}

// knows reports whether name is declared here.
func (m *Manager) knows(name string) bool {
	if m.byName[name] != nil {
		return true
	}
	_, _, err := m.member(name)
	return err == nil
}

var errSilent = errors.New("the source said nothing for too long")

// offerAll offers all rows and tombstones. It ends when the source is silent
// for too long. Half of its time is left to others. look, if not nil, is shown
// each record.
func (r *relay) offerAll(ctx context.Context, look func(tiers.Record)) error {
	if !r.m.marks.current() {
		return errUnmarked // nor need the source be asked for it
	}
	if err := r.refuses(); err != nil {
		return err
	}
	limit := max(relayLimit, r.m.cfg.SourceTimeout)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(limit, func() { cancel(errSilent) })
	defer silent.Stop()
	var chunk []tiers.Record
	size := 0
	flush := func() error {
		silent.Stop()
		start := time.Now()
		_, err := r.offer(ctx, chunk)
		rest(ctx, min(time.Since(start), relayLimit)) // however long this process stood still
		chunk, size = chunk[:0], 0
		silent.Reset(limit)
		return err
	}
	for rec, err := range r.m.cfg.Source.Scan(ctx, r.m.cfg.Namespace) {
		if err != nil && context.Cause(ctx) == errSilent {
			return fmt.Errorf("%w: %w", errSilent, err)
		} else if err != nil {
			return err
		}
		if look != nil {
			look(rec)
		}
		chunk, size = append(chunk, rec), size+len(rec.Data)
		if len(chunk) == chunkLen || size >= chunkSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// offer gives the cache records, and returns a nil error once it has answered for
// all, and of which names it holds something newer.
func (r *relay) offer(ctx context.Context, records []tiers.Record) (ahead []string, err error) {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < chunkLen && (size < chunkSize || n == 0) {
			size += len(records[n].Data)
			n++
		}
		more, err := r.offerSome(ctx, records[:n])
		if err != nil {
			return nil, err
		}
		ahead, records = append(ahead, more...), records[n:]
	}
	return ahead, nil
}

// offerSome is offer for one call of the cache.
func (r *relay) offerSome(ctx context.Context, records []tiers.Record) (ahead []string, err error) {
	m := r.m
	fills := make([]tiers.Fill, len(records))
	for i, rec := range records {
		if !m.marks.admits(rec.Stamp.Epoch) {
			return nil, errUnmarked
		}
		fills[i] = tiers.Fill{Record: rec, TTL: m.keptFor(rec, isMember(rec.Name))}
	}
	point.At(point.RelayFill, m, records[0].Name)
	bound, cancel := context.WithTimeout(ctx, max(relayLimit, m.cfg.CacheTimeout))
	defer cancel()
	for i, res := range m.cfg.Cache.Fill(bound, m.cfg.Namespace, fills) {
		switch {
		case res.Err == nil && res.Stored:
			m.stats.relayFills.Add(1)
		case res.Err == nil && res.Ahead:
			ahead = append(ahead, records[i].Name)
		case res.Err == nil:
		case errors.Is(res.Err, tiers.ErrUnavailable), errors.Is(res.Err, tiers.ErrSetup), bound.Err() != nil:
			err = res.Err
		default: // it concerns this record alone, and would be the same again
			r.refuse(records[i], res.Err)
		}
	}
	return ahead, err
}

// isMember reports whether name is of a family's member, whoever declares it.
func isMember(name string) bool { return strings.Contains(name, "/") }

// refuse counts and logs, once per change, a record that the cache cannot hold.
func (r *relay) refuse(rec tiers.Record, err error) {
	r.mu.Lock()
	known := r.refused[rec.Name] == rec.Stamp || len(r.refused) >= maxDirty // of so many nobody reads more lines
	if !known {
		r.refused[rec.Name] = rec.Stamp
	}
	r.mu.Unlock()
	if !known {
		r.m.stats.relayErrors.Add(1)
		r.m.cfg.Logger.Error("fastopt: the cache cannot hold a row: processes that read it there do not see it", "option", rec.Name, "error", err)
	}
}
