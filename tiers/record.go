package tiers

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// Limits that every tier accepts.
const (
	MaxName = 400     // bytes of a name or a namespace
	MaxData = 1 << 20 // bytes of Data
)

// Kind tells a value from the answer that there is none.
type Kind uint8

const (
	Value  Kind = 1 + iota // Data holds the value
	Absent                 // the name has no value: an answer, not a failure
)

func (k Kind) String() string {
	switch k {
	case Value:
		return "value"
	case Absent:
		return "absent"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// A Record is what a tier knows of one name. It is immutable: neither the tier
// that gave it nor the one that gets it may change Data.
type Record struct {
	Name  string
	Kind  Kind
	Stamp Stamp

	// NoRow marks an Absent whose Stamp is the head revision of the statement
	// that found no row, not the revision of a delete. Two answers "no row" of
	// one epoch say the same, whatever their revisions.
	NoRow bool

	Data []byte // the value; nil for Absent

	// Oversize is the length in bytes of a value that the tier did not hand
	// over because it exceeds MaxData; Data is nil then. 0: Data is whole.
	Oversize int

	// Raw is the entry as the cache that gave it keeps it, for Fill.Replace: what
	// contradicts the source can be replaced by what it said. nil from a source.
	Raw []byte

	// AsOf is an instant, with its monotonic reading, at which the record was
	// current in the tier or later: the one before the request was sent, never
	// the arrival. For an answer out of a client-side cache it is the sending
	// of the last answered heartbeat of the connection that invalidates it.
	AsOf time.Time
}

// A Result is the outcome for one name: Record, or Err and a Record of which
// only Name is set; never both.
type Result struct {
	Record
	Err error
}

// CheckName returns an error unless name may be used as a name or a namespace
// with every tier: valid UTF-8 without NUL, 1 to MaxName bytes.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("name has %d bytes, the limit is %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("name is not valid UTF-8")
	}
	for i := 0; i < len(name); i++ {
		if name[i] == 0 {
			return fmt.Errorf("name holds a NUL byte")
		}
	}
	return nil
}
