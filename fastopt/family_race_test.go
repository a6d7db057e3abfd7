package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
)

// The races of members of families, entered through the points of the library:
// working keys come and go, and what is in memory changes with them.

// memberWorld is a family with a scripted cache and another process that writes.
func memberWorld(t *testing.T, s fastopt.FamilySpec[int], f func(t *testing.T, w *world, limit, other *fastopt.Family[int], m *fastopt.Manager)) {
	familyWorld(t, s, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		var r fastopt.Registry
		other := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "tenant.limit", MaxEntries: 1000})
		w.open(w.config(), &r)
		f(t, w, limit, other, m)
	})
}

func setMember(t *testing.T, f *fastopt.Family[int], key string, v int) {
	t.Helper()
	must(t, second(f.Set(ctx, key, v)))
}

// R5: a push during a member's load leaves what that brings not fresh.
func TestR5APushDuringAMembersLoadIsNotForgotten(t *testing.T) {
	memberWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit, other *fastopt.Family[int], m *fastopt.Manager) {
		setMember(t, other, "x", 1)
		hookOnce(t, point.FlightSettle, m, "tenant.limit/x", func() { // 1 was read, and is not yet installed
			w.cache.Inject(faults.Load, faults.Fault{Delay: 30 * time.Millisecond})
			setMember(t, other, "x", 2)
			time.Sleep(time.Millisecond) // the push is handled
		})
		limit.Get("x")
		time.Sleep(10 * time.Millisecond)
		if v := limit.Get("x"); v != 1 {
			t.Fatalf("read %d", v)
		}
		w.heal()
		want(t, limit.Load(ctx, "x"), 2, fastopt.Fresh, fastopt.Cache)
		if v := limit.Get("x"); v != 2 {
			t.Errorf("read %d", v)
		}
	})
}

// I5: a push to a member that nobody works on ends its freshness: the next Load
// asks again.
func TestAPushToAnIdleMemberEndsItsFreshness(t *testing.T) {
	memberWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit, other *fastopt.Family[int], m *fastopt.Manager) {
		setMember(t, other, "x", 1)
		for i := 2; i < 10; i++ {
			limit.Load(ctx, "x")
			time.Sleep(time.Second)
			setMember(t, other, "x", i)
			settle()
			if n := m.Stats().Families[0].Working; n != 0 {
				t.Fatalf("%d working keys of idle members", n)
			}
			want(t, limit.Load(ctx, "x"), i, fastopt.Fresh, fastopt.Cache)
		}
	})
}

// A push that comes while a Load makes the member's working key, and before it
// asks, is either seen by that Load or leaves the member not fresh.
func TestAPushWhileAWorkingKeyBeginsIsNotForgotten(t *testing.T) {
	memberWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit, other *fastopt.Family[int], m *fastopt.Manager) {
		setMember(t, other, "x", 1)
		limit.Load(ctx, "x")
		time.Sleep(11 * time.Second) // old, so that a Load asks
		hookOnce(t, point.FlightJoin, m, "tenant.limit/x", func() {
			setMember(t, other, "x", 2)
			time.Sleep(time.Millisecond)
		})
		limit.Load(ctx, "x")
		want(t, limit.Load(ctx, "x"), 2, fastopt.Fresh, fastopt.Cache)
	})
}

// I2, I4: two who work on a member share its working key, which lasts until both
// have ended: what the first commits late does not replace what the second wrote.
func TestAWorkingKeyLastsUntilTheLastHasEnded(t *testing.T) {
	memberWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit, _ *fastopt.Family[int], m *fastopt.Manager) {
		hookOnce(t, point.WriteCommit, m, "tenant.limit/x", func() {
			setMember(t, limit, "x", 2)
			limit.Load(ctx, "x")
		})
		setMember(t, limit, "x", 1)
		if v := limit.Get("x"); v != 2 {
			t.Errorf("read %d, the last that was written is 2", v)
		}
		if r := limit.Load(ctx, "x"); r.Value != 2 {
			t.Errorf("%+v", r)
		}
		settle()
		if n := m.Stats().Families[0].Working; n != 0 {
			t.Errorf("%d working keys", n)
		}
	})
}

