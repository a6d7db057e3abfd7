// Package redis keeps records in a Redis that a fleet shares: a [tiers.Cache]
// whose every entry carries its stamp, and that hears of changes because the
// server tracks what was read.
//
// # What it needs
//
// Redis from 6.2 on (or Valkey) with RESP3, CLIENT TRACKING and Lua scripts: one
// server, a Cluster, or a master behind Sentinels; [Config].URL tells which. A
// replica serves reads and refuses fills. The least rights, for the default prefix:
//
//	ACL SETUSER fastopt on >PASSWORD resetkeys ~fastopt:* ~lease:fastopt:* resetchannels -@all +hello +auth +select +ping +client|tracking +client|caching +get +getrange +set +eval +evalsha
//
// and further, on all nodes of a Cluster,
//
//	ACL SETUSER fastopt +cluster|slots +asking +getex
//
// or, on the master and the replicas behind Sentinels,
//
//	ACL SETUSER fastopt +role
//
// and on the Sentinels themselves, where they ask for a user ([Config].SentinelUser),
//
//	ACL SETUSER fastopt on >PASSWORD resetkeys resetchannels -@all +hello +auth +sentinel|master +sentinel|get-master-addr-by-name
//
// Text between two machines is encrypted, or [Config].Plaintext says that it need not be.
// The certificate of a server bears the name or address by which it is dialed: the
// one in the URL, and those that a Cluster (cluster-announce-hostname and
// cluster-preferred-endpoint-type) and Sentinels (sentinel announce-hostnames) name.
// Servers are not shown a certificate: they need tls-auth-clients no.
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
// A [Cache] holds one connection to each server that keys are read from, on which it
// reads and hears of changes, and asks each four times a second whether it still
// lives. A silent server is noticed within a second, a closed connection at once;
// then watchers hear Lost, calls fail at once, and all connections are made
// anew, until they stand. Commands while nothing happens: the heartbeats. A process
// that is itself late, to ask or to read the answer, does not take that for
// silence, for two seconds at most.
//
// FLUSHALL, and a restart without data, lose every entry and nothing else:
// watchers hear Lost and Alive, reads miss, and the library fills again from
// its source. Eviction and expiry of single keys are announced as changes.
//
// In a Cluster a command follows its key. Slots that move are no loss: what moved is
// announced, name by name. The map of slots is asked for every two seconds, and when
// a command was sent elsewhere for good; a name that was read before, and stood nowhere,
// is not announced until the map has changed. A master that dies, or that has given up all its
// keys, is a loss; the connections stand again when every key has an owner that answers
// (with a node timeout of 1 s about 2.5 s later). Until then all keys are
// unavailable, those of the other masters, too, as they are by default in the cluster itself.
//
// Sentinels are asked all at once for the master, and who knows of the latest
// switch is believed. One of them and the master itself are asked each second whether
// it still is one; if not, that is a loss. Until then what is written to the new
// master is not announced, though the old one is alive: for a second, or for as long
// as we and the old master are cut off from all Sentinels. Only the mark, which moves
// where the new master is, tells of it. What the replica that took over did not have
// is missing, and filled from the source.
//
// # Without tracking
//
// With [Config].Poll nothing is pushed, and neither RESP3 nor CLIENT is needed: kind and stamp of every name that was
// loaded in the last ten minutes are read again at that interval, by one GETRANGE
// each. Then a change is heard within Poll and the time this takes, instead of a
// millisecond; Alive comes once per Poll; a key that was lost and filled again with
// the same record between two polls is not noticed, nor need it be. A silent
// server is noticed as fast as otherwise. Commands grow with the number of names: 1,000 names at
// a Poll of a second are 1,000 commands a second from each process.
package redis
