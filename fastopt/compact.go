package fastopt

import (
	"context"
	"errors"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Compacting: what was deleted is remembered for those who were away, and not
// for ever. The relay has the source forget it after a week, but only while the
// cache has everything: one that was out of reach for longer has to be told of
// the deletes first.

const (
	compactEvery = time.Hour
	keepDeleted  = 7 * 24 * time.Hour // far longer than any fill may be late (R15)
)

// compact has the source forget old deletes now and then, until ctx ends.
func (r *relay) compact(ctx context.Context) {
	source, ok := r.m.cfg.Source.(tiers.Compacter)
	for ok {
		if rest(ctx, compactEvery-time.Duration(r.m.jitter()*float64(compactEvery/4))); ctx.Err() != nil {
			return
		}
		if r.owes() {
			continue
		}
		bound, cancel := context.WithTimeout(ctx, max(relayLimit, r.m.cfg.WriteTimeout))
		n, err := source.Compact(bound, r.m.cfg.Namespace, keepDeleted)
		cancel()
		switch {
		case errors.Is(err, tiers.ErrReadOnly):
			return // somebody else may, or nobody does
		case err != nil && ctx.Err() == nil:
			r.m.stats.relayErrors.Add(1)
		case n > 0:
			r.m.cfg.Logger.Info("fastopt: forgot what was deleted long ago", "namespace", r.m.cfg.Namespace, "names", n)
		}
	}
}
