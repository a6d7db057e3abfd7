package fastopt

import (
	"cmp"
	"fmt"
)

// Checks that users need most.

// Between returns a Check that accepts lo ≤ v ≤ hi; it accepts no NaN. Untyped
// constants infer int: elsewhere give one bound a type, as in Between(0.0, 1)
// or Between(0, time.Second). It panics if lo > hi.
func Between[T cmp.Ordered](lo, hi T) func(T) error {
	if !(lo <= hi) {
		panic(fmt.Sprintf("fastopt: Between(%v, %v): the first bound must not exceed the second", lo, hi))
	}
	return func(v T) error {
		if lo <= v && v <= hi {
			return nil
		}
		return fmt.Errorf("must be between %v and %v", lo, hi)
	}
}