// R16, I5b: a revalidation of everything ends the freshness of members, too, also
// of one that is on its way, and asks once for each that is read.
func TestR16ARevalidationIncludesMembers(t *testing.T) {
	memberWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit, other *fastopt.Family[int], m *fastopt.Manager) {
		setMember(t, other, "x", 1)
		setMember(t, other, "y", 1)
		limit.Load(ctx, "x")
		time.Sleep(time.Second)
		limit.Load(ctx, "x")
		missed := func() {
			w.cache.Cut()
			setMember(t, other, "x", 2)
			setMember(t, other, "y", 2)
			w.cache.Reconnect()
			time.Sleep(time.Millisecond)
		}
		hookOnce(t, point.FlightSettle, m, "tenant.limit/y", missed)
		limit.Get("y")
		settle()
		time.Sleep(500 * time.Millisecond)
		for _, key := range []string{"x", "y"} {
			loads := w.cache.Calls(faults.Load)
			limit.Get(key) // queues a load
			settle()
			for range 100 {
				if v := limit.Get(key); v != 2 {
					t.Fatalf("%s reads %d", key, v)
				}
				settle()
			}
			if n := w.cache.Calls(faults.Load) - loads; n != 1 {
				t.Errorf("%d loads of %s", n, key)
			}
		}
	})
}

// I20: Refresh is about declared options.
func TestARefreshLeavesMembersAsTheyAre(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		for range 2 { // once more after the push of its own fill
			limit.Load(ctx, "x")
			time.Sleep(200 * time.Millisecond)
		}
		must(t, m.Refresh(ctx))
		want(t, limit.Inspect("x"), 0, fastopt.Fresh, fastopt.Default)
	})
}

// I20: a source that was away for a moment is no reason to read from the cache again
// what that has told, and announces changes of.
func TestASourceThatIsBackReloadsNoMember(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		keys := someKeys(50)
		for range 2 { // once more after the pushes of its own fill
			must(t, second(limit.LoadMany(ctx, keys...)))
			time.Sleep(200 * time.Millisecond)
		}
		w.sourceFails()
		for i := 0; m.Stats().SourceTier.Breaker != "open"; i++ {
			if limit.Get(fmt.Sprint("cold", i)); i > 1000 {
				t.Fatal("the breaker stays closed")
			}
			time.Sleep(time.Millisecond)
		}
		w.heal()
		for i := 0; m.Stats().SourceTier.Breaker != "closed"; i++ {
			if time.Sleep(time.Millisecond); i > 2000 {
				t.Fatal("the breaker stays open")
			}
		}
		time.Sleep(100 * time.Millisecond)
		names := w.cache.Names(faults.Load)
		for _, key := range keys {
			if r := limit.Inspect(key); r.State != fastopt.Fresh {
				t.Errorf("%s: %+v", key, r)
			}
			limit.Get(key)
		}
		settle()
		if n := w.cache.Names(faults.Load) - names; n != 0 {
			t.Errorf("%d members were loaded anew", n)
		}
	})
}

// A member that is read all the time is renewed once per TTL, and at the instant
// it ends, though its readers look at a clock that ticks.
func TestAMemberIsRenewedOncePerTTL(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/x", "1")
		limit.Load(ctx, "x")
		settle()
		limit.Load(ctx, "x") // after the push of its own fill
		settle()
		start := time.Now()
		for range 5 {
			loads := w.cache.Calls(faults.Load)
			for time.Since(start) < 10*time.Second-time.Millisecond {
				if limit.Get("x") != 1 {
					t.Fatal("no value")
				}
				time.Sleep(time.Millisecond)
			}
			settle()
			if n := w.cache.Calls(faults.Load) - loads; n != 0 {
				t.Fatalf("%d loads of a fresh member", n)
			}
			time.Sleep(10*time.Second - time.Since(start))
			start = time.Now()
			limit.Get("x")
			settle()
			if n := w.cache.Calls(faults.Load) - loads; n != 1 {
				t.Fatalf("%d loads at the end of the TTL", n)
			}
		}
	})
}

