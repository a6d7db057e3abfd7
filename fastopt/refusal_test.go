package fastopt_test

import (
	"errors"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Whose cache it is: another database's is not used; that of the database which
// this one is a copy of, not while somebody feeds it (P11).

var foreignMark = tiers.Mark{Identity: tiers.Identity{Lineage: "another", System: "other", Timeline: 1, Database: "db", Epoch: 3}, Fed: 50}

func TestOpenRefusesAnotherDatabasesCache(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.putMark(foreignMark)
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "d")
		_, err := fastopt.Open(ctx, w.config(), &r)
		for _, text := range []string{"another database", "lineage another, not lineage", "another key prefix or namespace", "delete the keys of this namespace"} {
			if !errors.Is(err, tiers.ErrSetup) || !contains(err, text) {
				t.Errorf("%v does not say %q", err, text)
			}
		}
		if n := w.cache.Calls(faults.Load) + w.cache.Calls(faults.Fill) + w.cache.Calls(faults.Lease); n != 0 {
			t.Errorf("%d calls of it", n)
		}
		w.store.Flush()
		w.open(w.config(), &r) // the registry was given back
		want(t, foo.Inspect(), "d", fastopt.Fresh, fastopt.Default)
	})
}

// A cache that becomes another database's while processes run: they live from
// the source, say so once, and use the cache again when it is right.
func TestACacheThatBecomesAnotherDatabasesIsLeftAlone(t *testing.T) {
	for _, remedy := range []string{"the mark is put right", "the keys are deleted"} {
		t.Run(remedy, func(t *testing.T) {
			inMarkedWorld(t, func(t *testing.T, w *world) {
				relay := w.openRelay()
				foo, m := process(w, "foo", "")
				bar, _ := process(w, "bar", "")
				set(t, foo, "v1")
				time.Sleep(2 * time.Second)
				right := w.mark()
				w.putMark(foreignMark)
				w.poison("foo", `"theirs"`, tiers.Stamp{Epoch: 3, Revision: 70})
				time.Sleep(3 * time.Second)
				used := func() int64 {
					return w.cache.Calls(faults.Load) + w.cache.Calls(faults.Fill) + w.cache.Calls(faults.Lease)
				}
				calls := used()
				if rc := set(t, foo, "v2"); rc.Cached {
					t.Error("cached in another database's cache")
				}
				w.sql("bar", `"w"`)
				if err := m.Ready(); !errors.Is(err, tiers.ErrSetup) || !contains(err, "another database") {
					t.Errorf("Ready: %v", err)
				}
				time.Sleep(20 * time.Second)
				want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Write)
				want(t, bar.Inspect(), "w", fastopt.Fresh, fastopt.Source)
				if n := used() - calls; n != 0 {
					t.Errorf("%d calls of it", n)
				}
				if w.mark() != foreignMark || w.cached("foo") != `"theirs"` {
					t.Errorf("it was changed: %+v, %q", w.mark(), w.cached("foo"))
				}
				if s := m.Stats(); s.Dirty != 0 || s.Epoch != 1 {
					t.Errorf("%+v", s)
				}
				if remedy == "the keys are deleted" {
					w.store.Flush()
					if time.Sleep(4 * time.Second); w.mark() != (tiers.Mark{}) {
						t.Errorf("%+v, at once", w.mark())
					}
				} else {
					w.putMark(right)
				}
				time.Sleep(14 * time.Second) // a loss is waited out: it was another's a moment ago
				must(t, m.Ready())
				must(t, relay.Ready())
				if w.cached("foo") != `"v2"` || w.cached("bar") != `"w"` {
					t.Errorf("the cache holds %q and %q", w.cached("foo"), w.cached("bar"))
				}
				want(t, foo.Inspect(), "v2", fastopt.Fresh, foo.Inspect().Origin)
				if no, yes := len(w.log.lines("the cache is not used")), len(w.log.lines("the cache is used again")); no != 3 || yes != 3 { // one per process
					t.Errorf("%d and %d lines", no, yes)
				}
			})
		})
	}
}

// staging gives a source with rows of production's lineage in an installation
// of its own.
func (w *world) staging() (*database, *faults.Historian) {
	rows := memory.NewSource()
	must(w.t, second(rows.Write(ctx, "default", []tiers.Write{{Name: "foo", Data: []byte(`"staging"`)}})))
	who := production
	who.System = "staging"
	db := newDatabase(rows, who)
	return db, faults.NewHistorian(db)
}

