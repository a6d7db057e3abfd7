package fastopt_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Closing while tiers do not return, not even when their context ends.

// A stuckness has calls of some operations never return, until free is closed.
type stuckness struct {
	on   map[faults.Op]bool // immutable
	from time.Time          // immutable: before it they return
	free chan struct{}
}

// stuckHere is where they are: by its name they are known in a stack.
func (s stuckness) stuckHere(op faults.Op) {
	if s.on[op] && !time.Now().Before(s.from) {
		<-s.free
	}
}

type stuckSource struct {
	*faults.Historian
	stuckness
}

type stuckCache struct {
	*faults.Marked
	stuckness
}

func (s stuckSource) Identity(ctx context.Context) (tiers.Identity, error) {
	s.stuckHere(faults.Identity)
	return s.Historian.Identity(ctx)
}

func (s stuckSource) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	s.stuckHere(faults.Load)
	return s.Historian.Load(ctx, ns, names)
}

func (s stuckSource) Write(ctx context.Context, ns string, ws []tiers.Write) (tiers.Stamp, error) {
	s.stuckHere(faults.Write)
	return s.Historian.Write(ctx, ns, ws)
}

func (s stuckSource) Scan(ctx context.Context, ns string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		s.stuckHere(faults.Scan)
		s.Historian.Scan(ctx, ns)(yield)
	}
}

func (s stuckSource) Changes(ctx context.Context, ns string, since tiers.Stamp) (tiers.Changes, error) {
	s.stuckHere(faults.Changes)
	return s.Historian.Changes(ctx, ns, since)
}

func (s stuckSource) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	defer s.stuckHere(faults.Watch)
	return s.Historian.Watch(ctx, ns, sink)
}

func (s stuckSource) Elect(ctx context.Context, ns string, lead func(context.Context)) error {
	defer s.stuckHere(faults.Elect)
	return s.Historian.Elect(ctx, ns, lead)
}

func (c stuckCache) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	c.stuckHere(faults.Load)
	return c.Marked.Load(ctx, ns, names)
}

func (c stuckCache) Fill(ctx context.Context, ns string, fs []tiers.Fill) []tiers.FillResult {
	c.stuckHere(faults.Fill)
	return c.Marked.Fill(ctx, ns, fs)
}

func (c stuckCache) Lease(ctx context.Context, ns string, names []string, d time.Duration) ([]bool, error) {
	c.stuckHere(faults.Lease)
	return c.Marked.Lease(ctx, ns, names, d)
}

func (c stuckCache) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	defer c.stuckHere(faults.Watch)
	return c.Marked.Watch(ctx, ns, sink)
}

func (c stuckCache) Mark(ctx context.Context, ns string) (tiers.Mark, error) {
	c.stuckHere(faults.Mark)
	return c.Marked.Mark(ctx, ns)
}

func (c stuckCache) PutMark(ctx context.Context, ns string, old, next tiers.Mark) (bool, error) {
	c.stuckHere(faults.PutMark)
	return c.Marked.PutMark(ctx, ns, old, next)
}

// Probe is tiers.Prober's, and gets stuck with Load.
func (s stuckSource) Probe(ctx context.Context, ns string) error {
	return s.Load(ctx, ns, []string{ns})[0].Err
}

// stuck makes what the operations of some tiers are stuck in, from a time on.
func (w *world) stuck(from time.Duration, ops ...faults.Op) (cfg fastopt.Config, free func()) {
	s := stuckness{on: map[faults.Op]bool{}, from: time.Now().Add(from), free: make(chan struct{})}
	for _, op := range ops {
		s.on[op] = true
	}
	cfg = w.config()
	cfg.Source = stuckSource{w.asSource.(*faults.Historian), s}
	cfg.Cache = stuckCache{w.asCache.(*faults.Marked), s}
	cfg.Relay = fastopt.Auto
	return cfg, func() { close(s.free); synctest.Wait() }
}

// leftovers are the goroutines of the library, but for those in calls that do not
// return, and who can only wait for them.
func leftovers() (left []string) {
	buf := make([]byte, 4<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "fastopt-go/fastopt.") && !strings.Contains(g, "stuckHere") &&
			!strings.Contains(g, "WaitGroup") && !strings.Contains(g, "leftovers") {
			left = append(left, g)
		}
	}
	return left
}

