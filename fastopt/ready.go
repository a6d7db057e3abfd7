package fastopt

import (
	"errors"
	"fmt"
	"time"
)

// Readiness: what keeps a manager from doing all it was opened for.

// A TierError says what is wrong with a tier. It is found in the error of
// [Manager.Ready] by errors.AsType[*TierError]; if both tiers fail there are two,
// of which that finds the cache's.
type TierError struct {
	Tier  string    // "cache" or "source"
	Since time.Time // it has not answered, or not been usable
	Err   error     // the last failure; tiers.ErrSetup: somebody must do something
}

func (e *TierError) Error() string {
	return fmt.Sprintf("%s, since %s: %v", e.Tier, e.Since.Format(time.RFC3339), e.Err)
}

// Unwrap returns Err.
func (e *TierError) Unwrap() error { return e.Err }

// Ready returns nil if every configured tier answered when it was last asked, the
// cache is this database's (Config.Cache), and every option was loaded from a tier;
// else what is wrong, and since when: a TierError for each tier, and ErrUnavailable
// if options still read the snapshot, or their defaults, because no tier ever told of
// them, then also ErrSnapshot if that cannot be used. A process that is not ready
// serves all the same, the last good values that it has, so it is not to be killed
// for that. Ready does no I/O and does not wait. Whether pushes arrive is told by
// Stats: without them options are only as fresh as their TTL.
func (m *Manager) Ready() error {
	var errs []error
	for _, t := range []*tier{&m.cache, &m.source} {
		if err := t.failure(); err != nil {
			errs = append(errs, &TierError{Tier: t.name, Since: t.when(), Err: err})
		}
	}
	if refusal := m.marks.refusal.Load(); refusal != nil {
		errs = append(errs, refusal)
	}
	if n := m.unloaded(); n > 0 {
		errs = append(errs, fmt.Errorf("%w: %d of %d options were never loaded, since %s",
			ErrUnavailable, n, len(m.keys), m.base.Format(time.RFC3339)))
		if err := m.snapshot.failure(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// unloaded counts the options of which no tier told anything, though there is one.
func (m *Manager) unloaded() (n int) {
	if m.cfg.Cache == nil && m.cfg.Source == nil {
		return 0
	}
	for _, k := range m.keys {
		if top := k.cell.load().tier(); top.key == k && (top.kind == kindUnloaded && top.err == nil || top.saved) {
			n++
		}
	}
	return n
}
