// Package fastopt gives a service its runtime options at the price of one
// memory load: rates, limits, switches and small configuration that change
// while it runs.
//
// An option is declared in code, with a type and a default:
//
//	var opts fastopt.Registry
//	var SampleRate = fastopt.New(&opts, "events.sample-rate", 1.0)
//
// and read anywhere, millions of times a second:
//
//	if rand.Float64() < SampleRate.Get() { … }
//
// [Option.Get] is wait-free: one atomic load, no lock, no allocation, no clock.
// It gives the newest value known, or the default. Everything else is done by
// the [Manager] that [Open] returns: it loads all declared options through a
// shared cache from the source of truth, renews them ahead of their TTL,
// follows pushed changes, and publishes the default only when no tier has
// answered for TTL + grace.
//
// # Reading
//
// Get never waits. Inspect is Get with the state, age, origin and cause beside
// the value. Load may wait: its answer is not older than the TTL if a tier
// answers in time, else the stale value, else the default; never an error
// alone. Watch follows changes.
//
// # Outcomes
//
// A tier's answer is a value, or that there is none ("absent": the default is
// used, and known to be right), or an error. An error never replaces or
// shortens what is known. Nor does a row that does not decode or does not pass
// Check: the last good value stays, with the cause in Reading.Err.
//
// # Changes by others
//
// One process of each namespace, elected among those that have a source and a
// cache, is the relay: what is written past the library, and what a writer left
// that died before it told the cache, gets into the cache through it, and so to
// everyone. [Manager.Sync] makes one pass by hand.
//
// # Types
//
// bool, all integers and floats, string, time.Duration, slices, arrays, maps with
// string keys, structs, and pointers to these. Tiers hold them as JSON; a
// Duration is a string such as "1m30s", but within a struct or slice it is a
// number of nanoseconds, as encoding/json has it. Decoding is strict: null where
// the type has none, a key twice, 1.0 or -0 for an integer, or nesting deeper
// than 64 is an error.
//
// # Shared values
//
// Values of slice, map or pointer kind are shared by all readers and must not
// be modified.
package fastopt
