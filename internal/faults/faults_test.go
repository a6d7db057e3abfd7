package faults_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

const ns = "test"

var (
	_ tiers.Source = (*faults.Source)(nil)
	_ tiers.Cache  = (*faults.Cache)(nil)
)

func TestHealthyWrapperKeepsTheContract(t *testing.T) {
	tiertest.TestSource(t, func(*testing.T) tiers.Source { return faults.NewSource(memory.NewSource()) })
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return faults.NewMarked(memory.NewCache()) })
}

func set(data string) []tiers.Write { return []tiers.Write{{Name: "a", Data: []byte(data)}} }

func fill(revision uint64) []tiers.Fill {
	r := tiers.Record{Name: "a", Kind: tiers.Value, Data: []byte("1"), Stamp: tiers.Stamp{Epoch: 1, Revision: revision}}
	return []tiers.Fill{{Record: r}}
}

func TestErrIsAnsweredInsteadOfTheCall(t *testing.T) {
	below := memory.NewSource()
	s := faults.NewSource(below)
	ctx := t.Context()
	for op := faults.Identity; op <= faults.Watch; op++ {
		s.Inject(op, faults.Fault{Err: tiers.ErrUnavailable})
	}
	_, identity := s.Identity(ctx)
	_, write := s.Write(ctx, ns, set("1"))
	_, changes := s.Changes(ctx, ns, tiers.Stamp{})
	load := s.Load(ctx, ns, []string{"a", "b"})
	var scan error
	for _, scan = range s.Scan(ctx, ns) {
	}
	watch := s.Watch(ctx, ns, func(tiers.Event) { t.Error("an event of a watch that failed") })
	for i, err := range []error{identity, write, changes, load[0].Err, load[1].Err, scan, watch} {
		if !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("call %d: %v, want the error that was ordered", i, err)
		}
	}
	if load[1].Name != "b" || tiers.OutcomeOf(write) != tiers.NotApplied {
		t.Errorf("load of %q, write %v", load[1].Name, write)
	}
	if _, ok := below.Row(ns, "a"); ok {
		t.Error("the write that failed was carried out")
	}
	for _, op := range []faults.Op{faults.Identity, faults.Load, faults.Write, faults.Scan, faults.Changes, faults.Watch} {
		if s.Calls(op) != 1 || s.Bites(op) != 1 {
			t.Errorf("%v: %d calls, %d bites, want 1 and 1", op, s.Calls(op), s.Bites(op))
		}
	}
	if s.Names(faults.Load) != 2 || s.Names(faults.Write) != 1 {
		t.Errorf("%d names loaded, %d written, want 2 and 1", s.Names(faults.Load), s.Names(faults.Write))
	}
}

func TestWriteErrIsKeptAsItIs(t *testing.T) {
	s := faults.NewSource(memory.NewSource())
	s.Inject(faults.Write, faults.Fault{Err: &tiers.WriteError{Outcome: tiers.Unknown, Err: tiers.ErrUnavailable}})
	if _, err := s.Write(t.Context(), ns, set("1")); tiers.OutcomeOf(err) != tiers.Unknown {
		t.Errorf("%v, want an unknown outcome", err)
	}
}

func TestHealEndsWhatIsNamed(t *testing.T) {
	s := faults.NewSource(memory.NewSource())
	healthy := func(op faults.Op) bool {
		before := s.Bites(op)
		if op == faults.Load {
			s.Load(t.Context(), ns, []string{"a"})
		} else {
			s.Write(t.Context(), ns, set("1"))
		}
		return s.Bites(op) == before
	}
	broken := faults.Fault{Err: tiers.ErrUnavailable}
	s.Inject(faults.Load, broken)
	s.Inject(faults.Write, broken)
	s.Heal(faults.Load)
	if !healthy(faults.Load) || healthy(faults.Write) {
		t.Error("healing one operation healed none or all")
	}
	s.Inject(faults.Load, broken)
	s.Heal()
	if !healthy(faults.Load) || !healthy(faults.Write) {
		t.Error("healing all left one ill")
	}
	s.Inject(faults.Load, faults.Fault{})
	if !healthy(faults.Load) {
		t.Error("a fault that does nothing was counted as a bite")
	}
}

func TestHangEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := memory.NewSource()
		s, c := faults.NewSource(below), faults.NewCache(memory.NewCache())
		for _, op := range []faults.Op{faults.Load, faults.Write, faults.Fill, faults.Lease, faults.Watch} {
			s.Inject(op, faults.Fault{Hang: true})
			c.Inject(op, faults.Fault{Hang: true})
		}
		within := func(f func(ctx context.Context) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			err := f(ctx)
			if d := time.Since(start); d != time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v after %v, want the end of the context after 1s", err, d)
			}
			return err
		}
		unavailable := func(err error) {
			if !errors.Is(err, tiers.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		}
		unavailable(within(func(ctx context.Context) error { return s.Load(ctx, ns, []string{"a"})[0].Err }))
		unavailable(within(func(ctx context.Context) error { return c.Load(ctx, ns, []string{"a"})[0].Err }))
		unavailable(within(func(ctx context.Context) error { return c.Fill(ctx, ns, fill(1))[0].Err }))
		unavailable(within(func(ctx context.Context) error { _, err := c.Lease(ctx, ns, []string{"a"}, 1); return err }))
		within(func(ctx context.Context) error { return c.Watch(ctx, ns, nil) })
		err := within(func(ctx context.Context) error { _, err := s.Write(ctx, ns, set("1")); return err })
		if tiers.OutcomeOf(err) != tiers.Unknown {
			t.Errorf("a write without an answer: %v, want an unknown outcome", err)
		}
		if _, ok := below.Row(ns, "a"); ok {
			t.Error("a write that hangs was carried out without Lost")
		}
	})
}

func TestLostCallIsCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below, cache := memory.NewSource(), memory.NewCache()
		s, c := faults.NewSource(below), faults.NewCache(cache)
		s.Inject(faults.Write, faults.Fault{Lost: true})
		c.Inject(faults.Fill, faults.Fault{Lost: true})
		_, err := s.Write(t.Context(), ns, set("1"))
		if tiers.OutcomeOf(err) != tiers.Unknown || !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("%v, want an unknown outcome", err)
		}
		if row, _ := below.Row(ns, "a"); string(row.Data) != "1" {
			t.Error("the write was not carried out")
		}
		if r := c.Fill(t.Context(), ns, fill(1))[0]; r.Stored || !errors.Is(r.Err, tiers.ErrUnavailable) {
			t.Errorf("fill: %+v, want an error", r)
		}
		if r := cache.Load(t.Context(), ns, []string{"a"})[0]; r.Err != nil {
			t.Errorf("the fill was not carried out: %v", r.Err)
		}

		s.Inject(faults.Write, faults.Fault{Lost: true, Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err = s.Write(ctx, ns, set("2")); tiers.OutcomeOf(err) != tiers.Unknown || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want an unknown outcome after 1s", err, time.Since(start))
		}
		if row, _ := below.Row(ns, "a"); string(row.Data) != "2" {
			t.Error("the write was not carried out")
		}
	})
}

func TestDelayPassesBeforeTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := memory.NewSource()
		s := faults.NewSource(below)
		s.Inject(faults.Write, faults.Fault{Delay: time.Second})
		start := time.Now()
		if _, err := s.Write(t.Context(), ns, set("1")); err != nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want success after 1s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		_, err := s.Write(ctx, ns, set("2"))
		if tiers.OutcomeOf(err) != tiers.NotApplied || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want a write that was never made", err)
		}
		if row, _ := below.Row(ns, "a"); string(row.Data) != "1" {
			t.Error("a call was made after its context had ended")
		}
		if s.Bites(faults.Write) != 2 {
			t.Errorf("%d bites, want 2", s.Bites(faults.Write))
		}
	})
}

// story collects what a watcher hears, "A" for Alive, "L" for Lost and "c" for
// a change, heartbeats that follow an Alive left out.
type story struct {
	mu   sync.Mutex
	told []byte // guarded by mu
}

func (s *story) hear(e tiers.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	letter := map[tiers.EventKind]byte{tiers.Alive: 'A', tiers.Lost: 'L', tiers.Changed: 'c'}[e.Kind]
	if letter == 'A' && len(s.told) > 0 && s.told[len(s.told)-1] == 'A' {
		return
	}
	s.told = append(s.told, letter)
}

// since returns what was heard and forgets it, after all that is under way.
func (s *story) since() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	told := string(s.told)
	s.told = nil
	return told
}

func TestWatchChannelBreaksAsOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := faults.NewCache(memory.NewCache())
		ctx, cancel := context.WithCancel(t.Context())
		var heard story
		done := make(chan error)
		go func() { done <- c.Watch(ctx, ns, heard.hear) }()
		revision := uint64(0)
		for i, step := range []struct {
			what  string
			do    func()
			want  string
			bites int64
		}{
			{"start", func() {}, "A", 0},
			{"change", func() {}, "c", 0},
			{"cut", c.Cut, "L", 1},
			{"cut again", c.Cut, "", 1},
			{"a long time", func() { time.Sleep(time.Minute) }, "", 1},
			{"reconnect", c.Reconnect, "LA", 1},
			{"change", func() {}, "c", 1},
			{"freeze", c.Freeze, "", 2},
			{"a long time", func() { time.Sleep(time.Minute) }, "", 2},
			{"reconnect", c.Reconnect, "LA", 2},
			{"lie", func() { c.DropEvents(true) }, "", 2},
			{"change", func() {}, "", 3},
			{"be honest", func() { c.DropEvents(false) }, "", 3},
			{"change", func() {}, "c", 3},
			{"cut and reconnect at once", func() { c.Cut(); c.Reconnect() }, "LA", 4},
			{"cut, frozen, reconnect", func() { c.Cut(); synctest.Wait(); c.Freeze(); synctest.Wait(); c.Reconnect() }, "LLA", 5},
			{"cut", c.Cut, "L", 6},
			{"change unheard", func() {}, "", 6},
		} {
			step.do()
			if step.what == "change" || step.what == "change unheard" {
				revision++
				c.Fill(t.Context(), ns, fill(revision))
			}
			if got := heard.since(); got != step.want || c.Bites(faults.Watch) != step.bites {
				t.Errorf("%d, %s: heard %q, %d bites, want %q, %d", i, step.what, got, c.Bites(faults.Watch), step.want, step.bites)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
}

// lastWord tells one change after its context has ended, as a tier may whose
// event was under way.
type lastWord struct{ tiers.Cache }

func (lastWord) Watch(ctx context.Context, _ string, sink func(tiers.Event)) error {
	<-ctx.Done()
	sink(tiers.Event{Kind: tiers.Changed, Name: "a"})
	return ctx.Err()
}

func TestNothingIsHeardOverACutLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := faults.NewCache(lastWord{})
		ctx, cancel := context.WithCancel(t.Context())
		var heard story
		done := make(chan error)
		go func() { done <- c.Watch(ctx, ns, heard.hear) }()
		synctest.Wait()
		c.Cut()
		if got := heard.since(); got != "L" {
			t.Errorf("heard %q after a cut, want Lost alone", got)
		}
		cancel()
		<-done
	})
}

func TestWatchOverABrokenLinkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faults.NewSource(memory.NewSource())
		for _, order := range []func(){s.Cut, s.Reconnect, s.Freeze} {
			order()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := s.Watch(ctx, ns, func(tiers.Event) {}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("watch ended with %v", err)
			}
			cancel()
		}
		if n := s.Bites(faults.Watch); n != 2 {
			t.Errorf("%d bites of watches that began on a broken link, want 2", n)
		}
		s.Reconnect()
		if err := s.Watch(t.Context(), "", func(tiers.Event) {}); !errors.Is(err, tiers.ErrSetup) {
			t.Errorf("%v, want what the tier below gave up with", err)
		}
	})
}

func TestOrdersFromManyGoroutines(t *testing.T) {
	c := faults.NewCache(memory.NewCache())
	ctx, cancel := context.WithCancel(t.Context())
	var watchers, all sync.WaitGroup
	for range 4 {
		watchers.Go(func() { c.Watch(ctx, ns, func(tiers.Event) {}) })
		all.Go(func() {
			for i := range 100 {
				c.Inject(faults.Load, faults.Fault{Err: tiers.ErrMiss})
				c.Load(ctx, ns, []string{"a"})
				c.Fill(ctx, ns, fill(uint64(i)))
				c.Cut()
				c.Freeze()
				c.Reconnect()
				c.DropEvents(i%2 == 0)
				c.Heal()
			}
		})
	}
	all.Wait()
	cancel()
	watchers.Wait()
}

func TestHealthyLoadDoesNotAllocate(t *testing.T) {
	s := faults.NewCache(answersNothing{})
	if n := testing.AllocsPerRun(100, func() { s.Load(context.Background(), ns, nil) }); n != 0 {
		t.Errorf("%v allocations in the wrapper of a healthy Load", n)
	}
}

type answersNothing struct{ tiers.Cache }

func (answersNothing) Load(context.Context, string, []string) []tiers.Result { return nil }
