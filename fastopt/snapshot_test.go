package fastopt_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/snapshot"
)

// Snapshots: a process that starts while no tier answers reads what the one
// before it knew, as old news (I22).

// dark makes both tiers silent; light ends it.
func (w *world) dark() {
	w.allFail()
	w.cache.Cut()
	w.source.Cut()
	w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
	for _, op := range []faults.Op{faults.Lease, faults.Mark, faults.PutMark} {
		w.cache.Inject(op, faults.Fault{Err: errDown})
	}
}

func (w *world) light() {
	w.heal()
	w.cache.Reconnect()
	w.source.Reconnect()
}

// A saver is a process with a snapshot and one option.
type saver[T any] struct {
	*fastopt.Manager
	foo *fastopt.Option[T]
}

// saving opens a saver, which the test closes or leaves to its end.
func saving[T any](w *world, cfg fastopt.Config, spec fastopt.Spec[T]) saver[T] {
	w.t.Helper()
	var r fastopt.Registry
	spec.Name = "foo"
	foo := fastopt.Declare(&r, spec)
	return saver[T]{w.open(cfg, &r), foo}
}

func (w *world) snapshotConfig() fastopt.Config {
	cfg := w.config()
	cfg.Snapshot = filepath.Join(w.t.TempDir(), "snapshot")
	return cfg
}

// inSnapshotWorlds runs f with marks and without, with a cache and without.
func inSnapshotWorlds(t *testing.T, f func(t *testing.T, w *world, cfg fastopt.Config)) {
	t.Run("marked cache", func(t *testing.T) {
		inMarkedWorld(t, func(t *testing.T, w *world) { f(t, w, w.snapshotConfig()) })
	})
	t.Run("unmarked cache", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) { f(t, w, w.snapshotConfig()) })
	})
	t.Run("no cache", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			cfg := w.snapshotConfig()
			cfg.Cache = nil
			f(t, w, cfg)
		})
	})
}

// stored is what the file holds.
func stored(t *testing.T, cfg fastopt.Config) snapshot.Snapshot {
	t.Helper()
	raw, err := os.ReadFile(cfg.Snapshot)
	must(t, err)
	s, err := snapshot.Decode(raw, cfg.SnapshotKey)
	must(t, err)
	return s
}

// store puts a file there.
func store(t *testing.T, cfg fastopt.Config, s snapshot.Snapshot) {
	t.Helper()
	raw, err := snapshot.Encode(s, nil)
	must(t, err)
	must(t, os.WriteFile(cfg.Snapshot, raw, 0o600))
}

func TestI22AStartInTheDarkServesTheSnapshot(t *testing.T) {
	inSnapshotWorlds(t, func(t *testing.T, w *world, cfg fastopt.Config) {
		a := saving(w, cfg, fastopt.Spec[string]{Default: "d"})
		rc := set(t, a.foo, "v")
		time.Sleep(time.Second)
		if s := stored(t, cfg); len(s.Entries) != 1 || string(s.Entries[0].Data) != `"v"` || s.Entries[0].Stamp != rc.Stamp || s.Home.Lineage == "" || s.Namespace != "default" {
			t.Errorf("a second after the change the file holds %+v", s)
		}
		must(t, a.Close())
		w.dark()
		time.Sleep(5 * time.Second)

		b := saving(w, cfg, fastopt.Spec[string]{Default: "d"})
		want(t, b.foo.Inspect(), "v", fastopt.Stale, fastopt.Snapshot)
		if r := b.foo.Inspect(); b.foo.Get() != "v" || r.Stamp != rc.Stamp || r.Age < 5*time.Second || r.Age > 13*time.Second {
			t.Errorf("%+v", r)
		}
		if err := b.Ready(); !errors.Is(err, fastopt.ErrUnavailable) || errors.Is(err, fastopt.ErrSnapshot) {
			t.Errorf("Ready: %v", err)
		}
		if n := len(w.log.lines("start from the snapshot", "options=1")); n != 1 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(10 * time.Second)
		before := stored(t, cfg).Written
		must(t, b.Close())
		if !stored(t, cfg).Written.Equal(before) {
			t.Error("written though no tier has confirmed anything")
		}

		c := saving(w, cfg, fastopt.Spec[string]{Default: "d"})
		want(t, c.foo.Inspect(), "v", fastopt.Stale, fastopt.Snapshot)
		w.light()
		time.Sleep(2 * time.Second)
		if r := c.foo.Inspect(); r.Value != "v" || r.State != fastopt.Fresh || r.Origin == fastopt.Snapshot || r.Stamp != rc.Stamp {
			t.Errorf("%+v", r)
		}
		if err := c.Ready(); err != nil || c.Stats().Conflicts != 0 {
			t.Errorf("Ready: %v, %d conflicts", err, c.Stats().Conflicts)
		}
	})
}

