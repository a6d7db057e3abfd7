package tiertest

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Sources with one bug each. Most were made by someone, somewhere.

var sourceBugs = []struct {
	name     string
	caughtBy string
	plant    func() tiers.Source
}{
	{"no row has no stamp", "NoRowIsStampedWithHead", loads(func(r *tiers.Result) {
		if r.NoRow {
			r.Stamp.Revision = 0
		}
	})},
	{"falsy data are absent", "FalsyDataAreValues", loads(func(r *tiers.Result) {
		if s := string(r.Data); s == "null" || s == "false" || s == "0" {
			r.Kind, r.Data = tiers.Absent, nil
		}
	})},
	{"failure is absence", "EndedContextIsNoAnswer", loads(func(r *tiers.Result) {
		if errors.Is(r.Err, tiers.ErrUnavailable) {
			*r = tiers.Result{Record: tiers.Record{Name: r.Name, Kind: tiers.Absent, AsOf: time.Now()}}
		}
	})},
	{"asked later than the answer", "WhatIsSetIsLoaded", loads(func(r *tiers.Result) { r.AsOf = r.AsOf.Add(time.Hour) })},
	{"asked by the wall clock", "WhatIsSetIsLoaded", loads(func(r *tiers.Result) { r.AsOf = r.AsOf.Round(0) })},
	{"delete leaves no tombstone", "ChangesAreThoseAfterSince", func() tiers.Source { return noTombstones{memory.NewSource()} }},
	{"delete leaves no tombstone to scan", "ScanYieldsEachNameOnce", func() tiers.Source { return noTombstones{memory.NewSource()} }},
	{"revision per row", "BatchIsOneRevision", writesSingly},
	{"batch by halves", "BatchIsAllOrNothing", writesSingly},
	{"If is ignored", "IfHoldsOnlyForTheCurrentStamp", ignoresIf},
	{"If of an absence never holds", "IfHoldsForWhatIsStillAbsent", bendsIf(func(s *tiers.Stamp, head tiers.Stamp) {
		*s = tiers.Stamp{Epoch: head.Epoch, Revision: head.Revision + 9}
	})},
	{"If of an absence always holds", "IfHoldsForWhatIsStillAbsent", bendsIf(func(s *tiers.Stamp, _ tiers.Stamp) { *s = tiers.Stamp{} })},
	{"If of an absence takes the future", "IfHoldsForWhatIsStillAbsent", bendsIf(func(s *tiers.Stamp, head tiers.Stamp) {
		if s.Newer(head) {
			*s = head
		}
	})},
	{"If of an absence forgets what was in between", "IfHoldsForWhatIsStillAbsent", bendsIf(func(s *tiers.Stamp, head tiers.Stamp) {
		if s.Epoch == head.Epoch && !s.Newer(head) {
			*s = head
		}
	})},
	{"updates are lost", "ConcurrentUpdatesAreNotLost", ignoresIf},
	{"write is retried", "DeleteIsFinal", func() tiers.Source { return writesTwice{memory.NewSource()} }},
	{"refusal has an unknown outcome", "BadDataIsRefused", func() tiers.Source { return neverSure{memory.NewSource()} }},
	{"row by row", "LoadIsOneInstant", func() tiers.Source { return &rowByRow{memory.NewSource(), make(chan struct{}, 1)} }},
	{"names are trimmed", "NamesAreTakenLiterally", func() tiers.Source { return trimsNames{memory.NewSource()} }},
	{"namespaces are trimmed", "NamespacesAreApart", func() tiers.Source { return trimsNamespaces{memory.NewSource()} }},
	{"page cuts a revision", "ChangesMissNothingOverPages", func() tiers.Source { return cutsPages{memory.NewSource()} }},
	{"scan hides its error", "EndedContextIsNoAnswer", func() tiers.Source { return hidesScanError{memory.NewSource()} }},
	{"watch is silent", "WatchHearsEachChange", func() tiers.Source { return watchWith{memory.NewSource(), onlyAlive} }},
	{"alive overtakes", "AliveComesAfterWhatItCovers", func() tiers.Source { return watchWith{memory.NewSource(), overtakes} }},
	{"alive is said once", "AliveIsHeardAgainAndAgain", func() tiers.Source { return watchWith{memory.NewSource(), aliveOnce} }},
	{"watcher hears other namespaces", "WatchHearsItsNamespaceAlone", func() tiers.Source { return trimsNamespaces{memory.NewSource()} }},
	{"changes skip what came late", "ChangesFollowConcurrentWriters", func() tiers.Source { return skipsLate{memory.NewSource()} }},
}

// edits passes each result of Load through f.
type edits struct {
	tiers.Source
	f func(*tiers.Result)
}

func loads(f func(*tiers.Result)) func() tiers.Source {
	return func() tiers.Source { return edits{memory.NewSource(), f} }
}

func (s edits) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := s.Source.Load(ctx, ns, names)
	for i := range rs {
		s.f(&rs[i])
	}
	return rs
}

type noTombstones struct{ tiers.Source }

func (s noTombstones) Changes(ctx context.Context, ns string, since tiers.Stamp) (tiers.Changes, error) {
	ch, err := s.Source.Changes(ctx, ns, since)
	var rows []tiers.Record
	for _, r := range ch.Records {
		if r.Kind == tiers.Value {
			rows = append(rows, r)
		}
	}
	ch.Records = rows
	return ch, err
}

func (s noTombstones) Scan(ctx context.Context, ns string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		for r, err := range s.Source.Scan(ctx, ns) {
			if r.Kind != tiers.Absent && !yield(r, err) {
				return
			}
		}
	}
}

type singly struct{ tiers.Source }

