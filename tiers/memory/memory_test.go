package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

const ns = "test"

func TestSourceKeepsTheContract(t *testing.T) {
	tiertest.TestSource(t, func(*testing.T) tiers.Source { return memory.NewSource() })
}

func TestAViewToReadKeepsTheContract(t *testing.T) {
	tiertest.TestReadOnlySource(t, func(*testing.T) (reader, writer tiers.Source) {
		s := memory.NewSource()
		return s.ReadOnly(), s
	})
}

func TestCacheKeepsTheContract(t *testing.T) {
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return memory.NewCache() })
}

func set(t *testing.T, s *memory.Source, name, data string) tiers.Stamp {
	t.Helper()
	stamp, err := s.Write(t.Context(), ns, []tiers.Write{{Name: name, Data: []byte(data), Actor: "alice", Reason: "why"}})
	if err != nil {
		t.Fatalf("set %q: %v", name, err)
	}
	return stamp
}

func fill(t *testing.T, c *memory.Cache, name string, revision uint64, ttl time.Duration) bool {
	t.Helper()
	r := tiers.Record{Name: name, Kind: tiers.Value, Data: []byte("1"), Stamp: tiers.Stamp{Epoch: 1, Revision: revision}}
	res := c.Fill(t.Context(), ns, []tiers.Fill{{Record: r, TTL: ttl}})[0]
	if res.Err != nil {
		t.Fatalf("fill %q: %v", name, res.Err)
	}
	return res.Stored
}

func TestLineagesDiffer(t *testing.T) {
	a, _ := memory.NewSource().Identity(t.Context())
	b, _ := memory.NewSource().Identity(t.Context())
	if a.Lineage == b.Lineage {
		t.Errorf("two sources have the lineage %q", a.Lineage)
	}
}

func TestNewEpochOutranksEverything(t *testing.T) {
	s := memory.NewSource()
	old := set(t, s, "a", "1")
	set(t, s, "b", "1")
	s.StepEpoch()
	if id, _ := s.Identity(t.Context()); id.Epoch != 2 {
		t.Errorf("epoch %d, want 2", id.Epoch)
	}
	rs := s.Load(t.Context(), ns, []string{"a", "none"})
	if want := (tiers.Stamp{Epoch: 2, Revision: old.Revision}); rs[0].Stamp != want || string(rs[0].Data) != "1" {
		t.Errorf("a: stamp %v, want %v and its value", rs[0].Stamp, want)
	}
	if want := (tiers.Stamp{Epoch: 2, Revision: 2}); rs[1].Stamp != want {
		t.Errorf("no row: stamp %v, want %v", rs[1].Stamp, want)
	}
	if ch, err := s.Changes(t.Context(), ns, old); err != nil || !ch.Reset {
		t.Errorf("changes since the old epoch: %+v, %v, want Reset", ch, err)
	}
	_, err := s.Write(t.Context(), ns, []tiers.Write{{Name: "a", Data: []byte("2"), If: &old}})
	if !errors.Is(err, tiers.ErrConflict) {
		t.Errorf("write by a stamp of the old epoch: %v, want ErrConflict", err)
	}
	if got := set(t, s, "a", "3"); got != (tiers.Stamp{Epoch: 2, Revision: 3}) {
		t.Errorf("first write of the new epoch has %v, want 2.3", got)
	}
}

func TestRowKeepsWhoAndWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.NewSource()
		set(t, s, "a", "1")
		want := memory.Row{Data: []byte("1"), Revision: 1, UpdatedAt: time.Now(), Actor: "alice", Reason: "why"}
		row, ok := s.Row(ns, "a")
		if fmt.Sprint(row) != fmt.Sprint(want) || !ok {
			t.Errorf("row %+v, want %+v", row, want)
		}
		if _, err := s.Write(t.Context(), ns, []tiers.Write{{Name: "a", Delete: true, Actor: "bob"}}); err != nil {
			t.Fatal(err)
		}
		if row, ok = s.Row(ns, "a"); !row.Deleted || row.Data != nil || row.Actor != "bob" || row.Revision != 2 || !ok {
			t.Errorf("tombstone %+v, want bob's of revision 2", row)
		}
		if _, ok = s.Row(ns, "never"); ok {
			t.Error("a row of a name that was never written")
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	s := memory.NewSource()
	large := make([]tiers.Write, tiers.MaxBatch+1)
	for i := range large {
		large[i] = tiers.Write{Name: fmt.Sprint(i), Data: []byte("1")}
	}
	twice := []tiers.Write{large[0], large[1], large[0]}
	for _, writes := range [][]tiers.Write{large, twice} {
		if _, err := s.Write(t.Context(), ns, writes); err == nil || tiers.OutcomeOf(err) != tiers.NotApplied {
			t.Errorf("batch of %d: %v, want a refusal", len(writes), err)
		}
	}
}

func TestDataAreCopiedInAndSharedOut(t *testing.T) {
	data := []byte(`"in"`)
	s, c := memory.NewSource(), memory.NewCache()
	if _, err := s.Write(t.Context(), ns, []tiers.Write{{Name: "a", Data: data}}); err != nil {
		t.Fatal(err)
	}
	r := tiers.Record{Name: "a", Kind: tiers.Value, Data: data, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}}
	c.Fill(t.Context(), ns, []tiers.Fill{{Record: r}})
	copy(data, `"xx"`)
	for what, load := range map[string]func(context.Context, string, []string) []tiers.Result{"source": s.Load, "cache": c.Load} {
		one, two := load(t.Context(), ns, []string{"a"})[0], load(t.Context(), ns, []string{"a"})[0]
		if string(one.Data) != `"in"` {
			t.Errorf("%s: kept the caller's memory", what)
		}
		if &one.Data[0] != &two.Data[0] {
			t.Errorf("%s: a load copies", what)
		}
	}
}

func TestTTLAndLeaseAreHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memory.NewCache()
		fill(t, c, "a", 5, time.Second)
		lease := func() bool {
			held, err := c.Lease(t.Context(), ns, []string{"a"}, time.Second)
			return err == nil && held[0]
		}
		miss := func() bool { return errors.Is(c.Load(t.Context(), ns, []string{"a"})[0].Err, tiers.ErrMiss) }
		if !lease() {
			t.Error("the first lease is refused")
		}
		time.Sleep(time.Second - 1)
		if miss() || lease() || fill(t, c, "a", 4, 0) {
			t.Error("a nanosecond before the end, it had ended")
		}
		time.Sleep(time.Nanosecond)
		if !miss() || !lease() || !fill(t, c, "a", 4, 0) {
			t.Error("at the end, it had not ended")
		}
	})
}

func TestFillRefusesWhatIsNoRecord(t *testing.T) {
	c := memory.NewCache()
	good := tiers.Record{Name: "a", Kind: tiers.Value, Data: []byte("1"), Stamp: tiers.Stamp{Epoch: 1, Revision: 1}}
	kindless, oversize, long := good, good, good
	kindless.Kind = 0
	oversize.Oversize = tiers.MaxData + 1
	long.Data = make([]byte, tiers.MaxData+1)
	for _, r := range []tiers.Record{kindless, oversize, long} {
		if res := c.Fill(t.Context(), ns, []tiers.Fill{{Record: r}})[0]; res.Err == nil || res.Stored {
			t.Errorf("fill of %v, %d bytes, oversize %d: %+v", r.Kind, len(r.Data), r.Oversize, res)
		}
	}
}

// heard collects the events of one watcher. Its sink can be made to block.
type heard struct {
	gate   sync.Mutex
	mu     sync.Mutex
	events []tiers.Event // guarded by mu
}

func (h *heard) hear(e tiers.Event) {
	h.gate.Lock()
	defer h.gate.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// take returns what was heard and forgets it. Names stand for changes, L and A
// for Lost and Alive.
func (h *heard) take() (told []string) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		told = append(told, map[tiers.EventKind]string{tiers.Lost: "L", tiers.Alive: "A", tiers.Changed: e.Name}[e.Kind])
	}
	h.events = nil
	return told
}

