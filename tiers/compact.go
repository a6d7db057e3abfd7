package tiers

import (
	"context"
	"time"
)

// A Compacter is a [Source] that can forget what was deleted long ago. It is
// optional; without it tombstones are kept for ever.
type Compacter interface {
	// Compact forgets what was deleted from a namespace more than olderThan ago,
	// by the clock of the source, and returns how much that was. Afterwards
	// [Source.Scan] tells of it no more, and [Source.Changes] since before it is
	// a Reset; nothing that exists changes, and no watcher is told. It may wait
	// for writers. ErrReadOnly: who asks may not.
	//
	// A cache that was not told of a delete until then never is. So who feeds
	// one compacts only what the cache was told of: after a pass over everything
	// has reached it, and with an olderThan that is longer than it may be out of
	// reach.
	Compact(ctx context.Context, namespace string, olderThan time.Duration) (removed int, err error)
}
