package memory

import (
	"context"
	"fmt"
	"math"

	"github.com/fastopt/fastopt-go/tiers"
)

// The epoch of a source: it begins another history when it is told to, and
// stands back for a later one of its own installation, as a primary does that
// was left behind by a failover.

var _ tiers.Historian = (*Source)(nil)

// Identity is tiers.Source's.
func (s *Source) Identity(ctx context.Context) (tiers.Identity, error) {
	if err := ended(ctx); err != nil {
		return tiers.Identity{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.outrunLocked(); err != nil {
		return tiers.Identity{}, err
	}
	return s.identityLocked(), nil
}

func (s *Source) identityLocked() tiers.Identity {
	return tiers.Identity{Lineage: s.lineage, System: "memory", Timeline: 1, Database: "memory", Epoch: s.epoch}
}

// StepEpoch begins a new history, as a failover or a restore does: every
// record outranks what was read of it before, or was learned of. Watchers hear
// Lost, then Alive.
func (s *Source) StepEpoch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = max(s.epoch, s.least) + 1
	s.hub.lostLocked()
}

// Learn is tiers.Historian's. Of a later history of its own installation, which
// has one timeline, it is no successor: nothing is answered from then on, until
// StepEpoch. Above one of another installation it steps.
func (s *Source) Learn(id tiers.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.identityLocked()
	if id.Lineage != s.lineage || id.Epoch < s.epoch || id.Epoch == math.MaxUint32 {
		return
	}
	epoch, least := s.epoch, s.least
	switch {
	case id.System != mine.System || id.Database != mine.Database || id.Timeline < mine.Timeline:
		s.epoch = max(id.Epoch, s.least) + 1
	case id.Timeline > mine.Timeline:
		s.least = max(s.least, id.Epoch+1)
	default:
		s.least = max(s.least, id.Epoch)
	}
	if s.epoch != epoch || s.least > max(least, epoch) {
		s.hub.lostLocked()
	}
}

// outrunLocked returns why nothing is answered, nil if something is.
func (s *Source) outrunLocked() error {
	if s.epoch < s.least {
		return fmt.Errorf("%w: epoch %d was left behind by a later history", tiers.ErrUnavailable, s.epoch)
	}
	return nil
}