// However often a member is read while it is being loaded, that is asked for once,
// and no other member's load is given up for it; after a push, once more.
func TestReadersAskOnceForWhatIsBeingLoaded(t *testing.T) {
	memberWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit, other *fastopt.Family[int], m *fastopt.Manager) {
		setMember(t, other, "old", 1)
		limit.Load(ctx, "old")
		time.Sleep(11 * time.Second)
		w.cache.Inject(faults.Load, faults.Fault{Delay: 40 * time.Millisecond})
		for _, key := range []string{"old", "unknown"} {
			names := w.cache.Names(faults.Load)
			for flights := range 2 {
				limit.Get(key)
				settle()
				for range 100_000 {
					limit.Get(key)
				}
				settle()
				if n := w.cache.Names(faults.Load) - names; n != int64(flights+1) {
					t.Errorf("%s: %d loads, want %d", key, n, flights+1)
				}
				setMember(t, other, key, 2)
				time.Sleep(time.Millisecond) // the push is handled
			}
			time.Sleep(100 * time.Millisecond)
			limit.Get(key)
			time.Sleep(100 * time.Millisecond)
			if v := limit.Get(key); v != 2 {
				t.Errorf("%s reads %d", key, v)
			}
		}
		if n := m.Stats().Dropped; n != 0 {
			t.Errorf("%d loads were given up", n)
		}
	})
}

// A member that fails backs off as an option does, and is forgotten once nobody
// reads it; one that is repaired is forgotten, too.
func TestWorkingKeysAreForgotten(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		working := func() int { return m.Stats().Families[0].Working }
		w.sql("tenant.limit/x", "1")
		limit.Load(ctx, "x")
		w.allFail()
		time.Sleep(11 * time.Second)
		loads := w.cache.Calls(faults.Load)
		for range 300 {
			if v := limit.Get("x"); v != 1 {
				t.Fatalf("read %d", v)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := w.cache.Calls(faults.Load) - loads; n > 25 {
			t.Errorf("%d loads in 3 s of an outage", n)
		}
		if working() != 1 {
			t.Errorf("%d working keys of one that fails", working())
		}
		time.Sleep(2 * time.Minute)
		if working() != 0 {
			t.Errorf("%d working keys of members that nobody reads", working())
		}
		w.heal()
		time.Sleep(5 * time.Second)
		limit.Get("x")
		settle()
		if limit.Get("x") != 1 || working() != 0 {
			t.Errorf("read %d, %d working keys", limit.Get("x"), working())
		}
		w.cacheSetFails()
		setMember(t, limit, "x", 2)
		if working() != 1 {
			t.Errorf("%d working keys of one that is repaired", working())
		}
		w.heal()
		time.Sleep(3 * time.Second)
		if working() != 0 || w.cached("tenant.limit/x") != "2" {
			t.Errorf("%d working keys; the cache holds %q", working(), w.cached("tenant.limit/x"))
		}
	})
}

// I11: while a member's row is invalid its last good value stays, past its grace,
// and is said to be stale.
func TestAMembersLastGoodValueStaysWhileItsRowIsInvalid(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/x", "1")
		limit.Load(ctx, "x")
		w.sql("tenant.limit/x", `"no int"`)
		w.store.Flush()
		for range 30 {
			time.Sleep(5 * time.Second)
			if v := limit.Get("x"); v != 1 {
				t.Fatalf("read %d", v)
			}
			settle()
		}
		if r := limit.Load(ctx, "x"); r.Value != 1 || r.State != fastopt.Stale || r.Err == nil {
			t.Errorf("%+v", r)
		}
		w.sql("tenant.limit/x", "3")
		w.store.Flush()
		time.Sleep(11 * time.Second)
		want(t, limit.Load(ctx, "x"), 3, fastopt.Fresh, fastopt.Source)
		settle()
		if n := m.Stats().Families[0].Working; n != 0 {
			t.Errorf("%d working keys", n)
		}
	})
}

