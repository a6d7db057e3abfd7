package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// What the relay promises: whoever wrote it, it reaches every process by way of
// the cache, and nobody has to ask the source for it.

// inRelayedWorld is a world whose processes stand for relay.
func inRelayedWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		w.relay = fastopt.Auto
		f(t, w)
	})
}

// drop deletes a row past the library.
func (w *world) drop(name string) {
	w.t.Helper()
	must(w.t, second(w.rows.Write(ctx, "default", []tiers.Write{{Name: name, Delete: true}})))
}

// leads waits for the relay among ms and returns its place.
func leads(t *testing.T, d time.Duration, ms ...*fastopt.Manager) int {
	t.Helper()
	for start := time.Now(); time.Since(start) <= d; time.Sleep(10 * time.Millisecond) {
		for i, m := range ms {
			if m.Stats().Relay {
				return i
			}
		}
	}
	t.Fatalf("no relay within %v", d)
	return -1
}

func relays(ms ...*fastopt.Manager) (n int) {
	for _, m := range ms {
		if m.Stats().Relay {
			n++
		}
	}
	return n
}

// R20, R34: what is written past the library, or by a writer that died before
// its fill, is read by all, without a query of their own.
func TestR34ARowWrittenPastTheLibraryReachesEveryProcess(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		a, ma := process(w, "foo", "")
		b, mb := process(w, "foo", "")
		if n := relays(ma, mb); n != 1 {
			t.Fatalf("%d relays", n)
		}
		loads := w.source.Calls(faults.Load)
		for i := range 20 {
			v := fmt.Sprint("v", i)
			w.sql("foo", `"`+v+`"`)
			time.Sleep(200 * time.Millisecond)
			want(t, a.Inspect(), v, fastopt.Fresh, fastopt.Cache)
			want(t, b.Inspect(), v, fastopt.Fresh, fastopt.Cache)
		}
		w.drop("foo")
		time.Sleep(200 * time.Millisecond)
		want(t, a.Inspect(), "", fastopt.Fresh, fastopt.Default)
		want(t, b.Inspect(), "", fastopt.Fresh, fastopt.Default)
		if n := w.source.Calls(faults.Load) - loads; n != 0 {
			t.Errorf("%d queries by readers", n)
		}
	})
}

// R19: with the wake-up lost the history is looked at all the same.
func TestR19TheRelayNeedsNoAnnouncement(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		foo, _ := process(w, "foo", "")
		w.source.DropEvents(true)
		w.sql("foo", `"v"`)
		time.Sleep(1200 * time.Millisecond)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		w.source.DropEvents(false)
		w.source.Cut()
		w.sql("foo", `"w"`)
		time.Sleep(1200 * time.Millisecond)
		want(t, foo.Inspect(), "w", fastopt.Fresh, fastopt.Cache)
		w.source.Reconnect()
	})
}

// What changes between the first look at the history and the first announcement
// waits for neither the next one nor the poll.
func TestTheRelayLooksAgainOnceItHearsAnnouncements(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		w.source.Inject(faults.Watch, faults.Fault{Delay: 300 * time.Millisecond})
		foo, _ := process(w, "foo", "")
		time.Sleep(100 * time.Millisecond)
		w.sql("foo", `"v"`)
		time.Sleep(250 * time.Millisecond)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
	})
}

