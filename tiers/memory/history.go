package memory

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// The history of a source is its rows and tombstones: Scan gives them by name,
// Changes by revision. Nothing is ever compacted.

// pageSize is the number of records in a page of Changes. No batch is larger,
// so a page holds at least one whole revision.
const pageSize = 2 * tiers.MaxBatch

// Scan is tiers.Source's. It is a snapshot of the instant at which ranging
// begins.
func (s *Source) Scan(ctx context.Context, namespace string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		if err := refuses(ctx, namespace); err != nil {
			yield(tiers.Record{}, err)
			return
		}
		records, err := s.records(namespace)
		if err != nil {
			yield(tiers.Record{}, err)
			return
		}
		for _, r := range records {
			if err := ended(ctx); err != nil {
				yield(tiers.Record{}, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// records returns everything known of a namespace, in the order of names.
func (s *Source) records(namespace string) ([]tiers.Record, error) {
	asOf := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.outrunLocked(); err != nil {
		return nil, err
	}
	rows := s.spaceLocked(namespace).rows
	records := make([]tiers.Record, 0, len(rows))
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		records = append(records, s.recordLocked(name, rows[name], asOf))
	}
	return records, nil
}

// Changes is tiers.Source's. Records of one revision are never split over two
// pages.
func (s *Source) Changes(ctx context.Context, namespace string, since tiers.Stamp) (tiers.Changes, error) {
	asOf := time.Now()
	if err := refuses(ctx, namespace); err != nil {
		return tiers.Changes{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.outrunLocked(); err != nil {
		return tiers.Changes{}, err
	}
	sp := s.spaceLocked(namespace)
	head := tiers.Stamp{Epoch: s.epoch, Revision: sp.head}
	if since.Epoch != s.epoch {
		return tiers.Changes{Head: head, Reset: true}, nil
	}
	var records []tiers.Record
	for name, row := range sp.rows {
		if row.Revision > since.Revision {
			records = append(records, s.recordLocked(name, row, asOf))
		}
	}
	slices.SortFunc(records, func(a, b tiers.Record) int {
		return cmp.Or(a.Stamp.Compare(b.Stamp), cmp.Compare(a.Name, b.Name))
	})
	if len(records) <= pageSize {
		return tiers.Changes{Records: records, Head: head}, nil
	}
	end := pageSize
	for records[end-1].Stamp == records[end].Stamp {
		end--
	}
	return tiers.Changes{Records: records[:end:end], Head: records[end-1].Stamp, More: true}, nil
}
