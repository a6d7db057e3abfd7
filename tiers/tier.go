package tiers

import (
	"context"
	"iter"
	"time"
)

// A Source is the truth. Its methods are safe for concurrent use and return
// when ctx ends, at the latest; none retries by itself, but for once where surely
// nothing was done: on a fresh connection, or after a step of the epoch.
//
// A source answers only as the primary of its own history: a standby, or a
// database whose identity is not the recorded one, gives ErrUnavailable.
type Source interface {
	// Identity tells which history of which database answers. It is also the
	// cheapest question: errors are classed as those of Load.
	Identity(ctx context.Context) (Identity, error)

	// Load reads names of a namespace in one statement, so that all answers
	// are of one instant. The results stand in the order of names, which hold
	// no duplicates and are at most MaxBatch. A name without a row is Absent
	// with NoRow, stamped with the head revision of that statement.
	Load(ctx context.Context, namespace string, names []string) []Result

	// Write applies all writes in one transaction, or none, and returns the
	// stamp they carry: the head revision after them. A batch that changes
	// nothing (deletes of absent names) returns the head and steps nothing. Errors are *WriteError; ErrConflict if any
	// Write.If is not current. Names within a batch are distinct.
	Write(ctx context.Context, namespace string, writes []Write) (Stamp, error)

	// Scan yields every row and every tombstone still kept, in the order of
	// names, reading in pages; it stops after the first error. It is no
	// snapshot: each record is right as of its own AsOf.
	Scan(ctx context.Context, namespace string) iter.Seq2[Record, error]

	// Changes returns what changed after since, oldest first: rows and
	// tombstones, each name once, at its newest.
	Changes(ctx context.Context, namespace string, since Stamp) (Changes, error)

	// Watch calls sink with an event for each change until ctx ends, whose
	// error it then returns; it reconnects by itself, and returns early only
	// with ErrSetup, or because the tier was closed. sink is called from one goroutine at a time and must not
	// block. See Event for what is promised.
	Watch(ctx context.Context, namespace string, sink func(Event)) error
}

// MaxBatch is the largest number of names or writes in one call.
const MaxBatch = 500

// A Write sets or deletes one name.
//
// If holds for a value whose stamp it is. For a name without a value it holds if
// it is the zero Stamp, or of this epoch and neither older than the delete nor
// newer than the head; where what was deleted is kept no more, it does not.
type Write struct {
	Name   string
	Data   []byte // the new value; nil with Delete
	Delete bool
	If     *Stamp // nil: always; else only if the name has not changed since it was read with this stamp
	Actor  string // who, for the row's history; may be empty
	Reason string // why; may be empty
}

// Changes is a page of a source's history.
type Changes struct {
	Records []Record
	Head    Stamp // ask again with this as since
	// More: the page is full; Head is the stamp of its last record.
	More bool
	// Reset: since is of another epoch or older than what is kept, or more changed
	// at once than a page holds. Records is empty, and everything has to be read anew.
	Reset bool
}

// An Identity names one history of one database.
type Identity struct {
	Lineage  string // random, given once to a database and kept by its copies and restores
	System   string // the installation, e.g. Postgres' system identifier
	Timeline uint32 // steps at each promotion
	Database string // within the installation
	Epoch    uint32 // recorded for the above
}

// A Cache is shared memory in front of a source. Its methods are safe for
// concurrent use and return when ctx ends, at the latest.
type Cache interface {
	// Load reads names; results stand in the order of names, which hold no
	// duplicates. ErrMiss, a *CorruptError or ErrForeign: ask the source.
	// After Load has returned for a name, also with ErrMiss, the next change
	// of it is announced to the watchers of this Cache value.
	Load(ctx context.Context, namespace string, names []string) []Result

	// Fill stores records, each only if its stamp is newer than the one
	// stored; equal, and NoRow over an Absent of the same epoch, is no write
	// and announces nothing. Results stand in the order of fills. A call that
	// times out may still be carried out: fills are idempotent.
	Fill(ctx context.Context, namespace string, fills []Fill) []FillResult

	// Lease grants, per name, the right to ask the source to one caller at a
	// time, for d at most; held stands in the order of names. It is a hint that
	// saves work, never a lock.
	Lease(ctx context.Context, namespace string, names []string, d time.Duration) (held []bool, err error)

	// Watch calls sink with an event for each change of a name loaded through
	// this Cache value. Otherwise as Source.Watch.
	Watch(ctx context.Context, namespace string, sink func(Event)) error
}

// A Fill offers a record to a cache.
type Fill struct {
	Record
	TTL     time.Duration // how long the cache keeps it; 0: without end
	Replace []byte        // if not nil: also replace exactly these bytes, whatever their stamp
}

// A FillResult says what became of a Fill.
type FillResult struct {
	Stored bool // false with a nil Err: the cache holds this record or a newer one
	// Ahead: not stored, because the stamp that the cache holds is newer, or the
	// same with other contents.
	Ahead bool
	Err   error
}

// EventKind tells what a watcher is told.
type EventKind uint8

const (
	// Changed: the record of Name changed, or may have.
	Changed EventKind = 1 + iota
	// Lost: events may be missing from here on, for any name: the connection
	// broke, or everything was deleted.
	Lost
	// Alive: the channel works, again or still. Every change that the tier
	// made before Since, and after the last Lost, has been announced before
	// this event. A watcher hears it at least once a second.
	Alive
)

// An Event is told to a watcher. Before any other, a watcher hears Alive once
// the channel works for the first time.
type Event struct {
	Kind  EventKind
	Name  string    // Changed
	Since time.Time // Alive; with its monotonic reading
}
