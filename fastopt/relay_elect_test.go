package fastopt_test

import (
	"errors"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Who is the relay, and who takes over.

func TestTheNextProcessTakesOverFromAClosedRelay(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		_, ma := process(w, "foo", "")
		b, mb := process(w, "foo", "")
		c, mc := process(w, "foo", "")
		all := []*fastopt.Manager{ma, mb, mc}
		first := leads(t, 0, all...)
		must(t, all[first].Close())
		w.sql("foo", `"v"`) // while nobody may lead
		rest := append(all[:first:first], all[first+1:]...)
		leads(t, 500*time.Millisecond, rest...)
		if n := relays(all...); n != 1 {
			t.Errorf("%d relays", n)
		}
		time.Sleep(500 * time.Millisecond)
		for i, o := range []*fastopt.Option[string]{b, c} {
			if i+1 != first {
				want(t, o.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
			}
		}
		if first != 0 {
			t.Errorf("the first to open does not lead, but %d", first)
		}
		if is, was := len(w.log.lines("this process is the relay\"")), len(w.log.lines("the relay no longer")); is != 2 || was != 1 {
			t.Errorf("%d and %d lines", is, was)
		}
	})
}

// A relay that cannot do its work lets another one try.
func TestARelayThatFailsForLongStepsBack(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		mine := faults.NewCache(w.store) // the first process' own way to the cache
		cfg.Cache = mine
		var r fastopt.Registry
		fastopt.New(&r, "foo", "")
		first := w.open(cfg, &r)
		second, m := process(w, "foo", "")
		if !first.Stats().Relay {
			t.Fatal("the first does not lead")
		}
		mine.Inject(faults.Fill, faults.Fault{Hang: true})
		w.sql("foo", `"v"`)
		time.Sleep(14 * time.Second)
		if first.Stats().Relay || !m.Stats().Relay {
			t.Error("no change of the relay")
		}
		want(t, second.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
	})
}

func TestRelayNeverNeverLeads(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "") // of a world without
		w.sql("foo", `"v"`)
		time.Sleep(time.Minute)
		if m.Stats().Relay || w.source.Calls(faults.Elect) != 0 || w.source.Calls(faults.Changes) != 0 {
			t.Error("it leads, or stands")
		}
		want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default)
		w.relay = fastopt.Auto
		_, other := process(w, "foo", "")
		time.Sleep(200 * time.Millisecond)
		if !other.Stats().Relay || m.Stats().Relay {
			t.Error("the wrong one leads")
		}
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
	})
}

func TestAWrongRelayModeIsRefused(t *testing.T) {
	if _, err := fastopt.Open(ctx, fastopt.Config{Relay: 7}); !errors.Is(err, fastopt.ErrConfig) || !contains(err, "Relay") {
		t.Errorf("%v", err)
	}
}

// A source that refuses candidates is said once, and asked again.
func TestASourceThatCannotElectIsSaidOnce(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		w.source.Inject(faults.Elect, faults.Fault{Err: tiers.ErrSetup})
		_, m := process(w, "foo", "")
		time.Sleep(time.Minute)
		if n := len(w.log.lines("cannot stand for relay")); n != 1 || m.Stats().Relay {
			t.Errorf("%d lines", n)
		}
		w.heal()
		leads(t, 6*time.Second, m)
	})
}

// I24: Close ends a relay whose tiers are silent.
func TestCloseEndsARelayInTheMiddleOfItsWork(t *testing.T) {
	for _, op := range []faults.Op{faults.Changes, faults.Scan} {
		inRelayedWorld(t, func(t *testing.T, w *world) {
			w.source.Inject(op, faults.Fault{Hang: true})
			_, m := process(w, "foo", "")
			start := time.Now()
			must(t, m.Close())
			if d := time.Since(start); d > time.Second {
				t.Errorf("Close took %v", d)
			}
			if m.Stats().Relay {
				t.Error("still the relay")
			}
		})
	}
	inRelayedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", "1")
		w.cache.Inject(faults.Fill, faults.Fault{Hang: true})
		_, m := process(w, "foo", "")
		start := time.Now()
		must(t, m.Close())
		if d := time.Since(start); d > time.Second {
			t.Errorf("Close took %v", d)
		}
	})
}
