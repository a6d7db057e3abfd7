package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
)

// What one process asks of the source is metered between library and tier, by
// lane: requests for options, and for members of families. Over any span of time
// there may be no more than burst + rate × span (I8, I20). The meter is a bucket
// that empties with the rate: each request pours into it, and it must not
// overflow.

type lane uint8

const (
	optionLane lane = iota
	familyLane
	lanes
)

var laneNames = [lanes]string{"options", "members of families"}

// Beside what the budget allows there are, for options, what does not wait for it:
// probes of a source that fails, at most one a second after a few quicker ones,
// and what the relay's patrol compares, twice in 5 s; and tokens that were drawn
// and, on a busy machine, used later.
const (
	slackRate  = 1.5
	slackBurst = 10
)

type meter struct {
	run   *run    // immutable
	times float64 // immutable: how often each request counts; 1, but for a planted bug

	mu    sync.Mutex
	fill  [lanes]float64   // guarded by mu
	at    [lanes]time.Time // guarded by mu: of the last request
	count [lanes]int       // guarded by mu
	worst [lanes]float64   // guarded by mu
}

func newMeter(r *run) *meter { return &meter{run: r, times: max(1, r.poursTimes)} }

// pour notes one request for names and returns what overflows, in words.
func (m *meter) pour(names []string, now time.Time) string {
	l := optionLane
	if len(names) > 0 && strings.HasPrefix(names[0], familyName+"/") {
		l = familyLane
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := budgets[l]
	m.fill[l] = max(0, m.fill[l]-(b.Rate+slackRate)*now.Sub(m.at[l]).Seconds()) + m.times
	m.at[l] = now
	m.count[l]++
	m.worst[l] = max(m.worst[l], m.fill[l])
	if limit := float64(b.Burst + slackBurst); m.fill[l] > limit {
		m.fill[l] = 0 // reported once
		return fmt.Sprintf("request %d to the source for %s is more than %d and %v per second", m.count[l], laneNames[l], b.Burst, b.Rate)
	}
	return ""
}

func (m *meter) note(process int, names []string) {
	if bad := m.pour(names, time.Now()); bad != "" {
		m.run.violate(overBudget, process, nil, bad)
	}
}

// highest is how much of the burst of each lane was used at most.
func (m *meter) highest() [lanes]float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.worst
}

// metered is s with m at its Load, and all that s can do beside.
func (r *run) metered(s tiers.Source, m *meter, process int) tiers.Source {
	note := func(names []string) { m.note(process, names) }
	switch s := s.(type) {
	case *postgres.Source:
		return meteredPostgres{s, note}
	case *faults.Source:
		return meteredFaults{s, note}
	}
	return s
}

type meteredPostgres struct {
	*postgres.Source
	note func(names []string)
}

func (s meteredPostgres) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	s.note(names)
	return s.Source.Load(ctx, namespace, names)
}

type meteredFaults struct {
	*faults.Source
	note func(names []string)
}

func (s meteredFaults) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	s.note(names)
	return s.Source.Load(ctx, namespace, names)
}
