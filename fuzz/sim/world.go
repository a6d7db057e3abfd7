package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// The world of one history: what is shared, the processes, and their clients.

// fallback is the default of every option; written values are positive.
const fallback = -1

var names = []string{"a", "b"}

// A world is one history. Gates, tiers and clients run on goroutines of the
// library, between two steps of the scheduler; they take mu.
type world struct {
	draw   draw            // immutable
	rng    *rand.Rand      // the scheduler's
	start  time.Time       // immutable
	sites  []*site         // guarded by mu: that of all; that of the last process, if it is staging
	store  *memory.Cache   // the shared cache
	procs  []*process      // the scheduler's; changed under mu
	judge  judge           // the scheduler's
	down   map[string]bool // the scheduler's: tiers that refuse everything …
	mute   map[string]bool // … or say nothing
	calls  int             // the scheduler's: calls of clients so far
	help   map[string]bool // the scheduler's: keys that a relay has to mend
	seen   map[string]int  // guarded by mu: how often what happened
	hash   uint64          // of the trace
	swift  int             // the scheduler's: steps since time passed in a calm
	trace  []string
	traced bool          // immutable: trace and hash are wanted
	bell   chan struct{} // cap 1: something has parked

	mu      sync.Mutex
	free    bool        // guarded by mu: gates are open
	step    int         // guarded by mu
	seq     int         // guarded by mu
	parked  []*item     // guarded by mu
	late    []*lateCall // guarded by mu: timed out, and not yet carried out
	results []result    // guarded by mu: of clients' calls that have ended
	losses  int         // guarded by mu: times that the cache lost something
	opening *process    // guarded by mu: its manager is not known yet
	commits map[string]commit

	ghosts     []*process   // guarded by mu: killed
	graves     []*item      // guarded by mu: what of theirs is parked, for ever
	candidates []*candidate // guarded by mu
	lame       []*tenure    // guarded by mu: holders whose right was given away
	replica    replica      // guarded by mu: what a lagging replica of the cache holds
	wronged    bool         // guarded by mu: something newer than the truth was brought into the world
	night      *night       // guarded by mu: nil by day
	hidden     bool         // guarded by mu: something is wrong that only a patrol sees
}

// A commit is how a value got its stamp, by value: no value is written twice.
// Guarded by world.mu.
type commit struct {
	name  string
	stamp tiers.Stamp
}

// A process is one manager, and what the judge knows of it.
type process struct {
	w    *world
	id   int
	reg  fastopt.Registry
	opts []*fastopt.Option[int64] // by key

	m       *fastopt.Manager // guarded by world.mu; nil while closed
	state   lifecycle        // the scheduler's
	link    link             // guarded by world.mu
	tracked map[string]bool  // guarded by world.mu: the next change is announced
	queue   []push           // guarded by world.mu: announced, not delivered
	deliver chan push        // immutable
	frozen  time.Duration    // guarded by world.mu: since when the link is
	idle    bool             // guarded by world.mu: the watch can take a push
	known   []known          // guarded by world.mu: by key
	up      bool             // the judge's: pushes arrived at the last look
	lost    uint64           // the judge's: times that they ceased to
	ups     uint64           // the judge's: times that they began to
	is      told             // guarded by world.mu
	order   map[string]int   // the scheduler's: calls of clients under way, by key and kind

	site    *site         // guarded by world.mu; nil before the first opening
	server  *database     // guarded by world.mu: where its connections lead
	ken     ken           // guarded by world.mu
	bell    chan struct{} // guarded by world.mu: wakes its relay; nil: none listens
	stopped time.Duration // guarded by world.mu: it does not run before this instant
	ghost   bool          // guarded by world.mu: it was killed
}

type lifecycle uint8

const (
	closed lifecycle = iota
	opening
	running
	closing
)

// A link is the state of a watch channel.
type link uint8

const (
	linkUp     link = iota
	linkCut         // the watcher was told
	linkFrozen      // it was not
)

// A push is an event on its way.
type push struct {
	tiers.Event
	stamp  tiers.Stamp
	losses int // world.losses when it was announced
}

// A lateCall is a request that nobody waits for, but the tier may still carry out.
type lateCall struct {
	what, names string
	at          time.Duration // when its caller gave up
	p           *process
	apply       func()
}

// A Report is what became of a history.
type Report struct {
	Violation string // "" if there is none
	Steps     int
	Hash      uint64         // equal for equal seeds
	Seen      map[string]int // how often what happened
	Trace     []string
}

// Run runs the history of seed in a bubble of its own, with Trace and Hash if it
// is traced. The points of the
// library are the whole process', so one history runs at a time, and on one
// processor: what several goroutines do between two steps, they do in one order.
func Run(t *testing.T, seed uint64, traced bool) (rep Report) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed)
		w.traced = traced
		if traced {
			w.trace = append(w.trace, fmt.Sprintf("%+v", w.draw))
		}
		defer point.Set(w.hook)()
		w.run()
		w.end()
		rep = Report{Violation: w.judge.violation, Steps: w.step, Hash: w.hash, Seen: w.seen, Trace: w.trace}
	})
	return rep
}

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0x6a09e667f3bcc909))
	w := &world{draw: drawFrom(seed, rng), rng: rng, start: time.Now(), sites: []*site{{primary: newDatabase("lineage", "system")}}, store: memory.NewCache(),
		down: map[string]bool{}, mute: map[string]bool{}, help: map[string]bool{}, seen: map[string]int{}, commits: map[string]commit{}, bell: make(chan struct{}, 1)}
	w.judge = newJudge(w)
	for id := range w.draw.procs {
		w.procs = append(w.procs, w.newProcess(id))
	}
	return w
}

// newProcess is a process that was never opened.
func (w *world) newProcess(id int) *process {
	p := &process{w: w, id: id, tracked: map[string]bool{}, deliver: make(chan push), order: map[string]int{}, is: newTold(w.draw.keys)}
	for _, name := range names[:w.draw.keys] {
		p.opts = append(p.opts, fastopt.New[int64](&p.reg, name, fallback))
	}
	return p
}

// keyOf is the index of a name.
func keyOf(name string) int { return slices.Index(names, name) }

// now is the age of the world.
func (w *world) now() time.Duration { return time.Since(w.start) }

// jitter is a function of the instant and of the function that asks: who asks
// first must not matter, and timers of two goroutines must not end together.
func (p *process) jitter() float64 {
	var pc [1]uintptr
	runtime.Callers(3, pc[:]) // past Manager.jitter
	frame, _ := runtime.CallersFrames(pc[:]).Next()
	h := fnv.New64a()
	fmt.Fprint(h, p.w.draw.seed, p.id, p.w.now(), frame.Function)
	return float64(h.Sum64()>>11) / (1 << 53)
}

// ownerLocked is the process of a manager, which may not have been returned by
// Open yet. Only one opens at a time.
func (w *world) ownerLocked(owner any) *process {
	for _, p := range slices.Concat(w.procs, w.ghosts) {
		if p.m == owner {
			return p
		}
	}
	w.opening.m = owner.(*fastopt.Manager)
	return w.opening
}

// count notes that something happened. The caller holds mu, or is the scheduler
// while everything is parked.
func (w *world) count(what string) { w.seen[what]++ }
