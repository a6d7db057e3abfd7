package fastopt

import (
	"context"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Standing still: a copy may take over the cache of its original once nobody
// feeds that any more. So how long the mark has not moved is measured by every
// process, relay or not, so that the clock runs on whoever leads; and only while
// the mark can be read: while the cache is out of reach, its owner cannot step
// the mark either, and is not to lose it for that.

// abandonedAfter is how long a mark has to stand still, or to be missing, before
// a copy may put its own there.
const abandonedAfter = 5 * time.Second

// A standstill is how long the same was found in each look at the mark.
type standstill struct {
	mark   tiers.Mark // zero: none was there
	since  int64      // ns since Open: the first look that found it had been answered
	looked int64      // ns since Open: the last was asked for
}

// see notes what a look found that was asked for at start and answered by now.
// Looks that are further apart than gap prove nothing of the time between them.
func (s *standstill) see(mark tiers.Mark, start, now int64, gap time.Duration) {
	if mark != s.mark || start-s.looked > int64(gap) {
		s.mark, s.since = mark, now
	}
	s.looked = max(s.looked, start)
}

// gap is the most between two looks of a process that runs, and a cache that answers.
func (s *marks) gap() time.Duration {
	return 2*markEvery + s.m.cfg.CacheTimeout + s.m.cfg.SourceTimeout
}

// abandoned reports whether mark, zero for none, which was asked for at start, has
// stood still for so long that nobody feeds it. It waits for a look that is under way.
func (s *marks) abandoned(ctx context.Context, mark tiers.Mark, start int64) bool {
	select {
	case s.one <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-s.one }()
	s.still.see(mark, start, s.m.now(), s.gap())
	return s.still.looked-s.still.since >= int64(abandonedAfter)
}
