package tiers

import "context"

// A Mark says whose history a cache holds, and that somebody feeds it.
type Mark struct {
	Identity        // of the source it is fed from
	Fed      uint64 // steps each time that the cache was found to have all the source has
}

// A Marker is a [Cache] that keeps one Mark per namespace. It is optional:
// without it nobody notices that a cache is of another database, or fed no more.
type Marker interface {
	// Mark reads the mark from where it is kept, never from a local copy. A
	// watcher hears nothing of its changes. ErrMiss: there is none; a
	// *CorruptError: there is something that is no mark. ErrForeign: it is of a
	// newer version, or sealed; then PutMark gives the same.
	Mark(ctx context.Context, namespace string) (Mark, error)

	// PutMark stores next if the mark that stands is exactly old, and reports
	// whether it did. The zero old stands for no mark, and for bytes that are none.
	PutMark(ctx context.Context, namespace string, old, next Mark) (stored bool, err error)
}

// A Historian is a [Source] that heeds what is known elsewhere of histories of
// its database.
type Historian interface {
	// Learn tells of a history that a cache's mark names: of the same
	// installation (Identity.System and Database), when the mark was seen to
	// move, or of one that the caller has found abandoned. From then on the source gives no answer of an older
	// history, and steps its own epoch above it where its database is the later
	// one. Of another lineage it learns nothing. No I/O.
	Learn(Identity)
}
