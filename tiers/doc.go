// Package tiers is the contract between fastopt and the stores behind it, as
// database/sql/driver is to database/sql. It holds no logic of the library and
// imports the standard library alone.
//
// Two kinds of store exist. A [Source] is the truth: it gives every change a
// [Stamp] whose order is the order of its commits. A [Cache] is shared memory
// in front of it that keeps, per name, the record with the newest stamp it was
// ever given, and announces changes. A process reads the cache first, asks the
// source for what the cache does not hold, and fills the cache with the answer.
//
// Every read has one of three outcomes, which no tier may mix up: a value,
// the answer that there is none ([Absent]), or an error. A missing entry of a
// cache is an error ([ErrMiss]): a cache that holds nothing has said nothing.
//
// Names and namespaces are any valid UTF-8 without NUL, 1 to [MaxName] bytes;
// the grammar of option names belongs to package fastopt. Data is JSON text
// (RFC 8259), at most [MaxData] bytes; a source may refuse anything else.
//
// Package tiertest checks an implementation against this contract.
package tiers
