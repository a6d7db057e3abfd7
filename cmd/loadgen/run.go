package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A run is one soak: stores, processes, everyone who reads, writes, breaks and
// judges, and what they found.
type run struct {
	conf      config                         // immutable
	start     time.Time                      // immutable: the origin of all instants
	stores    stores                         // immutable
	faults    []fault                        // immutable
	folder    string                         // immutable: of the snapshots
	lives     [classes]lives                 // immutable
	oracle    *oracle                        // immutable
	shim      func(int, *key, string) string // immutable; what a planted bug makes of a value; nil: none
	deaf      func(process int) bool         // immutable; a planted bug in a watcher; nil: none
	writeFrom int                            // immutable: the first process that writes

	// Planted bugs, immutable: a meter that counts each request so often, writes
	// that wait so long for nothing, Ready that says that all is well, and
	// snapshots that are not read.
	poursTimes      float64
	dawdles         time.Duration
	pretends        bool
	forgetsSnapshot bool

	options  []*key // immutable: read at full speed
	measured *key   // immutable: for propagation
	members  []*key // immutable: of the family

	slots       []*slot // immutable, one per process
	reopened    atomic.Int64
	readers     []*reader
	writers     []*writer
	weather     *weather
	dues        dues
	doubts      doubts
	spread      propagation
	lag         lagMeter
	found       violations
	tallies     []tally
	storms      tally                // of the schedule alone
	loudest     int                  // of the schedule alone: most lines of log that a process wrote per fault of a step …
	loudestOf   string               // … and which that was
	loudestText string               // … and those lines
	slowFor     time.Duration        // of the judge alone: how long the machine was too slow
	readyTold   map[readyReport]bool // of the judge alone
	writes      atomic.Int64         // acknowledged
	deep        atomic.Int64         // readings checked by Inspect, Load and Watch
	lastAck     atomic.Int64         // when a write was acknowledged last, ns since the run began
	took        time.Duration
	final       totals
}

const (
	familyName    = "soak.member"
	familyDefault = "unset" // one for all members: it cannot say whose it is
	familySize    = 16
	writersMost   = 16
	judgeEvery    = 5 * time.Millisecond

	longTTL = 30 * time.Second

	// cacheTrail is L: how long the cache may trail the source (I3).
	cacheTrail = 2 * time.Second
)

// now is the time since the run began, ns.
func (r *run) now() int64 { return int64(time.Since(r.start)) }

