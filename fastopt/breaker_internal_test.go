package fastopt

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// An answer may come between the moment that a failure is noted and that in which
// the breaker hears of it. A breaker that opens so is probed all the same, or it
// would stay open for ever.
func TestABreakerThatOpensAfterAnAnswerIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		New(&r, "foo", 1)
		m, err := Open(context.Background(), Config{Source: memory.NewSource()}, &r)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		time.Sleep(15 * time.Second)
		var heard []func(error)
		for range 2 * tripLeast {
			done, err := m.source.gate.Allow()
			if err != nil {
				t.Fatal(err)
			}
			heard = append(heard, done)
		}
		m.source.observe(tiers.ErrUnavailable)
		m.source.observe(nil)
		time.Sleep(time.Second) // nothing is left to be probed
		for _, done := range heard {
			done(tiers.ErrUnavailable)
		}
		if !m.source.broken.Load() {
			t.Fatal("it did not open")
		}
		time.Sleep(2 * time.Second)
		if s := m.Stats().SourceTier; s.Breaker != "closed" || s.Probes == 0 {
			t.Errorf("%+v", s)
		}
	})
}
