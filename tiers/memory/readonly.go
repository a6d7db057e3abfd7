package memory

import (
	"context"

	"github.com/fastopt/fastopt-go/tiers"
)

// A source as it looks to who may only read it, as a role of a database may.

// ReadOnly returns a view of s that answers as s does, but refuses writes and
// elections with an error wrapping tiers.ErrReadOnly.
func (s *Source) ReadOnly() tiers.Source { return readOnly{s} }

type readOnly struct{ *Source }

var _ tiers.Elector = readOnly{}

func (readOnly) Write(context.Context, string, []tiers.Write) (tiers.Stamp, error) {
	return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: tiers.ErrReadOnly}
}

func (readOnly) Elect(context.Context, string, func(context.Context)) error { return tiers.ErrReadOnly }
