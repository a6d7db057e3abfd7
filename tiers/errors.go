package tiers

import (
	"errors"
	"fmt"
)

var (
	// ErrMiss: the cache holds nothing usable for the name, so it has said
	// nothing about it. The source is to be asked.
	ErrMiss = errors.New("cache miss")

	// ErrUnavailable: the tier could not answer (refused, timeout, overload,
	// not the primary). Also for writes that were surely not applied.
	ErrUnavailable = errors.New("tier unavailable")

	// ErrSetup: the tier answered that it is not usable as configured: wrong
	// password, missing schema or grant. Waiting does not help; the text says
	// what does.
	ErrSetup = errors.New("tier not usable as configured")

	// ErrConflict: a Write named a stamp in If that is no longer current.
	// Nothing was applied.
	ErrConflict = errors.New("stamp is not current")

	// ErrReadOnly: who asks may read and not write. Nothing was applied. Of an
	// Elector: nor may it lead.
	ErrReadOnly = errors.New("the role may only read")

	// ErrForeign: an entry of the cache was written by a newer version of the
	// library. It is read from the source, and not overwritten by what was read
	// there; a newer write still replaces it, as it does any entry.
	ErrForeign = errors.New("entry of a newer version")
)

// A CorruptError says that a cache holds bytes under a name that are no valid
// entry. It counts as a miss; a Fill that names exactly these bytes in Replace
// repairs the entry whatever stamp they seem to carry.
type CorruptError struct {
	Raw    []byte // the bytes found, as Fill.Replace wants them
	Reason string
}

func (e *CorruptError) Error() string { return "corrupt entry: " + e.Reason }

// Is makes a corrupt entry a miss.
func (e *CorruptError) Is(target error) bool { return target == ErrMiss }

// An Outcome says what became of a write that did not succeed.
type Outcome uint8

const (
	// Unknown: the write was sent and not answered. It may have been applied
	// or may still be. The zero value, because it is the safe guess.
	Unknown Outcome = iota
	// NotApplied: the write was never sent or was refused. Nothing changed and
	// nothing will.
	NotApplied
)

func (o Outcome) String() string {
	if o == NotApplied {
		return "not applied"
	}
	return "outcome unknown"
}

// A WriteError is the error of a failed Source.Write. An error of Write that
// is no WriteError counts as Unknown.
type WriteError struct {
	Outcome Outcome
	Err     error
}

func (e *WriteError) Error() string { return fmt.Sprintf("%v: %v", e.Outcome, e.Err) }
func (e *WriteError) Unwrap() error { return e.Err }

// OutcomeOf returns what became of the write that failed with err.
func OutcomeOf(err error) Outcome {
	if w, ok := errors.AsType[*WriteError](err); ok {
		return w.Outcome
	}
	return Unknown
}
