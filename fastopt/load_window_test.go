package fastopt_test

import (
	"testing"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
)

// The window between a Load that finds its key not confirmed, and its joining a
// flight: what is confirmed in it is not waited for any more.

func TestALoadWhoseKeyIsConfirmedMeanwhileWaitsForNothing(t *testing.T) {
	for _, all := range [][]string{{"f/x"}, {"f/x", "f/y", "f/z"}} {
		inWorld(t, func(t *testing.T, w *world) {
			var r fastopt.Registry
			f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[string]{Prefix: "f", MaxEntries: 10})
			m := w.open(w.config(), &r)
			hookOnce(t, point.FlightJoin, m, "f/x", func() { want(t, f.Load(ctx, "x"), "", fastopt.Fresh, fastopt.Default) })
			took(t, 0, func() {
				readings, err := m.Load(ctx, all...)
				must(t, err)
				for _, name := range all {
					if got := readings[name]; got.State != fastopt.Fresh || got.Err != nil {
						t.Errorf("%s: %+v", name, got)
					}
				}
			})
		})
	}
}
