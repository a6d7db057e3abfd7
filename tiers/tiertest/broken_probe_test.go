package tiertest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Probers with one bug each.

// A probing source probes as it is told to.
type probing struct {
	*memory.Source
	probe func(s *memory.Source, ctx context.Context, ns string) error
}

func (s probing) Probe(ctx context.Context, ns string) error { return s.probe(s.Source, ctx, ns) }

// asks is right.
func asks(s *memory.Source, ctx context.Context, ns string) error {
	return s.Load(ctx, ns, []string{"probe"})[0].Err
}

func TestChecksCatchBrokenProbers(t *testing.T) {
	turn := make(chan struct{}, 1)
	for what, bug := range map[string]struct {
		caughtBy string
		probe    func(s *memory.Source, ctx context.Context, ns string) error
	}{
		"it is never answered": {"ProbeIsAnswered", func(*memory.Source, context.Context, string) error { return tiers.ErrUnavailable }},
		"it writes": {"ProbeIsAnswered", func(s *memory.Source, ctx context.Context, ns string) error {
			_, err := s.Write(ctx, ns, []tiers.Write{{Name: "probe", Data: []byte("1")}})
			return err
		}},
		"it asks for nothing": {"ProbeOfNoNamespaceIsRefused", func(_ *memory.Source, ctx context.Context, _ string) error {
			if ctx.Err() != nil {
				return fmt.Errorf("%w: %w", tiers.ErrUnavailable, ctx.Err())
			}
			return nil
		}},
		"the second is turned away": {"ProbesMayMeet", func(s *memory.Source, ctx context.Context, ns string) error {
			select {
			case turn <- struct{}{}:
				return asks(s, ctx, ns) // and nobody gets the turn again
			default:
				return tiers.ErrUnavailable
			}
		}},
		"it needs no time": {"ProbeEndsWithItsContext", func(s *memory.Source, ctx context.Context, ns string) error {
			return asks(s, context.WithoutCancel(ctx), ns)
		}},
		"it never ends": {"ProbeEndsWithItsContext", func(s *memory.Source, ctx context.Context, ns string) error {
			if ctx.Err() != nil {
				<-context.WithoutCancel(ctx).Done()
			}
			return asks(s, ctx, ns)
		}},
		"its failure is of no class": {"ProbeEndsWithItsContext", func(s *memory.Source, ctx context.Context, ns string) error {
			if err := asks(s, ctx, ns); err != nil {
				return errors.New("no answer")
			}
			return nil
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			check := named(t, probeChecks, bug.caughtBy, func(c probeCheck) string { return c.name })
			try := func(ask func(*memory.Source, context.Context, string) error) string {
				s := probing{memory.NewSource(), ask}
				return judge(func(p *probe) { check.run(&proberProbe{p, s, (&sourceProbe{p, s}).head}) })
			}
			if broken := try(asks); broken != "" {
				t.Errorf("%s does not hold for a prober without this bug: %s", bug.caughtBy, broken)
			}
			caught := try(bug.probe)
			if caught == "" {
				t.Fatalf("%s holds for a prober with this bug", bug.caughtBy)
			}
			t.Log(caught)
		})
	}
}
