package tiertest

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Compacters with one bug each, and read-only sources that are not.

// A forgetful source hides what it has compacted. It is right as it is; the fields
// make it wrong. It serves one check at a time.
type forgetful struct {
	*memory.Source
	hidden  map[string]tiers.Stamp // by namespace and name
	horizon map[string]uint64      // by namespace

	noHorizon, anyAge, anyCondition, anyNamespace, stepsHead bool
}

func newForgetful() *forgetful {
	return &forgetful{Source: memory.NewSource(), hidden: map[string]tiers.Stamp{}, horizon: map[string]uint64{}}
}

func (s *forgetful) Compact(ctx context.Context, ns string, olderThan time.Duration) (n int, err error) {
	if olderThan < 0 {
		return 0, fmt.Errorf("compact: olderThan is negative")
	}
	if s.anyNamespace {
		ns = strings.TrimSuffix(ns, " x")
	}
	for r := range s.Scan(ctx, ns) {
		row, _ := s.Row(ns, r.Name)
		if r.Kind == tiers.Value || !s.anyAge && time.Since(row.UpdatedAt) < olderThan {
			continue
		}
		s.hidden[ns+"\x00"+r.Name] = r.Stamp
		s.horizon[ns] = max(s.horizon[ns], r.Stamp.Revision)
		n++
	}
	if s.stepsHead && n > 0 {
		_, err = s.Source.Write(ctx, ns, []tiers.Write{{Name: "compacted", Data: []byte("1")}})
	}
	return n, err
}

func (s *forgetful) hides(ns string, r tiers.Record) bool {
	stamp, ok := s.hidden[ns+"\x00"+r.Name]
	return ok && stamp == r.Stamp
}

func (s *forgetful) Scan(ctx context.Context, ns string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		for r, err := range s.Source.Scan(ctx, ns) {
			if !s.hides(ns, r) && !yield(r, err) {
				return
			}
		}
	}
}

func (s *forgetful) Changes(ctx context.Context, ns string, since tiers.Stamp) (tiers.Changes, error) {
	ch, err := s.Source.Changes(ctx, ns, since)
	if err == nil && since.Revision < s.horizon[ns] && !s.noHorizon {
		return tiers.Changes{Head: ch.Head, Reset: true}, nil
	}
	var kept []tiers.Record
	for _, r := range ch.Records {
		if !s.hides(ns, r) {
			kept = append(kept, r)
		}
	}
	ch.Records = kept
	return ch, err
}

func (s *forgetful) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	for i, w := range writes {
		row, ok := s.Row(ns, w.Name)
		if w.If == nil || w.If.IsZero() || ok && !row.Deleted {
			continue
		}
		switch {
		case s.anyCondition:
			writes[i].If = &tiers.Stamp{}
		case w.If.Revision < s.horizon[ns]:
			return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: tiers.ErrConflict}
		}
	}
	return s.Source.Write(ctx, ns, writes)
}

var compactBugs = []struct {
	name     string
	caughtBy string
	bug      func(*forgetful)
}{
	{"nobody is told", "CompactIsToldToWhoAsksFromBefore", func(s *forgetful) { s.noHorizon = true }},
	{"young deletes are forgotten", "CompactForgetsOldDeletesAlone", func(s *forgetful) { s.anyAge = true }},
	{"compacting is a change", "CompactForgetsOldDeletesAlone", func(s *forgetful) { s.stepsHead = true }},
	{"conditions hold below the horizon", "WhatWasForgottenIsNoCondition", func(s *forgetful) { s.anyCondition = true }},
	{"other namespaces are compacted", "CompactIsApart", func(s *forgetful) { s.anyNamespace = true }},
}

func TestChecksCatchBrokenCompacters(t *testing.T) {
	for _, bug := range compactBugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			check := named(t, compactChecks, bug.caughtBy, func(c compactCheck) string { return c.name })
			right, wrong := newForgetful(), newForgetful()
			bug.bug(wrong)
			if broken := judge(func(p *probe) { check.run(&sourceProbe{p, right}, right) }); broken != "" {
				t.Errorf("%s does not hold for a source without this bug: %s", bug.caughtBy, broken)
			}
			caught := judge(func(p *probe) { check.run(&sourceProbe{p, wrong}, wrong) })
			if caught == "" {
				t.Fatalf("%s holds for a source with this bug", bug.caughtBy)
			}
			t.Log(caught)
		})
	}
}

// grudging refuses writes as something else than read-only.
type grudging struct {
	tiers.Source
	err error
}

func (s grudging) Write(context.Context, string, []tiers.Write) (tiers.Stamp, error) {
	return tiers.Stamp{}, s.err
}

func (s grudging) Elect(ctx context.Context, _ string, _ func(context.Context)) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestChecksCatchReadersThatAreNone(t *testing.T) {
	s := memory.NewSource()
	for what, bug := range map[string]struct {
		caughtBy string
		reader   tiers.Source
	}{
		"it writes":             {"ReaderChangesNothing", s},
		"it leads":              {"ReaderNeverLeads", s},
		"it stands for ever":    {"ReaderNeverLeads", grudging{s, nil}},
		"its refusal is a pity": {"ReaderChangesNothing", grudging{s, &tiers.WriteError{Outcome: tiers.NotApplied, Err: tiers.ErrUnavailable}}},
		"its refusal is unsure": {"ReaderChangesNothing", grudging{s, &tiers.WriteError{Err: tiers.ErrReadOnly}}},
		"another store":         {"ReaderReads", memory.NewSource().ReadOnly()},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			check := named(t, readOnlyChecks, bug.caughtBy, func(c readOnlyCheck) string { return c.name })
			caught := judge(func(p *probe) {
				ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
				defer cancel()
				p.ctx = ctx
				check.run(&sourceProbe{p, bug.reader}, &sourceProbe{p, s})
			})
			if caught == "" {
				t.Fatalf("%s holds for a reader with this bug", bug.caughtBy)
			}
			t.Log(caught)
		})
	}
}
