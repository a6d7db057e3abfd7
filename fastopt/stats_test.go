package fastopt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
)

// What an operator is told of marks: one line per change of state, and none in
// between, however long it lasts.
func TestMarksAreToldOncePerChange(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		relay := w.openRelay()
		foo, m := process(w, "foo", "")
		set(t, foo, "v")
		time.Sleep(5 * time.Second)
		quiet := func(d time.Duration, what string, want ...string) {
			t.Helper()
			before := len(w.log.lines(""))
			time.Sleep(d)
			lines := w.log.lines("")[before:]
			for _, line := range want {
				found := 0
				for _, l := range lines {
					if strings.Contains(l, line) {
						found++
					}
				}
				if found == 0 {
					t.Errorf("%s: nothing says %q", what, line)
				}
			}
			if len(lines) > 2*len(want) { // of two processes at most
				t.Errorf("%s: %d lines: %q", what, len(lines), lines)
			}
		}
		quiet(time.Minute, "a healthy minute")
		w.rows.StepEpoch()
		quiet(time.Minute, "a new epoch", "began another history")
		right := w.mark()
		must(t, relay.Close())
		quiet(time.Minute, "nobody feeds")
		w.putMark(foreignMark)
		quiet(time.Minute, "another database's mark", "the cache is not used")
		w.putMark(right)
		quiet(time.Minute, "the right one", "the cache is used again")
		w.store.CorruptMark("default", []byte("?"))
		quiet(time.Minute, "no mark")
		w.openRelay()
		quiet(time.Minute, "a relay")
		want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
		if s := m.Stats(); s.Epoch != 2 || !s.CacheFed || s.MarkAge > 2*time.Second {
			t.Errorf("%+v", s)
		}
		must(t, m.Ready())
	})
}
