package fastopt_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers"
)

// Whose values a snapshot holds (I22): stamps of another database, or of a
// history from which it was set back, outrank nothing.

// A snapshot of another database, whose stamps are higher, locks nothing out: not
// the source's values, not the process' own writes; and it is not read on.
func TestI22ASnapshotOfAnotherDatabaseIsNotUsed(t *testing.T) {
	high := tiers.Stamp{Epoch: 9, Revision: 1 << 40}
	foreign := func(id tiers.Identity) snapshot.Snapshot {
		return snapshot.Snapshot{Header: snapshot.Header{Namespace: "default", Written: time.Now(), Home: id},
			Entries: []snapshot.Entry{{Name: "foo", Type: "int", Kind: tiers.Value, Data: []byte("666"), Stamp: high}}}
	}
	inSnapshotWorlds(t, func(t *testing.T, w *world, cfg fastopt.Config) {
		mine, err := cfg.Source.Identity(ctx)
		must(t, err)
		other, restored, copied := mine, mine, mine
		other.Lineage, other.Epoch = "another", 9
		restored.Epoch, copied.System, copied.Epoch = 9, "elsewhere", 9
		if w.db != nil { // a history from which the database went back
			w.db.who.Timeline = 3
		} else {
			restored = other // memory has no timelines
		}
		for _, id := range []tiers.Identity{other, restored, copied} {
			w.sql("foo", "1")
			store(t, cfg, foreign(id))
			w.dark()
			a := saving(w, cfg, fastopt.Spec[int]{})
			want(t, a.foo.Inspect(), 666, fastopt.Stale, fastopt.Snapshot) // nobody could know
			w.light()
			time.Sleep(2 * time.Second)
			r := a.foo.Inspect()
			want(t, r, 1, fastopt.Fresh, r.Origin)
			if set(t, a.foo, 2); a.foo.Get() != 2 {
				t.Errorf("Get gives %d", a.foo.Get())
			}
			if n := len(w.log.lines("the snapshot is not used", "another database")); n != 1 {
				t.Errorf("%d lines", n)
			}
			if a.Ready() != nil || a.Stats().Corrections != 0 {
				t.Errorf("Ready: %v, %d corrections", a.Ready(), a.Stats().Corrections)
			}
			must(t, a.Close())
			if s := stored(t, cfg); s.Home.Lineage != mine.Lineage || string(s.Entries[0].Data) != "2" {
				t.Errorf("%+v", s)
			}
			if _, err := os.Stat(cfg.Snapshot + ".bad"); err != nil {
				t.Error(err)
			}
			w.log.clear()
		}
	})
}

// The process' own write is its first word with the source: it is read, whatever
// the stamp of a foreign snapshot.
func TestI22AWriteIsNotOutrankedByAForeignSnapshot(t *testing.T) {
	inSnapshotWorlds(t, func(t *testing.T, w *world, cfg fastopt.Config) {
		store(t, cfg, snapshot.Snapshot{Header: snapshot.Header{Namespace: "default", Written: time.Now(), Home: tiers.Identity{Lineage: "another", Epoch: 9}},
			Entries: []snapshot.Entry{{Name: "foo", Type: "int", Kind: tiers.Value, Data: []byte("666"), Stamp: tiers.Stamp{Epoch: 9}}}})
		w.dark()
		cfg.StartTimeout = time.Millisecond // no time for a breaker to open
		a := saving(w, cfg, fastopt.Spec[int]{})
		if _, err := a.foo.Set(ctx, 1); !errors.Is(err, fastopt.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		w.source.Heal(faults.Identity, faults.Write)
		set(t, a.foo, 1)
		if r := a.foo.Inspect(); a.foo.Get() != 1 || r.Origin != fastopt.Write {
			t.Errorf("%+v", r)
		}
	})
}

// A source that does not say whose database it is, is not believed; one that
// falls back to an older epoch as a former primary is behind.
func TestI22AFormerPrimaryIsBehindTheSnapshot(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		cfg.Cache = nil
		w.sql("foo", "1")
		a := saving(w, cfg, fastopt.Spec[int]{})
		zombie := w.promote(map[string]string{"foo": "2"})
		time.Sleep(15 * time.Second)
		want(t, a.foo.Inspect(), 2, fastopt.Fresh, fastopt.Source)
		must(t, a.Close())
		if s := stored(t, cfg); s.Home.Epoch != 2 || s.Home.Timeline != 2 {
			t.Errorf("the file is of %+v", s.Home)
		}
		cfg.Source = zombie
		b := saving(w, cfg, fastopt.Spec[int]{})
		time.Sleep(2 * time.Second)
		want(t, b.foo.Inspect(), 2, fastopt.Stale, fastopt.Snapshot)
	})
}

// Without a source and a mark nobody could tell whose file it is: then it is no floor.
func TestI22WhatNobodyCanVerifyIsNoFloor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		cfg.Source = nil
		store(t, cfg, snapshot.Snapshot{Header: snapshot.Header{Namespace: "default", Written: time.Now(), Home: tiers.Identity{Lineage: "another", Epoch: 9}},
			Entries: []snapshot.Entry{{Name: "foo", Type: "int", Kind: tiers.Value, Data: []byte("666"), Stamp: tiers.Stamp{Epoch: 9}}}})
		w.dark()
		a := saving(w, cfg, fastopt.Spec[int]{})
		want(t, a.foo.Inspect(), 666, fastopt.Stale, fastopt.Snapshot)
		next := make(chan fastopt.Reading[int], 8)
		go func() {
			for r := range a.foo.Watch(ctx) {
				next <- r
			}
			close(next)
		}()
		<-next
		w.poison("foo", "1", tiers.Stamp{Epoch: 1, Revision: 1})
		w.light()
		time.Sleep(2 * time.Second)
		want(t, a.foo.Inspect(), 1, fastopt.Fresh, fastopt.Cache)
		want(t, <-next, 1, fastopt.Fresh, fastopt.Cache) // watchers hear of it
	})
}

// A mark of another lineage is enough to drop it, before the cache's records are judged.
func TestI22AMarkOfAnotherDatabaseDropsTheSnapshot(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		w.putMark(tiers.Mark{Identity: tiers.Identity{Lineage: "lineage", System: "production", Timeline: 1, Database: "app", Epoch: 1}, Fed: 1})
		w.poison("foo", "1", tiers.Stamp{Epoch: 1, Revision: 1})
		store(t, cfg, snapshot.Snapshot{Header: snapshot.Header{Namespace: "default", Written: time.Now(), Home: tiers.Identity{Lineage: "another", Epoch: 9}},
			Entries: []snapshot.Entry{{Name: "foo", Type: "int", Kind: tiers.Value, Data: []byte("666"), Stamp: tiers.Stamp{Epoch: 9}}}})
		w.sourceFails()
		w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
		a := saving(w, cfg, fastopt.Spec[int]{})
		time.Sleep(time.Second)
		want(t, a.foo.Inspect(), 1, fastopt.Fresh, fastopt.Cache)
	})
}
