package tiertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A sourceCheck breaks if a source does not keep the promise it is named after.
type sourceCheck struct {
	name string
	run  func(p *sourceProbe)
}

var sourceChecks = []sourceCheck{
	{"IdentityIsStableAndItsEpochIsInStamps", identityIsStable},
	{"WhatIsSetIsLoaded", whatIsSetIsLoaded},
	{"NothingAskedNothingAnswered", nothingAsked},
	{"BatchIsOneRevision", batchIsOneRevision},
	{"BatchIsAllOrNothing", batchIsAllOrNothing},
	{"NoRowIsStampedWithHead", noRowIsStampedWithHead},
	{"DeleteIsFinal", deleteIsFinal},
	{"DeleteOfAbsentStepsNothing", deleteOfAbsentStepsNothing},
	{"StampsGrowAcrossDeletes", stampsGrowAcrossDeletes},
	{"IfHoldsOnlyForTheCurrentStamp", ifHolds},
	{"IfHoldsForWhatIsStillAbsent", ifHoldsForAbsence},
	{"NamesAreTakenLiterally", namesAreTakenLiterally},
	{"BadNamesAreRefused", badNamesAreRefused},
	{"FalsyDataAreValues", falsyDataAreValues},
	{"BadDataIsRefused", badDataIsRefused},
	{"LongestDataIsKept", longestDataIsKept},
	{"LoadKeepsOrder", loadKeepsOrder},
	{"LoadFailsPerName", loadFailsPerName},
	{"NamespacesAreApart", namespacesAreApart},
	{"LoadIsOneInstant", loadIsOneInstant},
	{"ConcurrentWritesAreOrdered", concurrentWritesAreOrdered},
	{"ConcurrentUpdatesAreNotLost", concurrentUpdatesAreNotLost},
	{"EndedContextIsNoAnswer", sourceContextEnded},
	{"ChangesAreThoseAfterSince", changesAreThoseAfterSince},
	{"ChangesOfAnotherEpochReset", changesOfAnotherEpoch},
	{"ChangesMissNothingOverPages", changesMissNothingOverPages},
	{"ChangesFollowConcurrentWriters", changesFollowConcurrentWriters},
	{"ScanYieldsEachNameOnce", scanYieldsEachNameOnce},
	{"ScanMayBeLeft", scanMayBeLeft},
	{"WatchHearsEachChange", sourceWatchHears},
	{"WatchHearsItsNamespaceAlone", sourceWatchIsApart},
	{"AliveComesAfterWhatItCovers", sourceAliveCovers},
	{"AliveIsHeardAgainAndAgain", sourceAliveRepeats},
	{"SlowWatcherDelaysNobody", sourceSlowWatcher},
	{"WatchEndsWithItsContext", sourceWatchEnds},
}

// A sourceProbe is a probe of a source, with calls that must succeed.
type sourceProbe struct {
	*probe
	source tiers.Source
}

func (p *sourceProbe) write(writes ...tiers.Write) tiers.Stamp {
	p.Helper()
	stamp, err := p.source.Write(p.ctx, p.ns, writes)
	if err != nil {
		p.Fatalf("write of %d names: %v", len(writes), err)
	}
	if stamp.Epoch == 0 {
		p.Fatalf("write gives stamp %v, without an epoch", stamp)
	}
	return stamp
}

func (p *sourceProbe) set(name, data string) tiers.Stamp {
	p.Helper()
	return p.write(tiers.Write{Name: name, Data: []byte(data), Actor: "tiertest", Reason: "a check"})
}

func (p *sourceProbe) delete(name string) tiers.Stamp {
	p.Helper()
	return p.write(tiers.Write{Name: name, Delete: true})
}

// refused makes writes that must be refused, and returns why they were.
func (p *sourceProbe) refused(what string, writes ...tiers.Write) error {
	p.Helper()
	_, err := p.source.Write(p.ctx, p.ns, writes)
	var w *tiers.WriteError
	switch {
	case err == nil:
		p.Fatalf("%s: written", what)
	case !errors.As(err, &w):
		p.Fatalf("%s: the error is no *WriteError: %v", what, err)
	case w.Outcome != tiers.NotApplied:
		p.Fatalf("%s: surely refused, but said to be %v", what, w.Outcome)
	}
	return err
}

// load returns the records of names, each of which must be answered.
func (p *sourceProbe) load(names ...string) []tiers.Record {
	p.Helper()
	start := time.Now()
	rs := p.source.Load(p.ctx, p.ns, names)
	if len(rs) != len(names) {
		p.Fatalf("%d results for %d names", len(rs), len(names))
	}
	records := make([]tiers.Record, len(rs))
	for i, r := range rs {
		p.checkResult(r, names[i], start, 0)
		if r.Err != nil {
			p.Fatalf("load %q: %v", names[i], r.Err)
		}
		records[i] = r.Record
	}
	return records
}

// holds loads name, whose value must be data as of stamp.
func (p *sourceProbe) holds(name, data string, stamp tiers.Stamp) {
	p.Helper()
	r := p.load(name)[0]
	switch {
	case r.Kind != tiers.Value:
		p.Fatalf("load %q: %v, want a value", name, r.Kind)
	case !sameJSON(r.Data, []byte(data)):
		p.Fatalf("load %q: another value than was set", name)
	case r.Stamp != stamp:
		p.Fatalf("load %q: stamp %v, the write returned %v", name, r.Stamp, stamp)
	}
}

// absent loads name, which must have no value.
func (p *sourceProbe) absent(name string) tiers.Record {
	p.Helper()
	r := p.load(name)[0]
	if r.Kind != tiers.Absent {
		p.Fatalf("load %q: %v, want absent", name, r.Kind)
	}
	return r
}

// head is the stamp of the newest change: no row ever has this name.
func (p *sourceProbe) head() tiers.Stamp {
	p.Helper()
	return p.absent("no row of this name").Stamp
}

// step is the stamp of the transaction after s.
func step(s tiers.Stamp) tiers.Stamp {
	s.Revision++
	return s
}

// sameJSON reports whether a and b say the same: a source may keep the meaning
// of a text, not its spaces.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := decode(a)
	y, errY := decode(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

func decode(data []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}
