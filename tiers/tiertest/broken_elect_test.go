package tiertest

import (
	"context"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Electors with one bug each.

// An electorFunc is an elector made of one function.
type electorFunc func(ctx context.Context, ns string, lead func(context.Context)) error

func (f electorFunc) Elect(ctx context.Context, ns string, lead func(context.Context)) error {
	return f(ctx, ns, lead)
}

var electBugs = []struct {
	name     string
	caughtBy string
	plant    func() tiers.Elector
}{
	{"everybody leads", "OneLeadsAtATime", func() tiers.Elector {
		return electorFunc(func(ctx context.Context, _ string, lead func(context.Context)) error {
			lead(ctx)
			<-ctx.Done()
			return ctx.Err()
		})
	}},
	{"a spare is forgotten", "ASpareGetsItsTurn", func() tiers.Elector {
		s := memory.NewSource()
		seats := make(chan struct{}, 3)
		return electorFunc(func(ctx context.Context, ns string, lead func(context.Context)) error {
			select {
			case seats <- struct{}{}:
				return s.Elect(ctx, ns, lead)
			default:
				<-ctx.Done()
				return ctx.Err()
			}
		})
	}},
	{"the right is kept", "TheNextLeadsSoon", func() tiers.Elector {
		s := memory.NewSource()
		return electorFunc(func(ctx context.Context, ns string, lead func(context.Context)) error {
			go s.Elect(context.Background(), ns, func(context.Context) { lead(ctx); <-make(chan bool) })
			<-ctx.Done()
			return ctx.Err()
		})
	}},
	{"who gives up takes it again", "WhoGivesUpStandsBack", func() tiers.Elector {
		s := memory.NewSource()
		return electorFunc(func(ctx context.Context, ns string, lead func(context.Context)) error {
			return s.Elect(ctx, ns, func(ctx context.Context) {
				for ctx.Err() == nil {
					lead(ctx)
				}
			})
		})
	}},
	{"one right for all", "NamespacesElectApart", func() tiers.Elector {
		s := memory.NewSource()
		return electorFunc(func(ctx context.Context, _ string, lead func(context.Context)) error { return s.Elect(ctx, "ns", lead) })
	}},
	{"it ends late", "ElectEndsWithItsContext", func() tiers.Elector {
		s := memory.NewSource()
		return electorFunc(func(ctx context.Context, ns string, lead func(context.Context)) error {
			err := s.Elect(ctx, ns, lead)
			time.Sleep(2 * time.Second)
			return err
		})
	}},
	{"it says that all is well", "ElectEndsWithItsContext", func() tiers.Elector {
		s := memory.NewSource()
		return electorFunc(func(ctx context.Context, ns string, lead func(context.Context)) error {
			s.Elect(ctx, ns, lead)
			return nil
		})
	}},
	{"the right ends with the context", "TheRightOutlastsTheWork", func() tiers.Elector {
		s := memory.NewSource()
		return electorFunc(func(ctx context.Context, ns string, lead func(context.Context)) error {
			return s.Elect(ctx, ns, func(ctx context.Context) {
				go lead(ctx)
				<-ctx.Done()
			})
		})
	}},
}

func TestChecksCatchBrokenElectors(t *testing.T) {
	for _, bug := range electBugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			check := named(t, electChecks, bug.caughtBy, func(c electCheck) string { return c.name })
			caught := judge(func(p *probe) { check.run(&electProbe{p, bug.plant()}) })
			if caught == "" {
				t.Fatalf("%s holds for an elector with this bug", bug.caughtBy)
			}
			t.Log(caught)
		})
	}
}
