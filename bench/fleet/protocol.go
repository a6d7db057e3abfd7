package main

// What the command and its worker processes say to each other. Instants are
// those of worker.Now, in ns.

// A spec says what a worker opens.
type spec struct {
	RedisURL, PostgresURL, Namespace string

	Managers int  // each with a connection to Redis of its own; they share those to Postgres
	Options  int  // of each manager: option(0) and on, int64, default -1
	Watch    bool // somebody waits in Watch at every option of every manager
	Relay    bool // the first manager stands for relay
	Verbose  bool // the library's log goes to standard error
}

// An update is one value of one option.
type update struct {
	Option int
	Value  int64
}

// A pace says what to write: Count values, each greater than the one before,
// to the options in turn.
type pace struct {
	First     int64 // the first value
	Count     int
	PerSecond float64
	Options   int
}

// A write is an update, when it was begun and when it was acknowledged.
type write struct {
	update
	Begun, Acked int64
	Uncached     bool // Redis did not take it in time
}

// An arrival is an update seen by somebody who watched.
type arrival struct {
	update
	Manager int
	At      int64
}

// A wish is what all managers of a worker are to read.
type wish struct {
	Want  []update
	Limit int64 // ns to wait
	Whole bool  // also: every option is fresh, pushes arrive, Ready has no complaint
}

// A granted wish: since when, or what was wrong at the limit.
type granted struct {
	At    int64 // 0: not granted
	Wrong string
}

// A status is how a worker stands, its managers summed up.
type status struct {
	At         int64
	Relays     int
	PushesDown int    // managers that pushes do not reach
	Lost       uint64 // times that pushes may have been lost
	Pushes     uint64
	Loads      uint64 // requests to the source
	Filled     uint64 // records stored by this process, as the relay or not
	Unready    string // the first complaint of Ready
	CPU        int64  // ns of processor time
	Allocs     uint64 // objects on the heap since the start
}

// A miss is a member of a family that Goroutines load at the instant At.
type miss struct {
	Key        string
	Goroutines int
	At         int64
}

// A death is where a worker is to kill itself: when it passes Point for the
// first time, After ns later.
type death struct {
	Point string
	After int64
}

// missed is what the loads of a miss had.
type missed struct {
	Right    int   // read the value of the source
	Returned int64 // the last of them did
	Had      int64 // since when the process reads the value; 0: it did not in missLimit
}
