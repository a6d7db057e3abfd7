package fastopt

import (
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a caller is told of a value beside the value.

// A Stamp orders the changes of all options of a namespace.
type Stamp = tiers.Stamp

// A Reading is a value and how it came to be.
type Reading[T any] struct {
	Value  T
	State  State
	Origin Origin
	Stamp  Stamp         // of Value's record, or of the answer that there is none; zero if nothing was read
	Age    time.Duration // since the request of the answer that last confirmed it; 0 for Unloaded and overrides
	Err    error         // what failed: why State is not Fresh, or what the call that gave this could not do
}

// State tells how far a value can be trusted.
type State uint8

const (
	Unloaded State = iota // nothing was read yet: the default
	Fresh                 // confirmed within the TTL
	Stale                 // older, but within TTL + grace, or the last good value while the row is invalid
	Expired               // no tier answered for TTL + grace: the default
)

func (s State) String() string {
	return enum(uint8(s), "unloaded", "fresh", "stale", "expired")
}

// Origin tells where a value came from.
type Origin uint8

const (
	Default  Origin = iota // the declaration
	Override               // a test
	Cache                  // the shared cache
	Source                 // the source of truth
	Write                  // a Set of this process
	Snapshot               // the file that an earlier process left, while no tier has answered
)

func (o Origin) String() string {
	return enum(uint8(o), "default", "override", "cache", "source", "write", "snapshot")
}

func enum(i uint8, names ...string) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

// A Receipt acknowledges a committed write.
type Receipt struct {
	Stamp Stamp
	// Cached: the shared cache took the write, or none is configured. If
	// false, the source has it, this process reads it, and the cache will be
	// repaired as soon as it answers, and the relay has told it of the source's
	// history; not while it is another database's (Manager.Ready).
	Cached bool
}

// reading gives a Reading its type.
func reading[T any](r Reading[any]) Reading[T] {
	return Reading[T]{Value: unbox[T](r.Value), State: r.State, Origin: r.Origin, Stamp: r.Stamp, Age: r.Age, Err: r.Err}
}