// A process that has no source lives from the relay alone.
func TestAProcessWithoutASourceLivesFromTheRelay(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"old"`)
		_, m := process(w, "other", "") // does not even declare it
		cfg := w.config()
		cfg.Source = nil
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		reader := w.open(cfg, &r)
		want(t, foo.Inspect(), "old", fastopt.Fresh, fastopt.Cache)
		w.sql("foo", `"new"`)
		time.Sleep(200 * time.Millisecond)
		want(t, foo.Inspect(), "new", fastopt.Fresh, fastopt.Cache)
		if reader.Stats().Relay || !m.Stats().Relay {
			t.Error("the wrong one leads")
		}
	})
}

// The cursor moves only when the cache has answered.
func TestAFillThatFailsIsTriedAgain(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		w.cacheSetFails()
		w.sql("foo", `"v"`)
		time.Sleep(3 * time.Second)
		tries := m.Stats().RelayErrors
		if tries < 5 || tries > 12 {
			t.Errorf("%d attempts in 3 s", tries)
		}
		w.heal()
		time.Sleep(700 * time.Millisecond)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		for _, line := range []string{"the relay fails", "the relay works again"} {
			if n := len(w.log.lines(line)); n != 1 {
				t.Errorf("%d lines %q", n, line)
			}
		}
	})
}

// What piled up is carried in chunks and pages, all of it, without a pass over
// everything.
func TestWhatPiledUpIsCarried(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		_, m := process(w, "foo", "")
		time.Sleep(2 * time.Second)
		w.cacheSetFails()
		for i := range 2300 {
			w.sql(fmt.Sprintf("n.%d", i), fmt.Sprint(i))
		}
		time.Sleep(2 * time.Second)
		w.heal()
		time.Sleep(700 * time.Millisecond)
		for i := range 2300 {
			if name := fmt.Sprintf("n.%d", i); w.cached(name) != fmt.Sprint(i) {
				t.Fatalf("the cache holds %q of %s", w.cached(name), name)
			}
		}
		if s := m.Stats(); s.RelayResyncs != 1 || s.RelayFills != 2300 {
			t.Errorf("%+v", s)
		}
	})
}

// A choosy cache cannot hold one name; "": any.
type choosy struct {
	tiers.Cache
	not string
}

func (c *choosy) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	rs := c.Cache.Fill(ctx, ns, fills)
	for i, f := range fills {
		if f.Name == c.not || c.not == "" {
			rs[i] = tiers.FillResult{Err: errors.New("it is too large")} // of no class: it is this record's
		}
	}
	return rs
}

// A row that the cache cannot hold stops no other, and is told once per change.
func TestARowThatTheCacheCannotHoldStopsNoOther(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Cache = &choosy{w.cache, "big"}
		var r fastopt.Registry
		foo := fastopt.New(&r, "foo", "")
		m := w.open(cfg, &r)
		w.sql("big", `"x"`)
		w.sql("foo", `"v"`)
		time.Sleep(time.Second)
		want(t, foo.Inspect(), "v", fastopt.Fresh, fastopt.Cache)
		time.Sleep(2 * time.Minute)
		if s := m.Stats(); s.RelayErrors != 1 || !s.Relay || len(w.log.lines("cannot hold a row", "big")) != 1 {
			t.Errorf("%d errors, %d lines", s.RelayErrors, len(w.log.lines("cannot hold a row")))
		}
		w.sql("big", `"xx"`)
		time.Sleep(time.Minute)
		if n := len(w.log.lines("cannot hold a row", "big")); n != 2 {
			t.Errorf("%d lines after another change", n)
		}
	})
}

// I21: of very many such rows not all are logged, but none in each pass anew.
func TestAFloodOfRowsThatTheCacheCannotHoldIsBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Cache = &choosy{Cache: w.cache}
		m := w.open(cfg)
		for i := range 9 {
			var writes []tiers.Write
			for j := range tiers.MaxBatch {
				writes = append(writes, tiers.Write{Name: fmt.Sprintf("f/%d", i*tiers.MaxBatch+j), Data: []byte("1")})
			}
			must(t, second(w.rows.Write(ctx, "default", writes)))
		}
		for range 3 {
			must(t, m.Sync(ctx))
		}
		if n := len(w.log.lines("cannot hold a row")); n < 1000 || n > 4096 {
			t.Errorf("%d lines for 4500 rows, offered three times", n)
		}
	})
}

// R25: a cache that comes back empty is filled with everything, by itself.
func TestR25AFlushedCacheIsFilledAgain(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		for i := range 1200 {
			w.sql(fmt.Sprintf("n.%d", i), fmt.Sprint(i))
		}
		w.sql("gone", "1")
		w.drop("gone")
		_, m := process(w, "foo", "")
		held := func() (n int) {
			for i := range 1200 {
				if w.cached(fmt.Sprintf("n.%d", i)) == fmt.Sprint(i) {
					n++
				}
			}
			return n
		}
		if time.Sleep(time.Second); held() != 1200 || w.cached("gone") != "absent" {
			t.Fatalf("%d rows held, and %q", held(), w.cached("gone"))
		}
		for range 3 {
			w.store.Flush()
			time.Sleep(1200 * time.Millisecond)
			if held() != 1200 || w.cached("gone") != "absent" {
				t.Errorf("%d rows held, and %q", held(), w.cached("gone"))
			}
		}
		if n := m.Stats().RelayResyncs; n != 4 {
			t.Errorf("%d resyncs", n)
		}
		w.sql("n.7", "70") // and it follows on
		time.Sleep(200 * time.Millisecond)
		if w.cached("n.7") != "70" {
			t.Error("lost its place")
		}
	})
}

// A cache that flaps causes no storm.
func TestAFlappingCacheIsFilledOnceASecond(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		_, m := process(w, "foo", "")
		for range 100 {
			w.store.Flush()
			time.Sleep(100 * time.Millisecond)
		}
		if n := m.Stats().RelayResyncs; n > 12 {
			t.Errorf("%d resyncs in 10 s", n)
		}
		time.Sleep(1200 * time.Millisecond)
		if w.cached("foo") != `"v"` {
			t.Error("the last loss was overlooked")
		}
	})
}

// A failover begins another history: everything is offered again.
func TestAnotherEpochIsFollowed(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		foo, m := process(w, "foo", "")
		w.rows.StepEpoch()
		time.Sleep(2 * time.Second)
		if r := foo.Inspect(); r.Value != "v" || r.Stamp.Epoch != 2 || m.Stats().RelayResyncs != 2 {
			t.Errorf("%+v, %d resyncs", r, m.Stats().RelayResyncs)
		}
		w.sql("foo", `"w"`)
		time.Sleep(200 * time.Millisecond)
		want(t, foo.Inspect(), "w", fastopt.Fresh, fastopt.Cache)
	})
}

// What nothing announces: an entry that vanished from the cache alone.
func TestTheSweepFindsWhatNothingAnnounces(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		stamp := w.sql("stranger", "1")
		rec := tiers.Record{Name: "stranger", Kind: tiers.Value, Stamp: stamp, Data: []byte("1")}
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: rec, TTL: 5 * time.Second}})
		_, m := process(w, "foo", "")
		time.Sleep(6 * time.Second)
		if w.cached("stranger") != "" {
			t.Fatal("it did not expire")
		}
		time.Sleep(28 * time.Second)
		if w.cached("stranger") != "1" {
			t.Error("not found")
		}
		if n := m.Stats().RelayResyncs; n != 1 {
			t.Errorf("%d resyncs: a sweep is none", n)
		}
	})
}

// I20: the work of an idle fleet is constant, and a fill that is no news pushes
// nothing.
func TestAnIdleRelayDoesLittle(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		for i := range 300 {
			w.sql(fmt.Sprintf("n.%d", i), "1")
		}
		_, m := process(w, "n.1", 0)
		process(w, "n.1", 0)
		process(w, "n.1", 0)
		time.Sleep(5 * time.Second)
		before, pushes := m.Stats(), m.Stats().Pushes
		changes, scans, fills := w.source.Calls(faults.Changes), w.source.Calls(faults.Scan), w.cache.Calls(faults.Fill)
		time.Sleep(time.Minute)
		if n := w.source.Calls(faults.Changes) - changes; n < 60 || n > 80 {
			t.Errorf("%d looks at the history a minute", n)
		}
		if n := w.source.Calls(faults.Scan) - scans; n > 16 {
			t.Errorf("%d rounds a minute", n)
		}
		if n := w.cache.Calls(faults.Fill) - fills; n > 16 { // a hundred rows each, whatever their number
			t.Errorf("%d fills a minute", n)
		}
		if after := m.Stats(); after.Pushes != pushes || after.RelayFills != before.RelayFills {
			t.Errorf("fills of what was known: %+v", after)
		}
	})
}

// I11 and I12 hold for what the relay brings: an invalid row is said.
func TestAnInvalidRowThatTheRelayBringsIsSaid(t *testing.T) {
	inRelayedWorld(t, func(t *testing.T, w *world) {
		n, _ := process(w, "n", 1)
		m2, _ := process(w, "n", "text") // another service, another type
		w.sql("n", "5")
		time.Sleep(time.Second)
		want(t, n.Inspect(), 5, fastopt.Fresh, fastopt.Cache)
		w.sql("n", `"five"`)
		time.Sleep(time.Second)
		if r := n.Inspect(); r.Value != 5 || r.State != fastopt.Stale || !errors.Is(r.Err, fastopt.ErrInvalidValue) {
			t.Errorf("%+v", r)
		}
		want(t, m2.Inspect(), "five", fastopt.Fresh, fastopt.Cache)
	})
}
