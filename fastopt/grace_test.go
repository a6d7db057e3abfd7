package fastopt_test

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// A warning precedes each fall to a default: once half of the grace is used, in
// one line per change of state, and not for what never falls.
func TestTheWarningComesAtHalfOfTheGrace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		fastopt.New(&r, "minute", 1)
		fastopt.New(&r, "minute.too", 1)
		fastopt.Declare(&r, fastopt.Spec[int]{Name: "hours", Grace: 10 * time.Hour})
		fastopt.Declare(&r, fastopt.Spec[int]{Name: "forever", Grace: fastopt.Forever})
		m := w.open(w.config(), &r)
		w.allFail()
		w.cache.Cut()
		last := time.Now()
		for _, c := range []struct {
			at           time.Duration
			warned, fell int // lines so far
		}{
			{40*time.Second - ms, 0, 0}, {40*time.Second + ms, 1, 0}, {70*time.Second - ms, 1, 0}, {70*time.Second + ms, 1, 1},
			{5*time.Hour + 10*time.Second - ms, 1, 1}, {5*time.Hour + 10*time.Second + ms, 2, 1}, {10*time.Hour + 11*time.Second, 2, 1},
		} {
			time.Sleep(c.at - time.Since(last))
			warned, fell := w.log.lines("WARN", "half of their grace"), w.log.lines("ERROR", "fell to their defaults")
			if len(warned) != c.warned || len(fell) != c.fell || len(w.log.lines("forever")) != 0 {
				t.Errorf("after %v: %q, %q", c.at, warned, fell)
			}
		}
		if n := len(w.log.lines("options=\"[minute minute.too]\"")); n != 2 {
			t.Errorf("named in %d lines: %q", n, w.log.lines("options="))
		}
		if s := m.Stats(); s.Expiries != 3 {
			t.Errorf("%d expiries", s.Expiries)
		}
	})
}