type watchFunc func(ctx context.Context, namespace string, sink func(tiers.Event)) error

// watching runs f in a bubble with a watcher that has heard its first Alive.
func watching(t *testing.T, f func(t *testing.T, s *memory.Source, c *memory.Cache, ofSource, ofCache *heard)) {
	synctest.Test(t, func(t *testing.T) {
		s, c := memory.NewSource(), memory.NewCache()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		ofSource, ofCache := &heard{}, &heard{}
		for h, watch := range map[*heard]watchFunc{ofSource: s.Watch, ofCache: c.Watch} {
			all.Go(func() {
				if err := watch(ctx, ns, h.hear); !errors.Is(err, context.Canceled) {
					t.Errorf("watch ended with %v", err)
				}
			})
			if told := h.take(); !slices.Equal(told, []string{"A"}) {
				t.Errorf("at first heard %q, want Alive", told)
			}
		}
		f(t, s, c, ofSource, ofCache)
		cancel()
		all.Wait()
	})
}

func TestLossIsToldBeforeAlive(t *testing.T) {
	watching(t, func(t *testing.T, s *memory.Source, c *memory.Cache, ofSource, ofCache *heard) {
		fill(t, c, "a", 9, 0)
		c.Lease(t.Context(), ns, []string{"a"}, time.Hour)
		c.Flush()
		if told := ofCache.take(); told[0] != "L" || told[len(told)-1] != "A" {
			t.Errorf("heard %q after a loss, want Lost first and Alive last", told)
		}
		if r := c.Load(t.Context(), ns, []string{"a"})[0]; !errors.Is(r.Err, tiers.ErrMiss) {
			t.Errorf("after a loss: %v, want a miss", r.Err)
		}
		if held, _ := c.Lease(t.Context(), ns, []string{"a"}, time.Hour); !held[0] || !fill(t, c, "a", 1, 0) {
			t.Error("a lease or a stamp outlived the loss")
		}
		s.StepEpoch()
		if told := ofSource.take(); !slices.Equal(told, []string{"L", "A"}) {
			t.Errorf("heard %q after an epoch, want Lost and Alive", told)
		}
	})
}

func TestAliveIsHeardEverySecond(t *testing.T) {
	watching(t, func(t *testing.T, s *memory.Source, c *memory.Cache, ofSource, ofCache *heard) {
		start, last := time.Now(), time.Now()
		for time.Since(start) < time.Minute {
			time.Sleep(time.Second)
			set(t, s, "a", "1") // heartbeats go on beside changes
			synctest.Wait()
			ofSource.mu.Lock()
			for _, e := range ofSource.events {
				if e.Kind != tiers.Alive {
					continue
				}
				if gap := e.Since.Sub(last); gap > time.Second {
					t.Errorf("%v between two Alive", gap)
				}
				last = e.Since
			}
			ofSource.events = nil
			ofSource.mu.Unlock()
			if time.Since(last) > time.Second {
				t.Fatalf("no Alive for %v", time.Since(last))
			}
		}
	})
}

func TestSlowWatcherHearsEachNameOnce(t *testing.T) {
	watching(t, func(t *testing.T, s *memory.Source, c *memory.Cache, ofSource, ofCache *heard) {
		ofCache.gate.Lock()
		fill(t, c, "first", 1, 0)
		for i := range 1000 {
			fill(t, c, "a", uint64(i+1), 0)
			fill(t, c, "b", uint64(i+1), 0)
		}
		ofCache.gate.Unlock()
		told := slices.DeleteFunc(ofCache.take(), func(s string) bool { return s == "A" })
		if !slices.Contains(told, "a") || !slices.Contains(told, "b") || len(told) > 7 {
			t.Errorf("heard %d changes of three names, beginning %q", len(told), told[:min(7, len(told))])
		}
	})
}

func TestCorruptNeedsAnEntry(t *testing.T) {
	c := memory.NewCache()
	c.Corrupt(ns, "a", []byte("raw"))
	if r := c.Load(t.Context(), ns, []string{"a"})[0]; r.Err != tiers.ErrMiss {
		t.Errorf("%v, want a plain miss", r.Err)
	}
}

