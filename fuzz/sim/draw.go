package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/point"
)

// Drawing: what a seed decides before anything happens (swarm testing): a world
// in which everything may go wrong at any time shows less than many worlds in
// which a few things do.

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
	budget            fastopt.Budget

	mark    bool   // the cache keeps one
	relay   bool   // processes stand for relay
	staging string // whose database the last process has: "" for that of all, "copy" or "foreign"
}

var points = []point.Point{point.InstallSwap, point.FlightJoin, point.FlightSend, point.FlightSettle, point.FillSend,
	point.WriteCommit, point.WriteFill, point.ExpireClaim, point.ExpireSwap, point.PushHandle, point.RelayFill}

// faultNames are what may befall calls, channels, processes and tiers …
var faultNames = []string{"fail", "lose", "late", "drop", "reorder", "cut", "freeze", "flush", "corrupt", "down", "reopen", "calm",
	"kill", "stop", "coma", "mute", "night", "depose", "poison", "replica", "blot"}

// … and histories, each of which exists in one world of three.
var historyNames = []string{"failover", "zombie", "standby", "set back"}

// drawFrom draws a world.
func drawFrom(seed uint64, r *rand.Rand) draw {
	d := draw{seed: seed, procs: 1 + r.IntN(3), keys: 1 + r.IntN(len(names)), points: map[point.Point]bool{}, faults: map[string]bool{}}
	d.ttl = []time.Duration{550, 700, 1000, 3000}[r.IntN(4)] * time.Millisecond
	d.grace = []time.Duration{fastopt.NoGrace, 300 * time.Millisecond, 2 * time.Second, 2 * time.Second, fastopt.Forever}[r.IntN(5)]
	for _, p := range points {
		d.points[p] = r.IntN(10) < 7
	}
	d.points[point.FlightJoin] = true // Loads that wait for one instant must not race
	for _, f := range faultNames {
		d.faults[f] = r.IntN(2) == 0
	}
	kind := r.IntN(8) // of which two in eight are plain
	d.mark, d.relay = kind == 2 || kind > 3, kind > 2
	histories := r.IntN(2) == 0
	for _, f := range historyNames {
		d.faults[f] = histories && r.IntN(3) > 0
	}
	if d.mark && d.relay && d.procs > 1 && r.IntN(2) == 0 {
		d.staging = []string{"copy", "copy", "foreign"}[r.IntN(3)]
		d.faults["desert"] = r.IntN(2) == 0
	}
	if !d.relay { // who else would mend it?
		d.faults["poison"], d.faults["set back"] = false, false
	}
	if kind == 0 { // what a relay would have to mend hides what processes do not
		for _, f := range []string{"kill", "replica", "blot", "flush", "corrupt", "failover"} {
			d.faults[f] = false
		}
	}
	d.answers = r.IntN(3) > 0
	d.moments = r.IntN(3) > 0
	d.steps = 80 + r.IntN(160)
	d.advance, d.clients = 1+r.IntN(4), 1+r.IntN(5)
	d.budget = budgets[r.IntN(len(budgets))]
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

// slowly reports whether much of what happens takes seconds.
func (d draw) slowly() bool { return d.mark || d.relay }
