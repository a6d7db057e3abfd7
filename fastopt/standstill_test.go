package fastopt_test

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// What counts as a standstill of the mark, and what a relay does that waits for
// one (P11).

// While the cache is out of reach nobody can step the mark: that it did not move
// meanwhile does not make it abandoned, whoever finds the cache first.
func TestAnOutageOfTheCacheIsNoStandstill(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"production"`)
		w.openRelay()
		_, mp := process(w, "foo", "")
		_, source := w.staging()
		mine := faults.NewMarked(w.store) // the copy's own way to the cache: it finds it first
		cfg := w.config()
		cfg.Source, cfg.Cache, cfg.Relay = source, mine, fastopt.Auto
		w.open(cfg)
		for outage := time.Second; outage < 15*time.Second; outage += 1300 * time.Millisecond {
			time.Sleep(3 * time.Second)
			for _, op := range []faults.Op{faults.Load, faults.Fill, faults.Mark, faults.PutMark} {
				w.cache.Inject(op, faults.Fault{Err: errDown})
				mine.Inject(op, faults.Fault{Err: errDown})
			}
			time.Sleep(outage)
			mine.Heal()
			time.Sleep(700 * time.Millisecond)
			w.cache.Heal()
			time.Sleep(3 * time.Second)
			if id := w.mark().Identity; id.System != "production" {
				t.Fatalf("after an outage of %v the mark is %+v", outage, id)
			}
			must(t, mp.Ready())
		}
	})
}

// A relay whose cache is another's waits: to give its right up would help nobody,
// and would begin the wait anew. It asks the source for no rows it may not offer.
func TestARefusedRelayWaitsQuietly(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"production"`)
		relay := w.openRelay()
		_, source := w.staging()
		cfg := w.config()
		cfg.Source, cfg.Relay = source, fastopt.Auto
		for range 3 {
			w.open(cfg)
		}
		time.Sleep(2 * time.Second)
		scans := source.Calls(faults.Scan)
		lines := len(w.log.lines("level="))
		time.Sleep(5 * time.Minute)
		if n := source.Calls(faults.Scan) - scans; n > 80 {
			t.Errorf("%d scans", n)
		}
		if n := len(w.log.lines("level=")) - lines; n > 1 {
			t.Errorf("%d lines: %q", n, w.log.lines("level=")[lines:lines+5])
		}
		for i := range 10 {
			time.Sleep(time.Duration(i) * 1100 * time.Millisecond)
		}
		must(t, relay.Close())
		time.Sleep(6500 * time.Millisecond)
		if id := w.mark().Identity; id.System != "staging" {
			t.Errorf("not taken over: %+v", id)
		}
	})
}