// A source that learns of a later history of its own gives no answer of the
// earlier one; above another installation's it steps.
func TestLearn(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		what   string
		change func(*tiers.Identity)
		epoch  uint32 // afterwards; 0: no answer
		step   uint32 // and after StepEpoch
	}{
		{"itself", func(*tiers.Identity) {}, 2, 3},
		{"its past", func(id *tiers.Identity) { id.Epoch = 1 }, 2, 3},
		{"another lineage", func(id *tiers.Identity) { id.Epoch, id.Lineage = 9, "other" }, 2, 3},
		{"a later history", func(id *tiers.Identity) { id.Epoch = 9 }, 0, 10},
		{"a later timeline", func(id *tiers.Identity) { id.Epoch, id.Timeline = 9, 2 }, 0, 11},
		{"a later timeline with its epoch", func(id *tiers.Identity) { id.Timeline = 2 }, 0, 4},
		{"an earlier timeline", func(id *tiers.Identity) { id.Epoch, id.Timeline = 9, 0 }, 10, 11},
		{"another system", func(id *tiers.Identity) { id.Epoch, id.System = 9, "1" }, 10, 11},
		{"another system with its epoch", func(id *tiers.Identity) { id.System = "1" }, 3, 4},
		{"an epoch that none can follow", func(id *tiers.Identity) { id.Epoch = 1<<32 - 1 }, 2, 3},
	} {
		s := memory.NewSource()
		s.StepEpoch()
		if _, err := s.Write(ctx, "app", []tiers.Write{{Name: "a", Data: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
		id, err := s.Identity(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c.change(&id)
		s.Learn(id)
		if got := answers(t, s); got != c.epoch {
			t.Errorf("%s: answers of epoch %d, want %d", c.what, got, c.epoch)
		}
		s.StepEpoch()
		if got := answers(t, s); got != c.step {
			t.Errorf("%s: answers of epoch %d after a step, want %d", c.what, got, c.step)
		}
	}
}

// answers returns the epoch of which s answers, the same to all calls, 0 if none does.
func answers(t *testing.T, s *memory.Source) uint32 {
	t.Helper()
	epochs := map[string]uint32{}
	note := func(what string, epoch uint32, err error) {
		if (err == nil) != (epoch != 0) || err != nil && !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("%s: epoch %d, %v", what, epoch, err)
		}
		epochs[what] = epoch
	}
	id, err := s.Identity(t.Context())
	note("identity", id.Epoch, err)
	r := s.Load(t.Context(), "app", []string{"a"})[0]
	note("load", r.Stamp.Epoch, r.Err)
	ch, err := s.Changes(t.Context(), "app", tiers.Stamp{})
	note("changes", ch.Head.Epoch, err)
	for r, err := range s.Scan(t.Context(), "app") {
		note("scan", r.Stamp.Epoch, err)
	}
	stamp, err := s.Write(t.Context(), "app", []tiers.Write{{Name: "b", Data: []byte("1")}})
	if err != nil && tiers.OutcomeOf(err) != tiers.NotApplied {
		t.Errorf("write: %v", err)
	}
	note("write", stamp.Epoch, err)
	for what, epoch := range epochs {
		if epoch != id.Epoch {
			t.Errorf("%s answers of epoch %d, identity of %d", what, epoch, id.Epoch)
		}
	}
	return id.Epoch
}

// What is known already is no news to watchers.
func TestWatchersHearWhatIsLearnedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.NewSource()
		id, err := s.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		lost := 0
		go s.Watch(ctx, ns, func(e tiers.Event) {
			if e.Kind == tiers.Lost {
				lost++
			}
		})
		for _, want := range []int{0, 1, 1} {
			synctest.Wait()
			s.Learn(id)
			synctest.Wait()
			if lost != want {
				t.Errorf("Lost was heard %d times, want %d", lost, want)
			}
			id.Epoch = 9
		}
		cancel()
		synctest.Wait()
	})
}
