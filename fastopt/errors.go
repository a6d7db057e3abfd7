package fastopt

import (
	"errors"
	"fmt"

	"github.com/fastopt/fastopt-go/tiers"
)

// What callers branch on, by errors.Is. The text of every error names the
// option and, where there is one, the limit; no error carries a value.
var (
	// ErrUnknownOption: no option of that name is declared. No tier was asked.
	ErrUnknownOption = errors.New("unknown option")
	// ErrInvalidName: the name is outside the grammar. No tier was asked.
	ErrInvalidName = errors.New("invalid name")
	// ErrInvalidValue: the value has another type, is malformed, out of range
	// or refused by Check. Of a Set: nothing was written.
	ErrInvalidValue = errors.New("invalid value")
	// ErrTooLarge: the encoded value exceeds the limit. Of a Set: nothing was written.
	ErrTooLarge = errors.New("value too large")
	// ErrReadOnly: the manager has no Source, or its role may only read. Nothing was written.
	ErrReadOnly = errors.New("read-only")
	// ErrConflict: the option has changed since it was read with the stamp that
	// SetIf was given. Nothing was written.
	ErrConflict = errors.New("conflict")
	// ErrClosed: the manager is closed, or the option's registry was never opened.
	ErrClosed = errors.New("manager not open")
	// ErrOutcomeUnknown: the write was sent and not answered. It may have been
	// applied or may still be; the option is read again from the source as soon as
	// that answers.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrUnavailable: no tier could answer. Of a write: nothing was changed.
	ErrUnavailable = errors.New("unavailable")
	// ErrDeclaration: an option cannot be declared like this.
	ErrDeclaration = errors.New("wrong declaration")
	// ErrConfig: Open, or Sync, cannot work with this Config or these registries.
	ErrConfig = errors.New("wrong config")
	// ErrSnapshot: the snapshot, or a part of it, cannot be used. Of Open: its
	// path cannot be written, another process uses it, or it is another
	// namespace's. Of Ready: what is in it is damaged, of another database, from
	// the future, or of an option whose type has changed since.
	ErrSnapshot = errors.New("snapshot not usable")
)

// failed wraps err as the failure of op on an option.
func failed(op, name string, err error) error {
	if len(name) > tiers.MaxName {
		name = name[:maxName] + "…"
	}
	return fmt.Errorf("fastopt: %s option %q: %w", op, name, err)
}

// because gives kind a reason in words.
func because(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
}

// unavailable turns a tier's error into the library's.
func unavailable(tier string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, tier, err)
}

// writeError turns the error of Source.Write into the library's.
func writeError(err error) error {
	switch {
	case errors.Is(err, tiers.ErrConflict):
		return ErrConflict
	case errors.Is(err, tiers.ErrReadOnly):
		return fmt.Errorf("%w: source: %w", ErrReadOnly, err)
	case tiers.OutcomeOf(err) == tiers.NotApplied:
		return unavailable("source", err)
	}
	return fmt.Errorf("%w: source: %w", ErrOutcomeUnknown, err)
}
