package tiertest

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// A check is worth what it catches: stores with one planted bug each must
// break the check named beside them. The same checks hold for package memory,
// which the broken stores are made of.

// A verdict is a tester that keeps what broke a check.
type verdict struct{ broken string }

func (v *verdict) Helper() {}

func (v *verdict) Fatalf(format string, args ...any) {
	if v.broken == "" {
		v.broken = fmt.Sprintf(format, args...)
	}
	runtime.Goexit()
}

// judge runs a check and returns what broke it, "" if it holds.
func judge(run func(p *probe)) string {
	v := &verdict{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(newProbe(context.Background(), v, 800*time.Millisecond))
	}()
	<-done
	return v.broken
}

func TestChecksCatchBrokenSources(t *testing.T) {
	for _, bug := range sourceBugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			check := named(t, sourceChecks, bug.caughtBy, func(c sourceCheck) string { return c.name })
			caught := judge(func(p *probe) { check.run(&sourceProbe{p, bug.plant()}) })
			if caught == "" {
				t.Fatalf("%s holds for a source with this bug", bug.caughtBy)
			}
			t.Log(caught)
		})
	}
}

func TestChecksCatchBrokenCaches(t *testing.T) {
	for _, bug := range cacheBugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			check := named(t, cacheChecks, bug.caughtBy, func(c cacheCheck) string { return c.name })
			caught := judge(func(p *probe) { check.run(&cacheProbe{p, bug.plant()}) })
			if caught == "" {
				t.Fatalf("%s holds for a cache with this bug", bug.caughtBy)
			}
			t.Log(caught)
		})
	}
}

func TestChecksCatchCachesThatDoNotRepair(t *testing.T) {
	for name, cache := range map[string]interface {
		tiers.Cache
		Corrupter
	}{"ReplaceRepairs": neverReplaces{memory.NewCache()}, "CorruptIsAMissWithItsBytes": saysMissForCorrupt{memory.NewCache()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := named(t, corruptChecks, name, func(c corruptCheck) string { return c.name })
			caught := judge(func(p *probe) { check.run(&cacheProbe{p, cache}, cache) })
			if caught == "" {
				t.Fatalf("%s holds for a cache that does not", name)
			}
			t.Log(caught)
		})
	}
}

func named[C any](t *testing.T, checks []C, name string, nameOf func(C) string) C {
	t.Helper()
	for _, c := range checks {
		if nameOf(c) == name {
			return c
		}
	}
	t.Fatalf("no check has the name %q", name)
	panic("not reached")
}
