package fastopt_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// A database is a source in memory whose history a test writes: who it is, how
// it failed over, and what it has learned of other histories.
type database struct {
	right *memory.Source // immutable: elects, whatever the history

	mu    sync.Mutex
	rows  *memory.Source   // guarded by mu; its epoch is the database's
	who   tiers.Identity   // guarded by mu; but for the epoch
	heard []tiers.Identity // guarded by mu; what Learn told, each once
	floor uint32           // guarded by mu; it is no primary below that epoch
}

func newDatabase(rows *memory.Source, who tiers.Identity) *database {
	return &database{right: rows, rows: rows, who: who}
}

// answering returns the rows, if they are of no history that is over.
func (d *database) answering() (*memory.Source, tiers.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, _ := d.rows.Identity(context.Background())
	who := d.who
	who.Epoch = id.Epoch
	if id.Epoch < d.floor {
		return nil, tiers.Identity{}, fmt.Errorf("%w: epoch %d is over", tiers.ErrUnavailable, id.Epoch)
	}
	return d.rows, who, nil
}

// Learn is tiers.Historian's.
func (d *database) Learn(id tiers.Identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id.Lineage != d.who.Lineage {
		return
	}
	if !slices.Contains(d.heard, id) {
		d.heard = append(d.heard, id)
	}
	if id.System == d.who.System && id.Database == d.who.Database && d.who.Timeline <= id.Timeline {
		d.floor = max(d.floor, id.Epoch)
		return
	}
	for {
		if mine, _ := d.rows.Identity(context.Background()); mine.Epoch > id.Epoch {
			return
		}
		d.rows.StepEpoch()
	}
}

func (d *database) learned() []tiers.Identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.heard)
}

func (d *database) Identity(context.Context) (tiers.Identity, error) {
	_, who, err := d.answering()
	return who, err
}

func (d *database) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rows, _, err := d.answering()
	if err != nil {
		rs := make([]tiers.Result, len(names))
		for i, name := range names {
			rs[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: err}
		}
		return rs
	}
	return rows.Load(ctx, ns, names)
}

func (d *database) Write(ctx context.Context, ns string, writes []tiers.Write) (tiers.Stamp, error) {
	rows, _, err := d.answering()
	if err != nil {
		return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
	}
	return rows.Write(ctx, ns, writes)
}

func (d *database) Scan(ctx context.Context, ns string) iter.Seq2[tiers.Record, error] {
	rows, _, err := d.answering()
	if err != nil {
		return func(yield func(tiers.Record, error) bool) { yield(tiers.Record{}, err) }
	}
	return rows.Scan(ctx, ns)
}

func (d *database) Changes(ctx context.Context, ns string, since tiers.Stamp) (tiers.Changes, error) {
	rows, _, err := d.answering()
	if err != nil {
		return tiers.Changes{}, err
	}
	return rows.Changes(ctx, ns, since)
}

func (d *database) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	rows, _, err := d.answering()
	if err != nil {
		return err
	}
	return rows.Watch(ctx, ns, sink)
}

func (d *database) Elect(ctx context.Context, ns string, lead func(context.Context)) error {
	return d.right.Elect(ctx, ns, lead)
}

var production = tiers.Identity{Lineage: "lineage", System: "production", Timeline: 1, Database: "app"}

// inMarkedWorld is a world whose cache keeps a mark, and whose source is of
// production. Nobody feeds the cache unless a test opens a relay.
func inMarkedWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		w.db = newDatabase(w.rows, production)
		source, cache := faults.NewHistorian(w.db), faults.NewMarked(w.store)
		w.source, w.asSource = source.Source, source
		w.cache, w.asCache = cache.Cache, cache
		f(t, w)
	})
}

// openRelay opens a process that relays, and declares nothing.
func (w *world) openRelay() *fastopt.Manager {
	w.t.Helper()
	cfg := w.config()
	cfg.Relay = fastopt.Auto
	m := w.open(cfg)
	leads(w.t, 2*time.Second, m)
	settle()
	return m
}

// mark is what the cache holds for one; zero for none.
func (w *world) mark() tiers.Mark {
	m, _ := w.store.Mark(ctx, "default")
	return m
}

// putMark replaces the mark, whatever it is.
func (w *world) putMark(next tiers.Mark) {
	w.t.Helper()
	if ok, err := w.store.PutMark(ctx, "default", w.mark(), next); err != nil || !ok {
		w.t.Fatal(ok, err)
	}
}

// feeds steps the mark of another relay once a second, until it is stopped.
func (w *world) feeds(id tiers.Identity) (stop func()) {
	w.putMark(tiers.Mark{Identity: id, Fed: 1000})
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Second):
			}
			if m := w.mark(); m.Identity == id {
				w.store.PutMark(ctx, "default", m, tiers.Mark{Identity: id, Fed: m.Fed + 1})
			}
		}
	}()
	return sync.OnceFunc(func() { close(ended); <-gone })
}

// promote makes a standby that has nothing but rows the primary of the next
// epoch, and returns the database as it was.
func (w *world) promote(rows map[string]string) (zombie *database) {
	w.t.Helper()
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	zombie = newDatabase(w.db.rows, w.db.who)
	old, _ := w.db.rows.Identity(ctx)
	next := memory.NewSource()
	for name, data := range rows {
		must(w.t, second(next.Write(ctx, "default", []tiers.Write{{Name: name, Data: []byte(data)}})))
	}
	for range old.Epoch {
		next.StepEpoch()
	}
	w.db.rows, w.rows = next, next
	w.db.who.Timeline++
	return zombie
}

// poison puts a record into the cache that the source never gave.
func (w *world) poison(name, data string, at tiers.Stamp) {
	w.t.Helper()
	rec := tiers.Record{Name: name, Kind: tiers.Value, Data: []byte(data), Stamp: at}
	var raw []byte
	if held := w.store.Load(ctx, "default", []string{name})[0]; held.Err == nil {
		raw = held.Raw
	}
	if r := w.store.Fill(ctx, "default", []tiers.Fill{{Record: rec, Replace: raw}})[0]; !r.Stored {
		w.t.Fatalf("%+v", r)
	}
}