func writesSingly() tiers.Source { return singly{memory.NewSource()} }

func (s singly) Write(ctx context.Context, ns string, writes []tiers.Write) (stamp tiers.Stamp, err error) {
	stamp, err = s.Source.Write(ctx, ns, nil)
	for _, w := range writes {
		if stamp, err = s.Source.Write(ctx, ns, []tiers.Write{w}); err != nil {
			return stamp, err
		}
	}
	return stamp, err
}

// noIf has the writers meet in pairs that have read the same.
type noIf struct {
	tiers.Source
	meet chan struct{}
}

func ignoresIf() tiers.Source { return noIf{memory.NewSource(), make(chan struct{})} }

func (s noIf) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	for i := range writes {
		if writes[i].If != nil {
			select {
			case s.meet <- struct{}{}:
			case <-s.meet:
			case <-time.After(100 * time.Millisecond):
			}
		}
		writes[i].If = nil
	}
	return s.Source.Write(ctx, ns, writes)
}

// bentIf changes the conditions of names that have no value, given the head.
type bentIf struct {
	tiers.Source
	bend func(at *tiers.Stamp, head tiers.Stamp)
}

func bendsIf(bend func(at *tiers.Stamp, head tiers.Stamp)) func() tiers.Source {
	return func() tiers.Source { return bentIf{memory.NewSource(), bend} }
}

func (s bentIf) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	for i, w := range writes {
		if r := s.Load(ctx, ns, []string{w.Name})[0]; w.If != nil && r.Kind == tiers.Absent {
			at := *w.If
			s.bend(&at, r.Stamp)
			writes[i].If = &at
		}
	}
	return s.Source.Write(ctx, ns, writes)
}

type writesTwice struct{ tiers.Source }

func (s writesTwice) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	stamp, err := s.Source.Write(ctx, ns, writes)
	if err == nil {
		_, err = s.Source.Write(ctx, ns, writes)
	}
	return stamp, err
}

type neverSure struct{ tiers.Source }

func (s neverSure) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	stamp, err := s.Source.Write(ctx, ns, writes)
	if err != nil {
		err = &tiers.WriteError{Outcome: tiers.Unknown, Err: err}
	}
	return stamp, err
}

// rowByRow loads each name for itself, and lets a write in between.
type rowByRow struct {
	tiers.Source
	wrote chan struct{}
}

func (s *rowByRow) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	defer func() {
		select {
		case s.wrote <- struct{}{}:
		default:
		}
	}()
	return s.Source.Write(ctx, ns, writes)
}

func (s *rowByRow) Load(ctx context.Context, ns string, names []string) (rs []tiers.Result) {
	for _, name := range names {
		rs = append(rs, s.Source.Load(ctx, ns, []string{name})...)
		select {
		case <-s.wrote:
		case <-time.After(20 * time.Millisecond):
		}
	}
	return rs
}

type trimsNames struct{ tiers.Source }

func (s trimsNames) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	for i := range writes {
		writes[i].Name = strings.TrimSpace(writes[i].Name)
	}
	return s.Source.Write(ctx, ns, writes)
}

type trimsNamespaces struct{ tiers.Source }

func trimmed(ns string) string { return strings.TrimRight(ns, " x:\n") }

func (s trimsNamespaces) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	return s.Source.Load(ctx, trimmed(ns), names)
}

func (s trimsNamespaces) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	return s.Source.Write(ctx, trimmed(ns), writes)
}

// cutsPages gives full pages of 700 records, wherever a revision ends.
type cutsPages struct{ tiers.Source }

func (s cutsPages) Changes(ctx context.Context, ns string, since tiers.Stamp) (tiers.Changes, error) {
	ch, err := s.Source.Changes(ctx, ns, since)
	if len(ch.Records) > 700 {
		ch.Records = ch.Records[:700]
		ch.Head, ch.More = ch.Records[699].Stamp, true
	}
	return ch, err
}

// skipsLate gives a head that is ahead of its records, as a number drawn
// before the commit is.
type skipsLate struct{ tiers.Source }

func (s skipsLate) Changes(ctx context.Context, ns string, since tiers.Stamp) (tiers.Changes, error) {
	ch, err := s.Source.Changes(ctx, ns, since)
	if len(ch.Records) > 0 {
		ch.Records = ch.Records[1:]
	}
	return ch, err
}

type hidesScanError struct{ tiers.Source }

func (s hidesScanError) Scan(ctx context.Context, ns string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		for r, err := range s.Source.Scan(ctx, ns) {
			if err != nil || !yield(r, nil) {
				return
			}
		}
	}
}

// watchWith bends the sinks of a source's watchers.
type watchWith struct {
	tiers.Source
	bend func(sink func(tiers.Event)) func(tiers.Event)
}

func (s watchWith) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	return s.Source.Watch(ctx, ns, s.bend(sink))
}

func onlyAlive(sink func(tiers.Event)) func(tiers.Event) {
	return func(e tiers.Event) {
		if e.Kind == tiers.Alive {
			sink(e)
		}
	}
}

func aliveOnce(sink func(tiers.Event)) func(tiers.Event) {
	said := false
	return func(e tiers.Event) {
		if e.Kind != tiers.Alive || !said {
			said = said || e.Kind == tiers.Alive
			sink(e)
		}
	}
}

// overtakes announces changes after the Alive that covers them.
func overtakes(sink func(tiers.Event)) func(tiers.Event) {
	var held []tiers.Event
	return func(e tiers.Event) {
		if e.Kind == tiers.Changed {
			held = append(held, e)
			return
		}
		sink(e)
		for _, h := range held {
			sink(h)
		}
		held = nil
	}
}
