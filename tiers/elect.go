package tiers

import "context"

// An Elector is a [Source] that can give a right to one process at a time: the
// right to feed the caches of a namespace. It is optional; without it nobody
// carries what is written past the library into a cache.
//
// The right saves work and is never a lock: a holder that stood still may act
// for a moment beside the next one. What it does must be harmless twice.
type Elector interface {
	// Elect stands for the right to lead a namespace until ctx ends, whose
	// error it then returns; it reconnects by itself, and returns early only
	// with ErrSetup, with ErrReadOnly, or when the source is closed. While it holds the right it runs
	// lead, on the goroutine of the caller. lead's context ends when ctx does or the right is lost;
	// the right is not given up before lead has returned. If lead returns
	// earlier, the right is given up, and this process stands back for
	// a second or more, so that another one gets it. A right that was given up is
	// taken by another candidate within half a second; that of a holder
	// that stands still or is cut off, within two. A few candidates stand
	// ready at a time, however many processes there are; the others look
	// within a minute whether a place is free.
	Elect(ctx context.Context, namespace string, lead func(ctx context.Context)) error
}
