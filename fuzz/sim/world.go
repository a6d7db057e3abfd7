package sim

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime"
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
	draw  draw            // immutable
	rng   *rand.Rand      // the scheduler's
	start time.Time       // immutable
	rows  *memory.Source  // the truth
	store *memory.Cache   // the shared cache
	procs []*process      // immutable
	judge judge           // the scheduler's
	down  map[string]bool // the scheduler's: tiers that refuse everything
	order map[string]int  // the scheduler's: calls of clients under way, by process, key and kind
	calls int             // the scheduler's: calls of clients so far
	help  map[string]bool // the scheduler's: keys that a relay has to mend
	seen  map[string]int  // guarded by mu: how often what happened
	hash  uint64          // of the trace
	swift int             // the scheduler's: steps since time passed in a calm
	fixed bool            // hash is final: from here on the order is not ours
	trace []string

	mu      sync.Mutex
	free    bool        // guarded by mu: gates are open
	step    int         // guarded by mu
	seq     int         // guarded by mu
	parked  []*item     // guarded by mu
	late    []*lateCall // guarded by mu: timed out, and not yet carried out
	results []result    // guarded by mu: of clients' calls that have ended
	losses  int         // guarded by mu: times that the cache lost something
	opening *process    // guarded by mu: its manager is not known yet
	commits map[uint64]commit
}

// A commit is what the source did at one revision. Guarded by world.mu.
type commit struct {
	name  string
	value string // "" for a delete
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
	ups     uint64           // the judge's: times that they began to
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
	m           *fastopt.Manager // p's then
	apply       func()
}

// A draw is what a seed decides first.
type draw struct {
	seed              uint64
	procs, keys       int
	ttl, grace        time.Duration
	points            map[point.Point]bool
	answers           bool            // answers park, too
	faults            map[string]bool // that exist
	steps             int
	moments           bool // each step takes one
	advance, clients  int  // weights
	failures, holding int  // per cent
}

var points = []point.Point{point.InstallSwap, point.FlightJoin, point.FlightSend, point.FlightSettle, point.FillSend,
	point.WriteCommit, point.WriteFill, point.ExpireClaim, point.ExpireSwap, point.PushHandle}

var faultNames = []string{"fail", "lose", "late", "drop", "reorder", "cut", "freeze", "flush", "corrupt", "down", "reopen", "calm"}

// drawFrom draws a world.
func drawFrom(seed uint64, r *rand.Rand) draw {
	d := draw{seed: seed, procs: 1 + r.IntN(3), keys: 1 + r.IntN(len(names)), points: map[point.Point]bool{}, faults: map[string]bool{}}
	d.ttl = []time.Duration{200, 400, 1000, 3000}[r.IntN(4)] * time.Millisecond
	d.grace = []time.Duration{fastopt.NoGrace, 300 * time.Millisecond, 2 * time.Second, 2 * time.Second, fastopt.Forever}[r.IntN(5)]
	for _, p := range points {
		d.points[p] = r.IntN(10) < 7
	}
	d.points[point.FlightJoin] = true // Loads that wait for one instant must not race
	for _, f := range faultNames {
		d.faults[f] = r.IntN(2) == 0
	}
	d.answers = r.IntN(3) > 0
	d.moments = r.IntN(3) > 0
	d.steps = 80 + r.IntN(160)
	d.advance, d.clients = 1+r.IntN(4), 1+r.IntN(5)
	d.failures, d.holding = 2+r.IntN(15), r.IntN(20)
	return d
}

// usable is how long an answer may be used, math.MaxInt64 for ever.
func (d draw) usable() time.Duration {
	switch d.grace {
	case fastopt.NoGrace:
		return d.ttl
	case fastopt.Forever:
		return math.MaxInt64
	}
	return d.ttl + d.grace
}

// A Report is what became of a history.
type Report struct {
	Violation string // "" if there is none
	Steps     int
	Hash      uint64         // equal for equal seeds
	Seen      map[string]int // how often what happened
	Trace     []string
}

