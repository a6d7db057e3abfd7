package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Electing: one right per namespace, held by who put a token into its channel.

var _ tiers.Elector = (*Source)(nil)

// standBack is how long who gave up the right leaves it to others.
const standBack = time.Second

// Elect is tiers.Elector's. Candidates wait in line.
func (s *Source) Elect(ctx context.Context, namespace string, lead func(ctx context.Context)) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("%w: namespace: %w", tiers.ErrSetup, err)
	}
	right := s.right(namespace)
	for ctx.Err() == nil {
		select {
		case right <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		func() {
			defer func() { <-right }()
			lead(ctx)
		}()
		select {
		case <-time.After(standBack):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// right returns the channel of a namespace's right: full while it is held.
func (s *Source) right(namespace string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaceLocked(namespace)
	if sp.right == nil {
		sp.right = make(chan struct{}, 1)
	}
	return sp.right
}
