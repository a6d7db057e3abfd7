package tiers

import (
	"cmp"
	"fmt"
)

// A Stamp says which of two records of one name is newer. Stamps are totally
// ordered: by Epoch, then by Revision. The zero Stamp is older than every
// stamp a source gives.
//
// Revision counts the committed transactions of a namespace, so that its order
// is the order of commits for all names (as in etcd's MVCC). Epoch counts the
// histories of the database: it grows when a failover or a restore replaces
// the history in which revisions were counted.
type Stamp struct {
	Epoch    uint32
	Revision uint64
}

// Compare returns -1, 0 or +1 as s is older than, equal to or newer than t.
func (s Stamp) Compare(t Stamp) int {
	if c := cmp.Compare(s.Epoch, t.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(s.Revision, t.Revision)
}

// Newer reports whether s is strictly newer than t.
func (s Stamp) Newer(t Stamp) bool { return s.Compare(t) > 0 }

// IsZero reports whether s is the zero Stamp: nothing was ever read.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// String returns "epoch.revision", for people.
func (s Stamp) String() string { return fmt.Sprintf("%d.%d", s.Epoch, s.Revision) }
