package fastopt_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// A world is a source and a cache in memory with faults to order, shared by
// any number of managers, in a bubble of its own time.
type world struct {
	t      *testing.T
	rows   *memory.Source
	store  *memory.Cache
	source *faults.Source
	cache  *faults.Cache
	log    *journal
	relay  fastopt.RelayMode // of managers opened from now on: Never, so that what tests look at comes by one way

	// What managers are given: source and cache, unless something is wrapped around them.
	asSource tiers.Source
	asCache  tiers.Cache
	db       *database // of inMarkedWorld
}

var errDown = fmt.Errorf("%w: down", tiers.ErrUnavailable)

// inWorld runs f in a bubble, which fails the test if a goroutine outlives it.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, rows: memory.NewSource(), store: memory.NewCache(), log: &journal{}, relay: fastopt.Never}
		w.source, w.cache = faults.NewSource(w.rows), faults.NewCache(w.store)
		w.asSource, w.asCache = w.source, w.cache
		f(t, w)
	})
}

// config has the default times: TTL 10 s, grace 60 s.
func (w *world) config() fastopt.Config {
	return fastopt.Config{Source: w.asSource, Cache: w.asCache, Relay: w.relay, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
		Jitter: func() float64 { return 0.5 }}
}

// open opens a manager that is closed when the test ends.
func (w *world) open(cfg fastopt.Config, rs ...*fastopt.Registry) *fastopt.Manager {
	w.t.Helper()
	m, err := fastopt.Open(context.Background(), cfg, rs...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			w.t.Error(err)
		}
	})
	synctest.Wait()
	return m
}

// process is one option in a manager of its own.
func process[T any](w *world, name string, value T) (*fastopt.Option[T], *fastopt.Manager) {
	w.t.Helper()
	var r fastopt.Registry
	o := fastopt.New(&r, name, value)
	return o, w.open(w.config(), &r)
}

// The faults that the scenarios name.

func (w *world) cacheGetFails() { w.cache.Inject(faults.Load, faults.Fault{Err: errDown}) }
func (w *world) cacheSetFails() { w.cache.Inject(faults.Fill, faults.Fault{Err: errDown}) }
func (w *world) sourceFails() {
	w.source.Inject(faults.Load, faults.Fault{Err: errDown})
	w.source.Inject(faults.Write, faults.Fault{Err: errDown})
}
func (w *world) allFail() { w.cacheGetFails(); w.cacheSetFails(); w.sourceFails() }
func (w *world) heal()    { w.cache.Heal(); w.source.Heal() }

// allDown is what a tier that is down answers.
func allDown(names []string) []tiers.Result {
	results := make([]tiers.Result, len(names))
	for i, name := range names {
		results[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: errDown}
	}
	return results
}

// row is what the source holds, "" for nothing.
func (w *world) row(name string) string {
	r := w.rows.Load(context.Background(), "default", []string{name})[0]
	return string(r.Data)
}

// cached is what the cache holds: a value, "absent", or "" for nothing.
func (w *world) cached(name string) string {
	r := w.store.Load(context.Background(), "default", []string{name})[0]
	if r.Kind == tiers.Absent {
		return "absent"
	}
	return string(r.Data)
}

// journal collects log lines.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// lines returns the lines that contain all of what.
func (j *journal) lines(what ...string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
next:
	for line := range strings.Lines(j.b.String()) {
		for _, w := range what {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

var ctx = context.Background()

// want fails the test unless a reading has value, state and origin.
func want[T comparable](t *testing.T, r fastopt.Reading[T], value T, state fastopt.State, origin fastopt.Origin) {
	t.Helper()
	if r.Value != value || r.State != state || r.Origin != origin {
		t.Fatalf("got %v %v %v (stamp %v, age %v, err %v), want %v %v %v", r.Value, r.State, r.Origin, r.Stamp, r.Age, r.Err, value, state, origin)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// set sets and returns the receipt.
func set[T any](t *testing.T, o *fastopt.Option[T], v T) fastopt.Receipt {
	t.Helper()
	rc, err := o.Set(ctx, v)
	must(t, err)
	return rc
}

// settle lets everything under way end, and the pushes arrive.
func settle() { time.Sleep(time.Millisecond); synctest.Wait() }
