// Package fastopttest helps to test code that reads options.
package fastopttest

import (
	"testing"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/hook"
)

// Override makes opt read v until the test ends, whatever tiers say, before and
// after Open. Overrides nest; the innermost holds. It works without any tier,
// and all goroutines of the process see it: tests that override the same option
// must not run in parallel. It fails the test if v is not a valid value.
func Override[T any](t testing.TB, opt *fastopt.Option[T], v T) {
	t.Helper()
	restore, err := hook.Override(opt, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(restore)
}

// Flush makes m, which must be open, forget everything it has read, as if it had just been opened:
// the next Load asks the tiers. Stores are not touched, and what is under
// repair stays so.
func Flush(t testing.TB, m *fastopt.Manager) {
	t.Helper()
	hook.Flush(m)
}