// Run runs the history of seed in a bubble of its own. The points of the
// library are the whole process', so one history runs at a time, and on one
// processor: what several goroutines do between two steps, they do in one order.
func Run(t *testing.T, seed uint64) (rep Report) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed)
		defer point.Set(w.hook)()
		w.run()
		w.end()
		rep = Report{Violation: w.judge.violation, Steps: w.step, Hash: w.hash, Seen: w.seen, Trace: w.trace}
	})
	return rep
}

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0x6a09e667f3bcc909))
	w := &world{draw: drawFrom(seed, rng), rng: rng, start: time.Now(), rows: memory.NewSource(), store: memory.NewCache(),
		down: map[string]bool{}, order: map[string]int{}, help: map[string]bool{}, seen: map[string]int{}, commits: map[uint64]commit{}}
	w.judge = newJudge(w)
	for id := range w.draw.procs {
		p := &process{w: w, id: id, tracked: map[string]bool{}, deliver: make(chan push)}
		for _, name := range names[:w.draw.keys] {
			p.opts = append(p.opts, fastopt.New[int64](&p.reg, name, fallback))
		}
		w.procs = append(w.procs, p)
	}
	return w
}

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
	for _, p := range w.procs {
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

// A result is a client's call that has ended.
type result struct {
	call
	at      time.Duration
	reading fastopt.Reading[int64]
	receipt fastopt.Receipt
	m       *fastopt.Manager
	err     error
}

// A call is what a client asked of a process, and what was known then.
type call struct {
	id    int
	p     *process
	key   int
	kind  string
	value string // Set: the value in the tiers
	step  int
	known known
	lost  int // world.losses
}

// begin runs a client's call on a goroutine of its own.
func (w *world) begin(p *process, key int, kind string, f func(r *result)) {
	w.calls++
	w.mu.Lock()
	c := call{id: w.calls, p: p, key: key, kind: kind, step: w.step, known: p.known[key], lost: w.losses}
	w.mu.Unlock()
	w.order[c.slot()]++
	if kind == "set" {
		c.value = fmt.Sprint(c.id)
	}
	go func() {
		r := result{call: c}
		f(&r)
		r.at = w.now()
		w.mu.Lock()
		w.results = append(w.results, r)
		w.mu.Unlock()
	}()
}

func (c call) slot() string { return fmt.Sprint(c.p.id, c.key, c.kind) }

func (w *world) beginLoad(p *process, key int) {
	w.begin(p, key, "load", func(r *result) { r.reading = p.opts[key].Load(all) })
}

func (w *world) beginSet(p *process, key int) {
	v := int64(w.calls + 1)
	w.begin(p, key, "set", func(r *result) { r.receipt, r.err = p.opts[key].Set(all, v) })
}

func (w *world) beginDelete(p *process, key int) {
	w.begin(p, key, "delete", func(r *result) { r.receipt, r.err = p.opts[key].Delete(all) })
}

func (w *world) beginOpen(p *process) {
	p.state = opening
	w.mu.Lock()
	p.known, p.m, w.opening = make([]known, w.draw.keys), nil, p
	w.mu.Unlock()
	cfg := fastopt.Config{Namespace: namespace, Source: source{p}, Cache: cache{p}, TTL: w.draw.ttl, Grace: w.draw.grace, Jitter: p.jitter, Relay: fastopt.Never,
		CacheTimeout: 50 * time.Millisecond, SourceTimeout: 100 * time.Millisecond, WriteTimeout: 200 * time.Millisecond, StartTimeout: time.Second}
	w.begin(p, 0, "open", func(r *result) {
		var m *fastopt.Manager
		if m, r.err = fastopt.Open(context.Background(), cfg, &p.reg); r.err == nil {
			r.m = m
		}
	})
}

func (w *world) beginClose(p *process) {
	p.state = closing
	m := p.m
	w.begin(p, 0, "close", func(r *result) { r.err = m.Close() })
}