// A restored copy on production's cache: refused as long as production feeds
// it, whatever the copy writes meanwhile; taken over once nobody does, in an
// epoch above the one found there.
func TestACopyTakesACacheOverOnlyOnceNobodyFeedsIt(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.rows.StepEpoch()
		w.rows.StepEpoch()
		w.sql("foo", `"production"`)
		relay := w.openRelay()
		theirs, mt := process(w, "foo", "")
		time.Sleep(time.Second)

		db, source := w.staging()
		cfg := w.config()
		cfg.Source, cfg.Relay = source, fastopt.Auto
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		busy := fastopt.New(&r, "busy", 0)
		m := w.open(cfg, &r)
		want(t, foo.Inspect(), "staging", fastopt.Fresh, fastopt.Source)
		if err := m.Ready(); !errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup) || !contains(err, "a copy of (system production, not staging)") {
			t.Errorf("Ready: %v", err)
		}
		lines, scans := len(w.log.lines("")), source.Calls(faults.Scan)
		for i := range 30 {
			set(t, busy, i)
			time.Sleep(time.Second)
		}
		if l, s := len(w.log.lines(""))-lines, source.Calls(faults.Scan)-scans; l > 0 || s > 40 {
			t.Errorf("%d lines and %d scans in 30 s of waiting", l, s)
		}
		if w.mark().System != "production" || w.cached("foo") != `"production"` || w.cached("busy") != "" {
			t.Fatalf("the copy wrote into it: %+v, %q, %q", w.mark(), w.cached("foo"), w.cached("busy"))
		}
		want(t, theirs.Inspect(), "production", fastopt.Fresh, theirs.Inspect().Origin)
		must(t, mt.Ready())
		if len(db.learned()) != 0 {
			t.Errorf("learned %+v of a history that goes on", db.learned())
		}

		must(t, relay.Close())
		still := w.mark()
		for i := range 8 {
			set(t, busy, 100+i)
			if time.Sleep(time.Second); i < 3 && w.mark() != still {
				t.Fatalf("taken over after %d s", i+1)
			}
		}
		if id := w.mark().Identity; id.System != "staging" || id.Epoch != 4 {
			t.Fatalf("not taken over: %+v", id)
		}
		if heard := db.learned(); len(heard) != 1 || heard[0] != still.Identity {
			t.Errorf("learned %+v", heard)
		}
		must(t, m.Ready())
		time.Sleep(3 * time.Second)
		if w.cached("foo") != `"staging"` || w.cached("busy") != "107" {
			t.Errorf("the cache holds %q and %q", w.cached("foo"), w.cached("busy"))
		}
		want(t, foo.Inspect(), "staging", fastopt.Fresh, foo.Inspect().Origin)
		if foo.Inspect().Stamp.Epoch != 4 || m.Stats().Epoch != 4 {
			t.Errorf("%+v", foo.Inspect())
		}
		// Now production is the stranger there.
		if err := mt.Ready(); !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("production: %v", err)
		}
		time.Sleep(10 * time.Second)
		want(t, theirs.Inspect(), "production", fastopt.Fresh, theirs.Inspect().Origin)
	})
}

// A process that only reads the cache knows its database by the first mark.
func TestAProcessWithoutASourceRefusesAnotherDatabasesCache(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		relay := w.openRelay()
		time.Sleep(time.Second)
		cfg := w.config()
		cfg.Source = nil
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "d")
		m := w.open(cfg, &r)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		must(t, relay.Close())
		time.Sleep(20 * time.Second) // nobody could tell better
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		if !m.Stats().CacheFed {
			t.Error("left alone, though there is no source")
		}
		was := w.mark()
		w.putMark(foreignMark)
		w.poison("foo", `"theirs"`, tiers.Stamp{Epoch: 3, Revision: 70})
		time.Sleep(15 * time.Second)
		if r := foo.Inspect(); r.Value != "v" || r.State != fastopt.Stale || !errors.Is(r.Err, fastopt.ErrUnavailable) || !contains(r.Err, "another database") {
			t.Errorf("%+v", r)
		}
		if err := m.Ready(); !errors.Is(err, tiers.ErrSetup) {
			t.Errorf("%v", err)
		}
		if set, err := m.IsSet(ctx, "foo"); set || !errors.Is(err, fastopt.ErrUnavailable) {
			t.Errorf("IsSet %v, %v: by another database's word", set, err)
		}
		w.store.Flush()
		w.putMark(was)
		rec := tiers.Record{Name: "foo", Kind: tiers.Value, Data: []byte(`"v2"`), Stamp: tiers.Stamp{Epoch: 1, Revision: 2}}
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: rec}})
		time.Sleep(3 * time.Second)
		want(t, foo.Inspect(), "v2", fastopt.Fresh, fastopt.Cache)
		must(t, m.Ready())
	})
}
