package main

import "github.com/fastopt/fastopt-go/fastopt"

// What the command and its worker processes say to each other. Instants are
// those of worker.Now; they and durations are in ns.

// A spec says what a worker opens.
type spec struct {
	RedisURL, PostgresURL, Namespace string

	Options    int   // option(0) and on, int64, default -1
	Forever    int   // so many of them, the last ones, have Grace: Forever
	TTL, Grace int64 // of all others; 0: the library's
	Verbose    bool  // the library's log goes to standard error
}

// A window is a time in which a worker reads, loads and perhaps writes.
type window struct {
	Lasts  int64
	Slices int // of reads, each told apart
	Sets   setting
}

// A setting says what to write: First, First+1 and so on, to the written option.
type setting struct {
	First int64
	Every int64 // 0: nothing
}

// An observation is what a worker saw in a window.
type observation struct {
	Slices []slice
	Loads  []load
	Sets   []set
	Lag    int64 // the greatest of the timer's
}

// A slice is what batches of reads took.
type slice struct {
	Gets, Bare histogram
	Clock      int64 // of which the clock took so much
	Waited     int   // batches of Gets that took over 10 ms more than all bare ones
	Mirror     int   // the same with the two exchanged: what the machine does by itself
}

// A load is one Load of a key that was never in memory.
type load struct {
	Took int64
	Lag  int64 // the greatest of the timer's meanwhile
}

// A change is one Set, to be made.
type change struct {
	Option int
	Value  int64
}

// A set is one Set and how it ended.
type set struct {
	change
	Took  int64
	Class class
}

type class string

const (
	acked       class = "acknowledged"
	unavailable class = "ErrUnavailable"
	unknown     class = "ErrOutcomeUnknown"
	other       class = "any other error"
)

// A wish is what a worker is to read.
type wish struct {
	Want  map[int]int64 // by option
	Limit int64         // to wait
	Whole bool          // also: every option is fresh, pushes arrive, Ready has no complaint
}

// A granted wish: since when, or what was wrong at the limit.
type granted struct {
	At    int64 // 0: not granted
	Wrong string
}

// A status is how a worker stands.
type status struct {
	At    int64
	Stats fastopt.Stats
	Lines int // logged since it was opened
	Last  []string
}

// An ending is what became of values whose tiers had died.
type ending struct {
	Late      int64 // the longest that Get gave a value beyond its TTL + grace
	Early     int   // options that read the default before it
	Inspected int   // times that Inspect gave a value beyond it
	Defaults  int   // options that read the default at the end
	Kept      int   // options with Grace: Forever that still read their value
	Lag       int64 // the greatest of the timer's

	// Of a process that stood still meanwhile: until when, when its timers ran
	// again, and when it gave an old value for the last time.
	Woke, Ran, Old int64
}

// An offer is a load that does not wait for its answers: so many Loads a second,
// of members in turn.
type offer struct {
	PerSecond float64
	Members   int
	Lasts     int64
}

// A bin is what became of the Loads that were due in a part of an offer.
type bin struct {
	At        int64 // when it began
	Due, Good int   // Good: fresh within 300 ms of when it was due
}