// R27: an invalid row changes nothing of the last good value, which is no other
// thing with the same stamp when it is heard of again.
func TestALastGoodValueIsNoConflictLater(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/x", "1")
		limit.Load(ctx, "x")
		settle()
		w.sql("tenant.limit/x", `"no int"`)
		time.Sleep(11 * time.Second)
		w.cacheGetFails() // else it would say 1 for a day
		if r := limit.Load(ctx, "x"); r.Value != 1 || !errors.Is(r.Err, fastopt.ErrInvalidValue) {
			t.Fatalf("%+v", r)
		}
		w.heal()
		time.Sleep(2 * time.Minute)
		if n := m.Stats().Families[0].Working; n != 0 {
			t.Fatalf("%d working keys of a member that nobody reads", n)
		}
		limit.Load(ctx, "x")
		if n := m.Stats().Conflicts; n != 0 {
			t.Errorf("%d conflicts", n)
		}
	})
}

// I11, I3c: nor does an outage end what is kept because its row is invalid, while it
// is read.
func TestAMembersLastGoodValueStaysInAnOutage(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/x", "1")
		limit.Load(ctx, "x")
		w.sql("tenant.limit/x", `"no int"`)
		w.store.Flush()
		time.Sleep(11 * time.Second)
		if r := limit.Load(ctx, "x"); r.Value != 1 || !errors.Is(r.Err, fastopt.ErrInvalidValue) {
			t.Fatalf("%+v", r)
		}
		w.allFail()
		w.cache.Cut()
		begun := time.Now()
		read := func(often, until time.Duration) {
			for ; time.Since(begun) < until; time.Sleep(often) {
				if v := limit.Get("x"); v != 1 {
					t.Fatalf("read %d after %v", v, time.Since(begun))
				}
			}
		}
		read(time.Second, 5*time.Minute)
		w.heal()
		w.cache.Reconnect()
		read(time.Millisecond, 5*time.Minute+5*time.Second)
	})
}

// I21: an invalid row that nobody reads is forgotten; its last good value is not.
func TestInvalidRowsThatNobodyReadsAreForgotten(t *testing.T) {
	for _, grace := range []time.Duration{0, fastopt.Forever} {
		familyWorld(t, fastopt.FamilySpec[int]{Default: 10, Grace: grace, MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
			w.sql("tenant.limit/was good", "1")
			limit.Load(ctx, "was good")
			for _, key := range []string{"was good", "never was"} {
				w.sql("tenant.limit/"+key, `"no int"`)
			}
			w.store.Flush()
			time.Sleep(11 * time.Second)
			for range 10 { // kept while they are read
				for key, v := range map[string]int{"was good": 1, "never was": 10} {
					if r := limit.Load(ctx, key); r.Value != v || !errors.Is(r.Err, fastopt.ErrInvalidValue) {
						t.Fatalf("%s: %+v", key, r)
					}
				}
				time.Sleep(30 * time.Second)
			}
			if n := m.Stats().Families[0].Working; n != 2 {
				t.Errorf("%d working keys of rows that are read", n)
			}
			time.Sleep(5 * time.Minute)
			if n := m.Stats().Families[0].Working; n != 0 {
				t.Errorf("grace %v: %d working keys of rows that nobody reads", grace, n)
			}
			if v := limit.Get("was good"); grace == fastopt.Forever && v != 1 {
				t.Errorf("read %d", v)
			}
		})
	}
}

// I21: working keys that fail are bounded, however many members are asked for.
func TestFailuresOfMembersAreBounded(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.allFail()
		for i := range 10_000 {
			limit.Get(fmt.Sprint(i))
			if i%500 == 0 {
				time.Sleep(300 * time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		if s := m.Stats().Families[0]; s.Working > 4096 || s.Working < 3000 || s.Crowded == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// I20: also what fails and finds no room to be remembered is not asked for each time
// that it is read; and is again once a tier answers.
func TestFailuresWithoutRoomAreNotRetriedByEachReader(t *testing.T) {
	const members, remembered = 6000, 4096
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: members}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		readAll := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				for i := range members {
					if limit.Get(fmt.Sprint(i)); i%500 == 499 {
						settle()
					}
				}
			}
		}
		w.allFail()
		w.cache.Cut()
		readAll(2 * time.Second)
		before := m.Stats().Families[0].Crowded
		readAll(3 * time.Second)
		n := m.Stats().Families[0].Crowded - before
		t.Logf("%d forgotten failures of %d members in 3 s", n, members-remembered)
		if n == 0 || n > 20*(members-remembered) {
			t.Errorf("%d failures", n)
		}
		w.heal()
		w.cache.Reconnect()
		time.Sleep(2 * time.Second)
		readAll(100 * time.Millisecond)
		if s := m.Stats().Families[0]; s.Absent < 600 { // all that there is room for
			t.Errorf("%+v", s)
		}
	})
}