// soak runs c until its duration is over or ctx ends. An error means that it
// could not run.
func soak(ctx context.Context, c config, progress io.Writer) (*run, error) {
	s, err := openStores(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := newRun(ctx, c, s, nil)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	r.do(ctx, progress)
	return r, s.close()
}

// newRun opens the processes. plant, if not nil, plants a bug.
func newRun(ctx context.Context, c config, s stores, plant func(*run)) (*run, error) {
	r := &run{conf: c, start: time.Now(), stores: s, readyTold: map[readyReport]bool{}}
	var err error
	if r.folder, err = os.MkdirTemp("", "loadgen-"); err != nil {
		return nil, err
	}
	r.makeKeys()
	r.setTimes()
	r.faults = append(s.faults(r), r.reopening())
	if i := slices.IndexFunc(r.faults, func(f fault) bool { return f.outlasts }); i >= 0 {
		r.faults = append(r.faults, r.reopeningInTheDark(r.faults[i]))
	}
	if plant != nil {
		plant(r)
	}
	for p := range c.processes {
		r.slots = append(r.slots, new(slot))
		if err := r.openProcess(ctx, p, func() *board { return r.oracle.board(p) }, 0); err != nil {
			return nil, errors.Join(fmt.Errorf("open process %d: %w", p, err), r.closeProcesses())
		}
	}
	for _, f := range r.faults {
		r.tallies = append(r.tallies, tally{name: f.name})
	}
	for i := range c.readers {
		r.readers = append(r.readers, &reader{run: r, first: i})
	}
	r.makeWriters()
	return r, nil
}

func (r *run) makeKeys() {
	var all []*key
	for i := range r.conf.options {
		c := graceful
		switch i % 10 {
		case 0:
			c = forever
		case 1:
			c = strict
		}
		all = append(all, newKey(i, fmt.Sprintf("soak.option-%05d", i), "", c))
	}
	r.options = all[:len(all):len(all)]
	r.measured = newKey(len(all), "soak.measured", "", forever)
	all = append(all, r.measured)
	for i := range familySize {
		m := fmt.Sprintf("tenant-%d", i)
		all = append(all, newKey(len(all), familyName+"/"+m, m, member))
	}
	r.members = all[len(all)-familySize:]
	r.oracle = newOracle(all, r.conf.processes)
	r.dues.oracle = r.oracle
}

// setTimes sets what each class lives. Options without grace get twice the TTL:
// a renewal that the machine delays would be a fall to the default. Those that
// live for ever get a long one: they are right only if pushes are followed and
// made up for when they were lost, not because the TTL would heal it.
func (r *run) setTimes() {
	ttl, grace := r.stores.times()
	l := lives{int64(ttl), int64(ttl + grace)}
	r.lives = [classes]lives{graceful: l, forever: {int64(longTTL), -1}, strict: {2 * int64(ttl), 2 * int64(ttl)}, member: l}
	var ttls, usables [classes]int64
	for c, l := range r.lives {
		ttls[c], usables[c] = l.ttl, l.usable
	}
	r.weather = newWeather(ttls, usables, r.stores.tooLate())
}

// makeWriters shares keys and rate among the writers.
func (r *run) makeWriters() {
	n := min(max(r.conf.writes/25, 1), writersMost)
	for i := range n {
		w := &writer{run: r, rnd: rand.New(rand.NewPCG(r.conf.seed, 1000+uint64(i)))}
		w.gap = time.Duration(n) * time.Second / time.Duration(r.conf.writes)
		for _, k := range r.oracle.keys {
			if k != r.measured && k.index%n == i {
				w.keys = append(w.keys, k)
			}
		}
		r.writers = append(r.writers, w)
	}
}

// do lets everyone run, and closes the processes.
func (r *run) do(ctx context.Context, progress io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, r.conf.duration-time.Duration(r.now()))
	defer cancel()
	var all sync.WaitGroup
	for _, rd := range r.readers {
		all.Go(func() { rd.loop(ctx) })
	}
	for _, w := range r.writers {
		all.Go(func() { w.loop(ctx) })
	}
	measurer := &writer{run: r}
	r.writers = append(r.writers, measurer)
	all.Go(func() { r.spreadLoop(ctx, measurer) })
	for p := range r.slots {
		all.Go(func() { r.watchLoop(ctx, p) })
	}
	all.Go(func() { r.inspectLoop(ctx) })
	for i := range uint64(2) {
		all.Go(func() { r.loadLoop(ctx, i) })
	}
	all.Go(func() { r.doubtLoop(ctx) })
	all.Go(func() { r.lag.run(ctx) })
	all.Go(func() { r.judgeLoop(ctx) })
	all.Go(func() { r.progressLoop(ctx, progress) })
	all.Go(func() { r.scheduleLoop(ctx) })
	all.Wait()
	r.took = time.Since(r.start)
	r.judgeTruth()
	if err := r.closeProcesses(); err != nil {
		r.violateAfter("", notClosed, nil, err.Error())
	}
}

// judgeLoop is everything that goes by the clock.
func (r *run) judgeLoop(ctx context.Context) {
	readied, looked := int64(0), r.now()
	for ctx.Err() == nil {
		now, lag := r.now(), r.lag.recent()
		r.weather.tick(now, lag)
		if r.starved(lag) {
			r.slowFor += time.Duration(now - looked)
		}
		looked = now
		if now-readied > int64(readyEvery) {
			readied = now
			r.judgeReady(now, lag)
		}
		var allowed [classes]int64
		for c, l := range r.lives {
			allowed[c] = l.ttl + int64(cacheTrail) + lag
		}
		r.dues.tick(now, lag, r.weather, allowed)
		r.judgeSpread(now, lag)
		pause(ctx, judgeEvery)
	}
}

// closeProcesses ends all, and removes their snapshots.
func (r *run) closeProcesses() error {
	for i := range r.slots {
		if p := r.take(i); p != nil {
			r.closeProcess(p)
		}
	}
	return os.RemoveAll(r.folder)
}

func (r *run) violate(what kind, process int, k *key, text string) {
	r.found.add(r.now(), what, process, k, r.weather.now.Load().fault, text)
}

// violateAfter is violate for what a fault that may be over has done.
func (r *run) violateAfter(fault string, what kind, k *key, text string) {
	r.found.add(r.now(), what, -1, k, fault, text)
}

// given is what a planted bug makes of a value, if there is one.
func (r *run) given(p int, k *key, v string) string {
	if r.shim == nil {
		return v
	}
	return r.shim(p, k, v)
}

// wrong reports whether anything was.
func (r *run) wrong() bool { return r.found.total.Load() > 0 }
