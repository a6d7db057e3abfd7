package sim

import (
	"flag"
	"testing"
)

var (
	first = flag.Uint64("sim.first", 1, "first seed")
	seeds = flag.Int("sim.seeds", 0, "number of seeds; 0: as many as a test should")
	every = flag.Bool("sim.all", false, "go on after a violation, and count")
	trace = flag.Bool("sim.trace", false, "print the trace of each history")
)

// sometimes names what a campaign must have met: else it proves less than it seems.
var sometimes = []string{"refused", "behind", "corrupt seen", "repaired", "expiry", "pushes lost", "expired", "stale", "load failed",
	"not cached", "outcome unknown", "write refused", "two tokens in flight", "fill refused", "push dropped", "push reordered",
	"late cache fill", "late source write", "flush", "reopened", "timeout", "setif", "setall", "conflict", "relay killed",
	"elected", "resigned", "two relays", "resync", "relay fill", "mark stepped", "mark refused", "unfed", "withheld", "late fill", "replaces",
	"lease denied", "lease waited", "waited in vain", "failover", "commits lost", "epoch marked", "learned", "zombie", "strayed",
	"set back", "poison", "future epoch", "corrected", "cache corrected", "cache set back", "blot", "desert", "strange mark",
	"cache not used", "not opened", "taken over",
	"night", "coma p0", "load in vain", "write in vain", "write spared", "dark cache", "dark source"}

// No seed leads to a violation of the contract.
func TestCampaign(t *testing.T) {
	n := *seeds
	if n == 0 {
		n = 800
		if raceEnabled {
			n = 100
		}
	}
	seen, steps, bad := map[string]int{}, 0, 0
	for seed := *first; seed < *first+uint64(n); seed++ {
		rep := Run(t, seed, *trace)
		steps += rep.Steps
		for what, k := range rep.Seen {
			seen[what] += k
		}
		if *trace {
			for _, line := range rep.Trace {
				t.Log(line)
			}
		}
		if rep.Violation != "" {
			bad++
			t.Errorf("seed %d, step %d: %s", seed, rep.Steps, rep.Violation)
			if !*every {
				break
			}
		}
	}
	t.Logf("%d seeds, %d steps, %d with a violation; seen: %v", n, steps, bad, seen)
	if *seeds != 0 && n < 800 || raceEnabled {
		return
	}
	for _, what := range sometimes {
		if seen[what] == 0 {
			t.Errorf("no history met %q", what)
		}
	}
}

// A seed is a history: run twice, it is the same. Not so where the race detector
// shuffles what several goroutines do at one instant.
func TestTheSameSeedIsTheSameHistory(t *testing.T) {
	n := 60
	if *seeds != 0 {
		n = *seeds
	}
	if raceEnabled {
		n = 0
	}
	for seed := *first; seed < *first+uint64(n); seed++ {
		a, b := Run(t, seed, true), Run(t, seed, true)
		if a.Hash == b.Hash {
			continue
		}
		t.Errorf("seed %d: two histories", seed)
		for i := range min(len(a.Trace), len(b.Trace)) {
			if a.Trace[i] != b.Trace[i] {
				t.Errorf("they part here:\n%s\n%s", a.Trace[i], b.Trace[i])
				break
			}
		}
	}
}
