package fastopt_test

import (
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// A cache without a mark says nothing of histories.

// Without a mark an epoch that nobody has heard of may have begun, or be made up:
// the source is asked, and has the last word, also once it is back.
func TestAFutureRecordInAnUnmarkedCacheDoesNotStay(t *testing.T) {
	for _, down := range []bool{false, true} {
		inMarkedWorld(t, func(t *testing.T, w *world) {
			w.sql("foo", `"v"`)
			w.poison("foo", `"poison"`, tiers.Stamp{Epoch: 7, Revision: 1})
			if down {
				w.sourceFails()
				w.source.Inject(faults.Identity, faults.Fault{Err: errDown})
			}
			foo, _ := process(w, "foo", "")
			if v := foo.Get(); (v == "poison") != down {
				t.Errorf("down %v: %q", down, v)
			}
			w.heal()
			time.Sleep(3 * time.Second)
			if down {
				time.Sleep(12 * time.Second)
			}
			want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Source)
			w.openRelay()
			time.Sleep(15 * time.Second)
			want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
			if w.cached("foo") != `"v"` {
				t.Errorf("cached %q", w.cached("foo"))
			}
		})
	}
}