// I24: after Close a member keeps its last value, however long ago that was.
func TestAMemberKeepsItsValueAfterClose(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{MaxEntries: 100}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		setMember(t, limit, "x", 1)
		limit.Load(ctx, "x")
		settle()
		setMember(t, limit, "old", 2)
		limit.Load(ctx, "old")
		time.Sleep(15 * time.Second)
		limit.Load(ctx, "x")
		must(t, m.Close())
		time.Sleep(time.Hour)
		if limit.Get("x") != 1 || limit.Get("old") != 2 || limit.Get("unknown") != 0 {
			t.Errorf("read %d, %d, %d", limit.Get("x"), limit.Get("old"), limit.Get("unknown"))
		}
		if n := m.Stats().Dropped; n != 0 {
			t.Errorf("%d loads of a closed manager", n)
		}
	})
}

// A cache that forgets a name for each that is read, as Redis does when its
// table of tracked keys is full, does not make a loop of reloads: they spend from a
// bucket, and then members are renewed at the end of their TTL.
func TestPushesThatBringNothingNewStartNoLoop(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const members = 100
		cfg := w.config()
		f := &forgetful{Cache: w.store}
		cfg.Cache = f
		var r fastopt.Registry
		limit := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
		m := w.open(cfg, &r)
		for i := range members {
			setMember(t, limit, fmt.Sprint(i), i+1)
		}
		readAll := func(d time.Duration) (loads int) {
			before := f.loads
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				for i := range members {
					if v := limit.Get(fmt.Sprint(i)); v != i+1 {
						t.Fatalf("%d reads %d", i, v)
					}
				}
			}
			return f.loads - before
		}
		readAll(20 * time.Second) // the burst, and what is told for the first time
		if n := m.Stats().Families[0].Fruitless; n < 1000 {
			t.Fatalf("%d fruitless reloads: the loop did not begin", n)
		}
		if n, most := readAll(10*time.Second), 100*10+members+members; n > most {
			t.Errorf("%d reloads in 10 s, want at most %d", n, most)
		}
		// What has really changed is seen within the TTL, and at once by a Load.
		must(t, second(w.rows.Write(ctx, "default", []tiers.Write{{Name: "f/7", Data: []byte("70")}})))
		rec := w.rows.Load(ctx, "default", []string{"f/7"})[0].Record
		must(t, w.store.Fill(ctx, "default", []tiers.Fill{{Record: rec}})[0].Err)
		f.push("f/7")
		if r := limit.Load(ctx, "7"); r.Value != 70 {
			t.Errorf("%+v", r)
		}
	})
}

// A forgetful cache says of another name, for each that is read, that it may have
// changed.
type forgetful struct {
	tiers.Cache
	mu    sync.Mutex
	sink  func(tiers.Event)
	names []string
	loads int
}

func (c *forgetful) Watch(ctx context.Context, ns string, sink func(tiers.Event)) error {
	c.mu.Lock()
	c.sink = sink
	c.mu.Unlock()
	return c.Cache.Watch(ctx, ns, sink)
}

func (c *forgetful) push(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sink(tiers.Event{Kind: tiers.Changed, Name: name})
}

func (c *forgetful) Load(ctx context.Context, ns string, names []string) []tiers.Result {
	c.mu.Lock()
	c.loads += len(names)
	c.names = append(c.names, names...)
	var forget []string
	if n := len(c.names) - 50; n > 0 {
		forget, c.names = c.names[:n], c.names[n:]
	}
	c.mu.Unlock()
	for _, name := range forget {
		c.push(name)
	}
	return c.Cache.Load(ctx, ns, names)
}
