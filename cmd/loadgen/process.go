package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// A process is one manager with its own handles, as a process of a service. It
// may end and begin anew while the soak runs: whoever uses it holds its slot, and
// skips it while it is gone. Every second one keeps a snapshot, from which it begins
// again with what it knew.
type process struct {
	index    int                       // immutable
	manager  *fastopt.Manager          // immutable
	options  []*fastopt.Option[string] // immutable: by index of key; the measured one is the last
	family   *fastopt.Family[string]   // immutable
	board    *board                    // immutable
	meter    *meter                    // immutable
	closing  func()                    // immutable: closes the tiers
	stamps   []tiers.Stamp             // of the Inspect loop alone: seen, by option
	unready  int64                     // of the judge alone: since when Ready says no; 0: it does not
	asked    uint64                    // likewise: requests to the source, at the last look
	firstAsk int64                     // likewise: when the first of an outage of it was seen
	restored bool                      // immutable: it has a snapshot
}

// A slot is where a process runs, from one incarnation to the next.
type slot struct {
	journal journal // all incarnations write into it

	mu sync.RWMutex
	p  *process // guarded by mu; nil while none runs
}

// hold returns the process of slot i, until release; nil if there is none now.
func (r *run) hold(i int) *process {
	s := r.slots[i]
	if !s.mu.TryRLock() {
		return nil
	}
	if s.p == nil {
		s.mu.RUnlock()
	}
	return s.p
}

func (r *run) release(p *process) { r.slots[p.index].mu.RUnlock() }

