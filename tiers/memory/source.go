// Package memory keeps options in the memory of one process: a Source and a
// Cache that are the reference for every other store, and the default where
// none is at hand. Nothing outlives the process.
//
// Each store is guarded by one mutex, which is never held while a caller's
// code runs; a call waits for that mutex alone, so for no longer than others
// copy. Neither forgets names by itself: a Source keeps tombstones, and a Cache
// expired entries, as long as it lives. Both work inside synctest bubbles.
package memory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fastopt/fastopt-go/tiers"
)

// A Source is a tiers.Source in memory. Its revision counts the batches that
// changed something, per namespace; its epoch grows by StepEpoch and Learn alone.
type Source struct {
	lineage string // immutable

	mu     sync.Mutex
	epoch  uint32            // guarded by mu; at least 1
	least  uint32            // guarded by mu; the epoch below which nothing is answered
	spaces map[string]*space // guarded by mu
	hub    hub               // guarded by mu
}

// space is one namespace of a Source.
type space struct {
	head  uint64         // revision of the last batch that changed something
	rows  map[string]Row // and tombstones
	right chan struct{}  // nil before somebody stood for it
}

// A Row is what a Source keeps of one name, as a look into a table would show
// it. Data is read-only.
type Row struct {
	Data      []byte
	Deleted   bool // a tombstone: Data is nil
	Revision  uint64
	UpdatedAt time.Time
	Actor     string
	Reason    string
}

// NewSource returns an empty source of a new, random lineage, in epoch 1.
func NewSource() *Source {
	s := &Source{lineage: rand.Text(), epoch: 1, spaces: map[string]*space{}}
	s.hub = newHub(&s.mu)
	return s
}

// Row returns the row or tombstone of name.
func (s *Source) Row(namespace, name string) (Row, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row, ok := s.spaceLocked(namespace).rows[name]
	return row, ok
}

// Load is tiers.Source's. An invalid name is an error for that name alone.
func (s *Source) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	asOf := time.Now()
	if err := refuses(ctx, namespace); err != nil {
		return failAll(names, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.outrunLocked(); err != nil {
		return failAll(names, err)
	}
	sp := s.spaceLocked(namespace)
	rs := make([]tiers.Result, len(names))
	for i, name := range names {
		if err := tiers.CheckName(name); err != nil {
			rs[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: err}
			continue
		}
		row, ok := sp.rows[name]
		if !ok || row.Deleted {
			head := tiers.Stamp{Epoch: s.epoch, Revision: sp.head}
			rs[i].Record = tiers.Record{Name: name, Kind: tiers.Absent, NoRow: true, Stamp: head, AsOf: asOf}
			continue
		}
		rs[i].Record = s.recordLocked(name, row, asOf)
	}
	return rs
}

// Write is tiers.Source's. Setting a value to what it is counts as a change.
func (s *Source) Write(ctx context.Context, namespace string, writes []tiers.Write) (tiers.Stamp, error) {
	if err := refuses(ctx, namespace); err != nil {
		return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
	}
	if err := checkWrites(writes); err != nil {
		return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.outrunLocked(); err != nil {
		return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
	}
	sp := s.spaceLocked(namespace)
	for _, w := range writes {
		if w.If != nil && !s.holdsLocked(sp, w.Name, *w.If) {
			err := fmt.Errorf("write %q: %w", w.Name, tiers.ErrConflict)
			return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
		}
	}
	next, now := sp.head+1, time.Now()
	for _, w := range writes {
		if old, ok := sp.rows[w.Name]; w.Delete && (!ok || old.Deleted) {
			continue
		}
		row := Row{Deleted: w.Delete, Revision: next, UpdatedAt: now, Actor: w.Actor, Reason: w.Reason}
		if !w.Delete {
			row.Data = slices.Clone(w.Data)
		}
		sp.rows[w.Name] = row
		sp.head = next
		s.hub.changedLocked(namespace, w.Name)
	}
	return tiers.Stamp{Epoch: s.epoch, Revision: sp.head}, nil
}

// Watch is tiers.Source's.
func (s *Source) Watch(ctx context.Context, namespace string, sink func(tiers.Event)) error {
	return s.hub.watch(ctx, namespace, sink)
}

func (s *Source) spaceLocked(namespace string) *space {
	sp := s.spaces[namespace]
	if sp == nil {
		sp = &space{rows: map[string]Row{}}
		s.spaces[namespace] = sp
	}
	return sp
}

// recordLocked is what row says of name in the present epoch.
func (s *Source) recordLocked(name string, row Row, asOf time.Time) tiers.Record {
	r := tiers.Record{Name: name, Kind: tiers.Value, Data: row.Data, AsOf: asOf}
	r.Stamp = tiers.Stamp{Epoch: s.epoch, Revision: row.Revision}
	if row.Deleted {
		r.Kind = tiers.Absent
	}
	return r
}

// holdsLocked reports whether Write.If holds for name. Tombstones are kept for
// ever, so what has none was never written.
func (s *Source) holdsLocked(sp *space, name string, at tiers.Stamp) bool {
	row, ok := sp.rows[name]
	switch {
	case ok && !row.Deleted:
		return at == tiers.Stamp{Epoch: s.epoch, Revision: row.Revision}
	case at.IsZero():
		return true
	}
	return at.Epoch == s.epoch && row.Revision <= at.Revision && at.Revision <= sp.head
}

func checkWrites(writes []tiers.Write) error {
	if len(writes) > tiers.MaxBatch {
		return fmt.Errorf("batch has %d writes, the limit is %d", len(writes), tiers.MaxBatch)
	}
	seen := make(map[string]bool, len(writes))
	for _, w := range writes {
		if err := tiers.CheckName(w.Name); err != nil {
			return fmt.Errorf("write %q: %w", w.Name, err)
		}
		if seen[w.Name] {
			return fmt.Errorf("write %q: named twice in one batch", w.Name)
		}
		seen[w.Name] = true
		if w.Delete {
			continue
		}
		if err := checkData(w.Data); err != nil {
			return fmt.Errorf("write %q: %w", w.Name, err)
		}
	}
	return nil
}

func checkData(data []byte) error {
	switch {
	case len(data) > tiers.MaxData:
		return fmt.Errorf("data has %d bytes, the limit is %d", len(data), tiers.MaxData)
	case !utf8.Valid(data) || !json.Valid(data):
		return fmt.Errorf("data is no JSON text")
	}
	return nil
}

// refuses returns why no call for namespace can be answered under ctx.
func refuses(ctx context.Context, namespace string) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	return ended(ctx)
}

func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", tiers.ErrUnavailable, context.Cause(ctx))
	}
	return nil
}

func failAll(names []string, err error) []tiers.Result {
	rs := make([]tiers.Result, len(names))
	for i, name := range names {
		rs[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: err}
	}
	return rs
}
