package fastopt_test

import (
	"cmp"
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// A scripted cache is another one whose events and delays a test decides on.
type scripted struct {
	tiers.Cache
	sink   func(tiers.Event)
	fail   chan error    // ends the watch
	silent atomic.Bool   // says nothing by itself
	after  time.Duration // between reading and answering
	every  time.Duration // between heartbeats; 0: a second
}

func (s *scripted) Watch(ctx context.Context, _ string, sink func(tiers.Event)) error {
	s.sink = sink
	sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
	beat := time.NewTicker(cmp.Or(s.every, time.Second))
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if !s.silent.Load() {
				sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
			}
		case err := <-s.fail:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *scripted) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	rs := s.Cache.Load(ctx, ns, names)
	time.Sleep(s.after)
	return rs
}

func scriptedWorld(t *testing.T, f func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager)) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &scripted{Cache: w.store, fail: make(chan error)}
		cfg := w.config()
		cfg.Cache = s
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		f(t, w, s, foo, w.open(cfg, &r))
	})
}

// What was loaded between Lost and Alive is not tracked: Alive revalidates, too.
func TestAliveRevalidatesWhatWasLoadedSinceLost(t *testing.T) {
	scriptedWorld(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		other, _ := process(w, "foo", "")
		s.silent.Store(true)
		s.sink(tiers.Event{Kind: tiers.Lost})
		time.Sleep(time.Second)
		want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default)
		set(t, other, "v") // no event: the channel is down
		s.sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
		time.Sleep(time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		// Alive that is no news costs nothing.
		age := foo.Inspect().Age
		s.sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
		time.Sleep(time.Second)
		if r := foo.Inspect(); r.Age != age+time.Second {
			t.Errorf("a heartbeat caused a reload: age %v after %v", r.Age, age)
		}
	})
}

// R24: age counts from before the request.
func TestR24AgeCountsFromTheRequest(t *testing.T) {
	scriptedWorld(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		synctest.Wait()
		s.after = 40 * time.Millisecond
		must(t, m.Refresh(ctx))
		if r := foo.Inspect(); r.Age != 40*time.Millisecond {
			t.Errorf("age %v", r.Age)
		}
	})
}

// Events of names that nobody declared, and floods of events, cost nothing.
func TestAFloodOfPushesIsNoFloodOfLoads(t *testing.T) {
	scriptedWorld(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		synctest.Wait()
		before := m.Stats()
		for range 1000 {
			s.sink(tiers.Event{Kind: tiers.Changed, Name: "foo"})
			s.sink(tiers.Event{Kind: tiers.Changed, Name: "nobody's"})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		after := m.Stats()
		if n := after.CacheHits - before.CacheHits; n < 10 || n > 12 {
			t.Errorf("%d loads for a second of pushes", n)
		}
		if n := after.Pushes - before.Pushes; n != 1000 {
			t.Errorf("%d pushes counted", n)
		}
		want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default)
	})
}

// A watch that ends (a password was changed, say) is lost, told, and begun anew.
func TestAWatchThatEndsIsBegunAnew(t *testing.T) {
	scriptedWorld(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		s.fail <- tiers.ErrSetup
		synctest.Wait()
		if foo.Inspect().State == fastopt.Fresh || m.Stats().PushesUp {
			t.Error("fresh without pushes")
		}
		time.Sleep(3 * time.Second)
		if want(t, foo.Inspect(), "", fastopt.Fresh, fastopt.Default); !m.Stats().PushesUp {
			t.Error("nobody watches any more")
		}
		if n := len(w.log.lines("no pushes")); n != 1 {
			t.Errorf("%d log lines", n)
		}
	})
}

// I5b: a channel that says nothing, not even that it is alive, is lost.
func TestASilentChannelIsLost(t *testing.T) {
	scriptedWorld(t, func(t *testing.T, w *world, s *scripted, foo *fastopt.Option[string], m *fastopt.Manager) {
		other, _ := process(w, "foo", "")
		time.Sleep(time.Second)
		s.silent.Store(true)
		set(t, other, "v") // and nobody says so
		time.Sleep(4 * time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		if s := m.Stats(); s.PushesUp || s.PushesLost != 1 {
			t.Errorf("%+v", s)
		}
		s.silent.Store(false)
		time.Sleep(2 * time.Second)
		if !m.Stats().PushesUp {
			t.Error("still down")
		}
	})
}
