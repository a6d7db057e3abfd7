// Package redis keeps records in one Redis server that a fleet shares: a
// [tiers.Cache] whose every entry carries its stamp, and that hears of changes
// by client-side caching.
//
// # What it needs
//
// One Redis server from 6.2 on (or Valkey) with RESP3, CLIENT TRACKING and Lua
// scripts; not a node of a cluster. A replica serves reads and refuses fills.
// The least rights, for the default prefix:
//
//	ACL SETUSER fastopt on >PASSWORD resetkeys ~fastopt:* ~lease:fastopt:* resetchannels -@all +hello +auth +select +ping +client|tracking +client|caching +get +getrange +set +eval +evalsha
//
// # What stands in it
//
// The record of name in namespace is a string under
//
//	fastopt:<namespace>:<name>
//
// where ':' and '%' in the namespace are written %3A and %25, so that no two
// places share a key and the key of an ordinary name reads as it is written.
// The right to ask the source stands under "lease:" and that key, for a moment.
// The string describes itself in text, with kind, stamp and checksum:
//
//	V000000000300000000000000000421 11 - 0159e538 {"rate":0.5}     (without the spaces)
//
// A script stores a record only if its stamp is newer than the one that
// stands, so writes may come late, twice and in any order. Bytes whose header is
// no stamp, and keys of another type, count as empty.
//
// Beside its records each namespace has one mark (see [tiers.Marker]), which says whose
// history they are of and steps while somebody feeds them. It stands under the key
// of a record without its last part, so that no name can ever meet it; the rights above cover
// it, and nobody is told when it changes:
//
//	fastopt:<namespace>
//	M11 46bb71fc fed=1042 epoch=3 timeline=2 lineage="5e3c" system="7421" database="16384"
//
// # Who else may write there
//
// Without [Config].MACKey entries carry a checksum: it finds accidents, and an
// entry that was renamed over another. Who can write to the server can set any option to any value.
//
// With it, entries and marks carry a keyed code over namespace, name, stamp and
// value. Everything else counts as damage: it is read from the source, and replaced.
// What it does not stop:
//
//   - an older sealed entry of the same name, put back: the value of then, until the
//     source is read or a newer one is written. So for marks;
//   - deleting, expiring and locking out: the source is asked instead, each time;
//   - a header of a later version of the library, which is left alone and read
//     from the source each time;
//   - reading: the values stand there for all who may read.
//
// All processes with one KeyPrefix need the same key. One without a key reads
// sealed entries from the source, one with another key replaces them without end.
// So a new key comes with a new KeyPrefix.
//
// # What happens when
//
// A [Cache] holds one connection, on which it reads and hears of changes, and
// asks it four times a second whether it still lives. A silent server is
// noticed within a second; then watchers hear Lost, the local copies of
// entries are gone, calls fail at once, and a new connection is tried until
// there is one.
//
// FLUSHALL, and a restart without data, lose every entry and nothing else:
// watchers hear Lost and Alive, reads miss, and the library fills again from
// its source. Eviction and expiry of single keys are announced as changes.
package redis
