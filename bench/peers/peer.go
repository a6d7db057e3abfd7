// Package peers puts what a service could read its options from behind one
// small interface, so that one set of workloads measures all of it.
//
// A store reads in loops of its own, not key by key: a call through an interface
// costs more than the cheapest of them does.
package peers

import (
	"context"
	"time"
)

// A Job says how a peer is asked for an option, and so whom it is compared with.
type Job int

const (
	ByHandle Job = iota // through a variable of the caller's: against bare pointers
	ByKey               // by a string: against a concurrent map
	DoesMore            // by a string, and much is decided per read: for context
)

// A Peer is one way to read options.
type Peer struct {
	Name string // of its benchmarks; stable
	Job  Job
	Ours bool
	Note string // what it does or leaves out, beside the library's own way

	// Open returns a store in which key i of size keys has the value i of a
	// fixed cycle, see Keys and Values; all of it is in memory.
	Open func(ctx context.Context, size int) (Store, error)
}

// An Ask is an order of reads: indices for those who hold handles, and the same
// keys for the others. Keys are copies, as they would come from a request: to
// look up the stored string itself flatters, for equal pointers compare fast.
type Ask struct {
	At   []int
	Keys []string
}

// A Store holds options under keys and under their indices. Sum and Walk may be
// called by several goroutines at once; Set and Invalidate by one beside them,
// unless the peer's note says otherwise.
type Store interface {
	// Sum reads all that is asked for, and returns the sum of the values.
	Sum(ask Ask) int
	// Walk makes n reads, each of the key whose index the one before gave, and
	// returns the last value. It begins with key at; keys are all keys.
	Walk(keys []string, at, n int) int
	// Set gives key at a value, and returns when it can be read.
	Set(at int, key string, value int) error
	// Invalidate says that the value of key at may have changed: it is dropped
	// or replaced, and read again from where it came from.
	Invalidate(at int, key string) error
	// Misses returns how many values were read again from where they came from.
	Misses() int
	// Close gives back all that the peer lets one give back.
	Close() error
}

// A Requester serves n requests, and returns the sum of what they read: each
// reads the first RequestSize options, which it need not look for.
type Requester interface {
	Requests(n int) int
}

// RequestSize is how many options one request reads.
const RequestSize = 16

// ttl is how long values live in those peers that let them expire; no benchmark
// runs so long.
const ttl = time.Hour

// room is what bounded peers are bounded by: a quarter more than they hold, so
// that those that count per shard evict nothing either.
func room(size int) int { return size + size/4 + 64 }

// All returns all peers, in the order of the tables.
func All() []Peer {
	return []Peer{
		{Name: "atomic.Pointer", Job: ByHandle, Open: openPointers,
			Note: "the least that any library can do: no default, no name, no age"},
		{Name: "struct", Job: ByHandle, Open: openStruct,
			Note: "atomic.Pointer to one whole config; each change copies all of it"},
		{Name: "atomic.Int64", Job: ByHandle, Open: openWords,
			Note: "numbers only; value and age cannot change together"},
		{Name: "Option.Get", Job: ByHandle, Ours: true, Open: openOptions},

		{Name: "rwmutex", Job: ByKey, Open: openLocked, Note: "unbounded, no expiry"},
		{Name: "sync.Map", Job: ByKey, Open: openSync, Note: "unbounded, no expiry"},
		{Name: "xsync-v3", Job: ByKey, Open: openXsync3, Note: "unbounded, no expiry"},
		{Name: "xsync-v4", Job: ByKey, Open: openXsync4, Note: "unbounded, no expiry"},
		{Name: "Manager.Get", Job: ByKey, Ours: true, Open: openNames, Note: "names frozen at Open"},
		{Name: "Lookup", Job: ByKey, Ours: true, Open: openTyped, Note: "Manager.Get with a type"},
		{Name: "Family.Get", Job: ByKey, Ours: true, Open: openFamily, Note: "bounded, coarse clock"},
		{Name: "otter", Job: ByKey, Open: openOtter,
			Note: "bounded, exact clock per read, admission by frequency"},
		{Name: "otter-coarse", Job: ByKey, Open: openOtterCoarse,
			Note: "otter with its coarse clock of 1 ms"},
		{Name: "ristretto", Job: ByKey, Open: openRistretto,
			Note: "bounded by cost, exact clock per read, admission; may drop writes"},
		{Name: "theine", Job: ByKey, Open: openTheine, Note: "bounded, coarse clock, admission"},
		{Name: "sturdyc", Job: ByKey, Open: openSturdyc,
			Note: "GetOrFetch: bounded, exact clock per read, singleflight"},
		{Name: "golang-lru", Job: ByKey, Open: openLRU,
			Note: "expirable: bounded, exact clock per read, exact LRU under one mutex"},
		{Name: "rueidis", Job: ByKey, Open: openRueidis,
			Note: "DoCache hit: exact clock per read, LRU; values are Redis' replies, parsed per read"},

		{Name: "viper", Job: DoesMore, Open: openViper,
			Note: "layers of files, environment and flags, case folding; reads race with writes"},
		{Name: "LaunchDarkly", Job: DoesMore, Open: openLaunchDarkly,
			Note: "evaluates rules per context; source of test data, events off"},
		{Name: "OpenFeature", Job: DoesMore, Open: openOpenFeature,
			Note: "any provider, hooks, evaluation context; in-memory provider"},
	}
}

// Named returns the peer with that name.
func Named(name string) (p Peer, ok bool) {
	for _, p := range All() {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}