// I24: Close ends within 5 s whatever call a tier is stuck in, and all that is
// not stuck with it; reads go on, and registries may be opened again.
func TestI24CloseWithTiersThatDoNotReturn(t *testing.T) {
	all := []faults.Op{faults.Identity, faults.Load, faults.Write, faults.Scan, faults.Changes, faults.Fill, faults.Lease,
		faults.Watch, faults.Elect, faults.Mark, faults.PutMark}
	for _, ops := range append([][]faults.Op{all}, each(all)...) {
		name := ops[0].String()
		if len(ops) > 1 {
			name = "all"
		}
		t.Run(name, func(t *testing.T) {
			inMarkedWorld(t, func(t *testing.T, w *world) {
				w.sql("foo", `"v"`)
				cfg, free := w.stuck(5*time.Second, ops...)
				var r fastopt.Registry
				foo := fastopt.New(&r, "foo", "")
				f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
				m, err := fastopt.Open(ctx, cfg, &r)
				must(t, err)
				time.Sleep(4 * time.Second)
				want(t, foo.Inspect(), "v", fastopt.Fresh, foo.Inspect().Origin)
				time.Sleep(time.Second)
				w.cache.Cut() // and with all that follows
				w.cache.Reconnect()
				go f.Load(ctx, "x")
				go foo.Set(ctx, "w")
				go m.Refresh(ctx)
				time.Sleep(time.Second)
				value, start := foo.Get(), time.Now()
				err = m.Close()
				if d := time.Since(start); d > 5*time.Second || (err != nil) != (d >= 4*time.Second) {
					t.Errorf("Close took %v: %v", d, err)
				}
				if d := time.Since(start); name == "write" && d != 4*time.Second { // a second is left for the rest
					t.Errorf("Close took %v", d)
				}
				if second := m.Close(); second != err {
					t.Errorf("again: %v", second)
				}
				synctest.Wait()
				if left := leftovers(); len(left) > 0 {
					t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
				}
				if v := foo.Get(); v != value {
					t.Errorf("reads %q, not %q", v, value)
				}
				if r := foo.Load(ctx); r.Value != value || !errors.Is(r.Err, fastopt.ErrClosed) {
					t.Errorf("%+v", r)
				}
				free()
				w.open(w.config(), &r)
			})
		})
	}
}

func each(ops []faults.Op) (ones [][]faults.Op) {
	for _, op := range ops {
		ones = append(ones, []faults.Op{op})
	}
	return ones
}

// Open, too, ends in time: at StartTimeout, and if it fails, Close within it.
func TestOpenWithTiersThatDoNotReturn(t *testing.T) {
	for _, op := range []faults.Op{faults.Identity, faults.Load, faults.Mark, faults.Watch, faults.Lease} {
		for _, require := range []bool{false, true} {
			t.Run(op.String(), func(t *testing.T) {
				inMarkedWorld(t, func(t *testing.T, w *world) {
					cfg, free := w.stuck(0, op)
					cfg.RequireLoaded, cfg.StartTimeout = require, time.Second
					if op == faults.Watch { // it returns at its end only
						w.cache.Inject(faults.Watch, faults.Fault{Err: errDown})
					}
					var r fastopt.Registry
					foo := fastopt.New(&r, "foo", "d")
					start := time.Now()
					m, err := fastopt.Open(ctx, cfg, &r)
					d := time.Since(start)
					if err == nil {
						if d > 1050*ms {
							t.Errorf("Open took %v", d)
						}
						m.Close()
					} else if d > 6050*ms || !errors.Is(err, fastopt.ErrUnavailable) {
						t.Errorf("%v after %v", err, d)
					}
					if foo.Get() != "d" {
						t.Error("no default")
					}
					synctest.Wait()
					if left := leftovers(); len(left) > 0 {
						t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
					}
					free()
					w.open(w.config(), &r)
				})
			})
		}
	}
}

// All who close at once wait for the end, and are told the same.
func TestCloseByMany(t *testing.T) {
	inMarkedWorld(t, func(t *testing.T, w *world) {
		cfg, free := w.stuck(time.Second, faults.Load)
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		m, err := fastopt.Open(ctx, cfg, &r)
		must(t, err)
		time.Sleep(time.Second)
		m.Refresh(ctx)
		start, ends := time.Now(), make(chan error)
		for range 5 {
			go func() { ends <- m.Close() }()
		}
		for range 5 {
			if err := <-ends; err == nil || time.Since(start) != 5*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		free()
		if foo.Get() != "" {
			t.Error(foo.Get())
		}
	})
}