// take waits until nobody holds slot i, and empties it.
func (r *run) take(i int) *process {
	s := r.slots[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.p
	s.p = nil
	return p
}

func (r *run) put(p *process) {
	s := r.slots[p.index]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p = p
}

// begin notes what is known before a read of k.
func (p *process) begin(r *run, k *key) (*cell, read) {
	c := &p.board.cells[k.index]
	return c, read{floor: c.floor(), before: r.weather.now.Load(), relaxed: p.board.excuses()}
}

// budgets of every process, the defaults of the library, spelled because they
// are judged.
var budgets = [lanes]fastopt.Budget{
	optionLane: {Rate: 5, Burst: 20, AtOnce: 2},
	familyLane: {Rate: 20, Burst: 40, AtOnce: 2},
}

// startTimeout is how long Open waits for tiers that do not answer.
const startTimeout = 700 * time.Millisecond

// openProcess opens process i anew; known says, once it is open, what it must know.
func (r *run) openProcess(ctx context.Context, i int, known func() *board, startTimeout time.Duration) error {
	p := &process{index: i, restored: hasSnapshot(i)}
	p.stamps = make([]tiers.Stamp, len(r.options)+1)
	reg := p.declare(r)
	cache, source, closeTiers, err := r.stores.process(i)
	if err != nil {
		return err
	}
	p.closing = closeTiers
	p.meter = newMeter(r)
	ttl, grace := r.stores.times()
	conf := fastopt.Config{
		Namespace: namespace, Cache: cache, Source: r.metered(source, p.meter, i), TTL: ttl, Grace: grace,
		OptionBudget: budgets[optionLane], FamilyBudget: budgets[familyLane],
		StartTimeout: startTimeout, Logger: slog.New(&r.slots[i].journal),
	}
	if p.restored && !r.forgetsSnapshot {
		conf.Snapshot = filepath.Join(r.folder, fmt.Sprintf("process-%d", i))
	}
	r.slots[i].journal.begin()
	if p.manager, err = fastopt.Open(ctx, conf, reg); err != nil {
		closeTiers()
		return err
	}
	p.board = known()
	r.oracle.boards[i].Store(p.board)
	r.put(p)
	return nil
}

// hasSnapshot says whether process i keeps one.
func hasSnapshot(i int) bool { return i%2 == 1 }

// declare declares everything in a registry of its own.
func (p *process) declare(r *run) *fastopt.Registry {
	var reg fastopt.Registry
	for _, k := range append(r.options, r.measured) {
		spec := fastopt.Spec[string]{Name: k.name, Default: k.fallback, TTL: time.Duration(r.lives[k.class].ttl)}
		switch k.class {
		case forever:
			spec.Grace = fastopt.Forever
		case strict:
			spec.Grace = fastopt.NoGrace
		}
		p.options = append(p.options, fastopt.Declare(&reg, spec))
	}
	p.family = fastopt.DeclareFamily(&reg, fastopt.FamilySpec[string]{Prefix: familyName, Default: familyDefault, MaxEntries: 100_000})
	return &reg
}

// closeBound is how long Close may take, also when tiers hang (I24).
const closeBound = 5 * time.Second

// closeProcess ends p, which nobody holds.
func (r *run) closeProcess(p *process) {
	r.final.add(p.manager.Stats(), p.meter.highest())
	began := time.Now()
	if err := p.manager.Close(); err != nil {
		r.violate(notClosed, p.index, nil, err.Error())
	}
	p.closing()
	if took, lag := time.Since(began), time.Duration(r.lag.recent()); took > closeBound+lag {
		r.violate(notClosed, p.index, nil, fmt.Sprintf("Close took %v, allowed are %v and %v of timer lag", took, closeBound, lag))
	}
}

// pushesLost is how often each process was told that pushes may be missing.
func (r *run) pushesLost() (ns []uint64) {
	for i := range r.slots {
		n := uint64(0)
		if p := r.hold(i); p != nil {
			n = p.manager.Stats().PushesLost
			r.release(p)
		}
		ns = append(ns, n)
	}
	return ns
}

// Totals are what the incarnations that have ended say of themselves.
type totals struct {
	mu        sync.Mutex
	expiries  uint64         // guarded by mu
	worstFall time.Duration  // guarded by mu
	conflicts uint64         // guarded by mu
	requests  [lanes]float64 // guarded by mu: most of the burst that one used
}

func (t *totals) add(st fastopt.Stats, highest [lanes]float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expiries += st.Expiries
	t.conflicts += st.Conflicts
	t.worstFall = max(t.worstFall, st.ExpirerWorst)
	for l, n := range highest {
		t.requests[l] = max(t.requests[l], n)
	}
}

// reopen ends process i and begins it anew. What its snapshot holds it must know
// from the start; else it has time until the weather is well.
func (r *run) reopen(ctx context.Context, i int) error {
	p := r.take(i)
	if p == nil {
		return fmt.Errorf("process %d did not come back the last time", i)
	}
	ends := p.ends(r)
	r.closeProcess(p)
	known := func() *board {
		if !p.restored {
			return r.oracle.newBoard(nil)
		}
		b := r.oracle.newBoard(p.board)
		b.forget(ends, r.now())
		return b
	}
	if err := r.openProcess(ctx, i, known, startTimeout); err != nil {
		return fmt.Errorf("open process %d anew: %w", i, err)
	}
	r.reopened.Add(1)
	return nil
}

// ends are the instants, ns since the run began, at which what p knows of each
// option is too old to be used if nobody renews it.
func (p *process) ends(r *run) (at []int64) {
	for i, o := range p.options {
		end := int64(math.MaxInt64)
		if l := r.lives[r.oracle.keys[i].class]; l.usable >= 0 {
			end = r.now() + l.usable - int64(o.Inspect().Age)
		}
		at = append(at, end)
	}
	return at
}

// reopenSome reopens half of the processes, some with a snapshot and some
// without, at the same time.
func (r *run) reopenSome(ctx context.Context) error {
	all := rand.Perm(len(r.slots))
	errs := make(chan error, len(all))
	n := max(2, len(all)/2)
	for _, i := range all[:n] {
		go func() { errs <- r.reopen(ctx, i) }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// reopening is a fault of the library's process: it is over when it was done.
func (r *run) reopening() fault {
	before := int64(0)
	return fault{name: "processes begun anew", uses: []resource{theProcesses}, brief: true,
		strike: func(ctx context.Context) error { before = r.reopened.Load(); return r.reopenSome(ctx) },
		mend:   func(context.Context) error { return nil },
		bitten: func(context.Context) bool { return r.reopened.Load() > before },
	}
}

// darkness is how long no tier answers before a process begins anew in it: time
// for the last change to get into its snapshot.
const darkness = time.Second

// reopeningInTheDark reopens processes while dark lasts.
func (r *run) reopeningInTheDark(dark fault) fault {
	before := int64(0)
	f := dark
	f.name = "begun anew in the dark"
	f.uses = append([]resource{theProcesses}, dark.uses...)
	f.during = func(ctx context.Context) error {
		before = r.reopened.Load()
		pause(ctx, darkness)
		return r.reopenSome(ctx)
	}
	f.bitten = func(ctx context.Context) bool { return dark.bitten(ctx) && r.reopened.Load() > before }
	return f
}