// It ages by the wall clock as if there had been no restart, and falls to the
// default when it would have.
func TestI22ASnapshotIsUsableNoLongerThanWithoutTheRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		a := saving(w, cfg, fastopt.Spec[int]{})
		set(t, a.foo, 1)
		asked := time.Now().Add(-a.foo.Inspect().Age)
		w.dark()
		must(t, a.Close())
		time.Sleep(40 * time.Second)
		for range 3 { // restarts renew nothing
			b := saving(w, cfg, fastopt.Spec[int]{})
			want(t, b.foo.Inspect(), 1, fastopt.Stale, fastopt.Snapshot)
			must(t, b.Close())
		}
		b := saving(w, cfg, fastopt.Spec[int]{})
		left := time.Until(asked.Add(70 * time.Second))
		if left <= 0 {
			t.Fatalf("%v left", left)
		}
		time.Sleep(left - time.Nanosecond)
		synctest.Wait()
		want(t, b.foo.Inspect(), 1, fastopt.Stale, fastopt.Snapshot)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		want(t, b.foo.Inspect(), 0, fastopt.Expired, fastopt.Default)
		if b.foo.Get() != 0 {
			t.Error("Get gives it still")
		}
		must(t, b.Close())

		c := saving(w, cfg, fastopt.Spec[int]{})
		want(t, c.foo.Inspect(), 0, fastopt.Unloaded, fastopt.Default)
		if len(w.log.lines("start from the snapshot", "too old")) == 0 {
			t.Error("nobody said so")
		}
		must(t, c.Close())
		d := saving(w, cfg, fastopt.Spec[int]{Grace: fastopt.Forever})
		time.Sleep(30 * time.Minute)
		want(t, d.foo.Inspect(), 1, fastopt.Stale, fastopt.Snapshot)
	})
}

// R30: the snapshot has v3 and the tiers have v9. It is never fresh, and v9 wins;
// what a cache still has from before is no news.
func TestR30TheSnapshotIsNeverFreshAndNeverWins(t *testing.T) {
	inSnapshotWorlds(t, func(t *testing.T, w *world, cfg fastopt.Config) {
		a := saving(w, cfg, fastopt.Spec[int]{})
		set(t, a.foo, 3)
		time.Sleep(time.Second)
		must(t, a.Close())
		w.sql("foo", "9") // nobody carries it into the cache
		w.dark()
		b := saving(w, cfg, fastopt.Spec[int]{})
		want(t, b.foo.Inspect(), 3, fastopt.Stale, fastopt.Snapshot)
		w.light()
		b.foo.Load(ctx)
		w.store.Flush()
		time.Sleep(12 * time.Second)
		want(t, b.foo.Inspect(), 9, fastopt.Fresh, fastopt.Source)
	})
}

// Its stamp is a floor: an older record of a cache is not read, and the source
// is asked.
func TestI22AnOlderCacheDoesNotReplaceTheSnapshot(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		inMarkedWorld(t, func(t *testing.T, w *world) {
			cfg := w.snapshotConfig()
			old := w.sql("foo", "1")
			a := saving(w, cfg, fastopt.Spec[int]{})
			rc := set(t, a.foo, 2)
			time.Sleep(time.Second)
			must(t, a.Close())
			w.store.Flush()
			w.poison("foo", "1", old)
			if deaf {
				w.sourceFails()
				w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
			}
			b := saving(w, cfg, fastopt.Spec[int]{})
			time.Sleep(2 * time.Second)
			r := b.foo.Inspect()
			if deaf {
				want(t, r, 2, fastopt.Stale, fastopt.Snapshot)
			} else {
				want(t, r, 2, fastopt.Fresh, r.Origin)
			}
			if r.Stamp != rc.Stamp {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Absent is an answer, also in the file.
func TestI22AbsentIsKept(t *testing.T) {
	inSnapshotWorlds(t, func(t *testing.T, w *world, cfg fastopt.Config) {
		a := saving(w, cfg, fastopt.Spec[int]{Default: 7})
		set(t, a.foo, 1)
		must(t, second(a.foo.Delete(ctx)))
		time.Sleep(time.Second)
		must(t, a.Close())
		w.dark()
		b := saving(w, cfg, fastopt.Spec[int]{Default: 8})
		want(t, b.foo.Inspect(), 8, fastopt.Stale, fastopt.Default)
		w.light()
		time.Sleep(2 * time.Second)
		want(t, b.foo.Inspect(), 8, fastopt.Fresh, fastopt.Default)
		if err := b.Ready(); err != nil {
			t.Error(err)
		}
		set(t, b.foo, 2)
		settle() // the push of that
		want(t, b.foo.Inspect(), 2, fastopt.Fresh, b.foo.Inspect().Origin)
	})
}

// clear forgets all lines.
func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.b.Reset()
}

// However young it is, and though no channel says that anything may have been
// missed, it is not fresh, and the tiers are asked.
func TestR30AYoungSnapshotIsNotFreshEither(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		a := saving(w, cfg, fastopt.Spec[int]{})
		set(t, a.foo, 3)
		must(t, a.Close())
		w.sql("foo", "9")
		w.store.Flush()
		w.cache.Freeze()
		w.source.Inject(faults.Load, faults.Fault{Delay: 100 * time.Millisecond})
		began := make(chan fastopt.Reading[int], 1)
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", 0)
		time.AfterFunc(50*time.Millisecond, func() { began <- foo.Inspect() })
		w.open(cfg, &r)
		want(t, <-began, 3, fastopt.Stale, fastopt.Snapshot)
		want(t, foo.Inspect(), 9, fastopt.Fresh, fastopt.Source)
	})
}

// What a cache repeats of it while the source is silent about a doubtful write is
// the cache's word, though no news.
func TestI22WhatACacheRepeatsIsTheCaches(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		a := saving(w, cfg, fastopt.Spec[int]{})
		set(t, a.foo, 3)
		must(t, a.Close())
		w.dark()
		cfg.StartTimeout = time.Millisecond // no time for a breaker to open
		b := saving(w, cfg, fastopt.Spec[int]{})
		w.source.Heal(faults.Identity)
		w.source.Inject(faults.Write, faults.Fault{Hang: true})
		if _, err := b.foo.Set(ctx, 4); !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		want(t, b.foo.Inspect(), 3, fastopt.Stale, fastopt.Snapshot)
		w.cache.Heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		want(t, b.foo.Inspect(), 3, fastopt.Stale, fastopt.Cache)
	})
}
