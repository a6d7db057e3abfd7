package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// Families: many members at once, what is known of one, and one as it changes.

func someKeys(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint("k", i))
	}
	return keys
}

func TestLoadManyAsksEachTierOnce(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		keys := someKeys(300)
		for i, key := range keys {
			if i%3 != 0 {
				w.sql("tenant.limit/"+key, fmt.Sprint(i))
			}
		}
		hits, rows := int64(0), int64(0)
		load := func() {
			t.Helper()
			hits, rows = w.cache.Calls(faults.Load), w.source.Calls(faults.Load)
			rs, err := limit.LoadMany(ctx, append(keys, keys[0], keys[5])...) // two of them twice
			must(t, err)
			if len(rs) != len(keys) {
				t.Fatalf("%d readings of %d keys", len(rs), len(keys))
			}
			for i, key := range keys {
				v := 10
				if i%3 != 0 {
					v = i
				}
				if r := rs[key]; r.Value != v || r.State != fastopt.Fresh || r.Err != nil {
					t.Fatalf("%s: %+v, want %d", key, r, v)
				}
			}
			hits, rows = w.cache.Calls(faults.Load)-hits, w.source.Calls(faults.Load)-rows
		}
		check := func(what string, cache, source int64) {
			t.Helper()
			if load(); hits != cache || rows != source {
				t.Errorf("%s: %d requests to the cache and %d to the source, want %d and %d", what, hits, rows, cache, source)
			}
		}
		w.cacheSetFails() // else our own fill pushes, and what is asked again is counted, too
		check("cold", 1, 1)
		w.heal()
		for range 3 {
			time.Sleep(time.Minute)
			load()
			time.Sleep(time.Second)
			load()
		}
		check("in memory", 0, 0)
		time.Sleep(time.Minute)
		check("in the cache", 1, 0)
		if s := m.Stats().Families[0]; s.Entries != 200 || s.Absent != 100 || s.Working != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestLoadManyAtItsEdges(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 10}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		if rs, err := limit.LoadMany(ctx); err != nil || rs == nil || len(rs) != 0 {
			t.Errorf("no keys: %v, %v", rs, err)
		}
		// More than are kept in memory: all are told all the same.
		rs, err := limit.LoadMany(ctx, someKeys(1200)...)
		must(t, err)
		for key, r := range rs {
			if r.Value != 10 || r.State != fastopt.Fresh {
				t.Fatalf("%s: %+v", key, r)
			}
		}
		if len(rs) != 1200 {
			t.Errorf("%d readings", len(rs))
		}
		if rs, err := limit.LoadMany(ctx, make([]string, 100_001)...); !errors.Is(err, fastopt.ErrTooLarge) || rs != nil || !contains(err, "100000") {
			t.Errorf("too many: %v", err)
		}
		// While nobody answers: one bound of time for all.
		w.allFail()
		start := time.Now()
		rs, err = limit.LoadMany(ctx, "x", "y", "z")
		must(t, err)
		if d := time.Since(start); d > 300*time.Millisecond {
			t.Errorf("it waited for %v", d)
		}
		for key, r := range rs {
			if r.Value != 10 || !errors.Is(r.Err, fastopt.ErrUnavailable) || !contains(r.Err, "tenant.limit/"+key) {
				t.Errorf("%s: %+v", key, r)
			}
		}
		w.heal()
		must(t, m.Close())
		rs, err = limit.LoadMany(ctx, "x", "k3")
		if must(t, err); len(rs) != 2 || !errors.Is(rs["x"].Err, fastopt.ErrClosed) || !errors.Is(rs["k3"].Err, fastopt.ErrClosed) {
			t.Errorf("after Close: %+v", rs)
		}
	})
	var r fastopt.Registry
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", Default: 3, MaxEntries: 1})
	rs, err := f.LoadMany(ctx, "x")
	if must(t, err); rs["x"].Value != 3 || !errors.Is(rs["x"].Err, fastopt.ErrClosed) {
		t.Errorf("before Open: %+v", rs)
	}
}

// Inspect tells what is known, and asks nobody.
func TestInspectOfAMember(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "50")
		want(t, limit.Inspect("42"), 10, fastopt.Unloaded, fastopt.Default)
		settle()
		if n := w.cache.Calls(faults.Load); n != 0 {
			t.Fatalf("it caused %d loads", n)
		}
		loaded := limit.Load(ctx, "42")
		limit.Load(ctx, "7")
		time.Sleep(200 * time.Millisecond)
		limit.LoadMany(ctx, "42", "7") // once more, for what the pushes of the fill ended
		w.allFail()
		was := limit.Inspect("42")
		if was.Value != 50 || was.State != fastopt.Fresh || was.Stamp != loaded.Stamp || was.Err != nil {
			t.Errorf("%+v", was)
		}
		want(t, limit.Inspect("7"), 10, fastopt.Fresh, fastopt.Default)
		time.Sleep(10*time.Second - was.Age - 1)
		if r := limit.Inspect("42"); r.Age != 10*time.Second-1 || r.State != fastopt.Fresh || r.Origin != was.Origin {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Nanosecond)
		want(t, limit.Inspect("42"), 50, fastopt.Stale, was.Origin)
		limit.Load(ctx, "42")
		if r := limit.Inspect("42"); r.State != fastopt.Stale || !errors.Is(r.Err, errDown) {
			t.Errorf("after a load that failed: %+v", r)
		}
		time.Sleep(70*time.Second - limit.Inspect("42").Age - 1)
		want(t, limit.Inspect("42"), 50, fastopt.Stale, was.Origin)
		time.Sleep(time.Nanosecond)
		want(t, limit.Inspect("42"), 10, fastopt.Expired, fastopt.Default)
		w.heal()
	})
	var r fastopt.Registry
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", Default: 3, MaxEntries: 1})
	want(t, f.Inspect("x"), 3, fastopt.Unloaded, fastopt.Default)
}

// What nobody has asked for since it was loaded is judged by the clock alone.
func TestInspectOfAMemberThatNobodyReads(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "50")
		limit.Load(ctx, "42")
		time.Sleep(69 * time.Second)
		if r := limit.Inspect("42"); r.Value != 50 || r.State != fastopt.Stale {
			t.Errorf("%+v", r)
		}
		time.Sleep(2 * time.Second)
		want(t, limit.Inspect("42"), 10, fastopt.Expired, fastopt.Default)
	})
}

// watchedMember collects what a watcher of a member is told.
func watchedMember(c context.Context, f *fastopt.Family[int], key string) (seen func() []int, done chan struct{}) {
	var mu sync.Mutex
	var list []int
	done = make(chan struct{})
	go func() {
		defer close(done)
		for r := range f.Watch(c, key) {
			mu.Lock()
			list = append(list, r.Value)
			mu.Unlock()
		}
	}()
	synctest.Wait()
	seen = func() []int {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
	return seen, done
}

// Another process' Set is seen at once, and when nobody watches any more nothing
// is left of it.
func TestAWatchedMemberIsKeptUpToDate(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		var r fastopt.Registry
		theirs := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "tenant.limit", Default: 10, MaxEntries: 1000})
		w.open(w.config(), &r)
		w.sql("tenant.limit/42", "1")
		c, cancel := context.WithCancel(ctx)
		first, firstDone := watchedMember(c, limit, "42")
		second, secondDone := watchedMember(ctx, limit, "42")
		if got := first(); !equal(got, []int{10, 1}) { // it is loaded without a reader
			t.Errorf("told %v", got)
		}
		time.Sleep(time.Second)
		for _, v := range []int{2, 3} {
			_, err := theirs.Set(ctx, "42", v)
			must(t, err)
			settle()
			if got := first(); got[len(got)-1] != v {
				t.Errorf("told %v, not %d", got, v)
			}
			if v2 := limit.Get("42"); v2 != v {
				t.Errorf("read %d, want %d", v2, v)
			}
			time.Sleep(time.Second)
		}
		cancel()
		<-firstDone
		time.Sleep(2 * time.Minute) // one is left: renewed, though nobody reads it
		want(t, limit.Inspect("42"), 3, fastopt.Fresh, fastopt.Cache)
		if got := second(); !equal(got, []int{1, 2, 3}) {
			t.Errorf("told %v", got)
		}
		if n := m.Stats().Families[0].Working; n != 1 {
			t.Errorf("%d working keys", n)
		}
		must(t, m.Close())
		<-secondDone
	})
}

// What was fresh before it was watched is renewed, too.
func TestAFreshMemberIsRenewedOnceItIsWatched(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		_, err := limit.Set(ctx, "42", 1)
		must(t, err)
		time.Sleep(200 * time.Millisecond)
		if r := limit.Load(ctx, "42"); r.State != fastopt.Fresh {
			t.Fatalf("%+v", r)
		}
		c, cancel := context.WithCancel(ctx)
		_, done := watchedMember(c, limit, "42")
		for range 10 {
			time.Sleep(13 * time.Second)
			if r := limit.Inspect("42"); r.State != fastopt.Fresh {
				t.Fatalf("%+v", r)
			}
		}
		cancel()
		<-done
	})
}

func TestTheEndOfAWatchDropsTheWorkingKey(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "1")
		c, cancel := context.WithCancel(ctx)
		_, done := watchedMember(c, limit, "42")
		time.Sleep(time.Second)
		if n := m.Stats().Families[0].Working; n != 1 {
			t.Errorf("%d working keys while it is watched", n)
		}
		cancel()
		<-done
		if n := m.Stats().Families[0].Working; n != 0 {
			t.Errorf("%d working keys when nobody watches", n)
		}
		loads := w.cache.Calls(faults.Load)
		time.Sleep(time.Minute)
		if n := w.cache.Calls(faults.Load) - loads; n != 0 {
			t.Errorf("%d loads of a member that nobody watches or reads", n)
		}
		// A panic of the loop's body, and a break, are ends, too.
		if p := panicOf(func() {
			for range limit.Watch(ctx, "42") {
				panic("mine")
			}
		}); p != "mine" {
			t.Errorf("panic %v", p)
		}
		for range limit.Watch(ctx, "42") {
			break
		}
		time.Sleep(time.Minute)
		if n := m.Stats().Families[0].Working; n != 0 {
			t.Errorf("%d working keys in the end", n)
		}
	})
}

// What is pushed of others makes no watched member stale.
func TestAWatchedMemberIsFreshWhateverOthersDo(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 20_000, MaxAbsent: 20_000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "1")
		c, cancel := context.WithCancel(ctx)
		_, done := watchedMember(c, limit, "42")
		time.Sleep(time.Second)
		for i := range 16 { // each is pushed when its absence is filled
			must(t, second(limit.LoadMany(ctx, someKeys(1000 * (i + 1))[1000*i:]...)))
			settle()
		}
		if n := m.Stats().Pushes; n < 16_000 {
			t.Fatalf("%d pushes", n)
		}
		if r := limit.Inspect("42"); r.Value != 1 || r.State != fastopt.Fresh {
			t.Errorf("%+v", r)
		}
		cancel()
		<-done
	})
}

// I12: what a watched member was renewed to without a request counts for its
// readers, too, also when nobody watches any more.
func TestAMemberIsAsFreshAfterItsWatchAsInIt(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 1000}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "1")
		c, cancel := context.WithCancel(ctx)
		_, done := watchedMember(c, limit, "42")
		time.Sleep(time.Minute)
		loads := w.cache.Calls(faults.Load)
		time.Sleep(2 * time.Minute) // longer than TTL and grace
		cancel()
		<-done
		if r := limit.Inspect("42"); r.Value != 1 || r.State != fastopt.Fresh || r.Age > 10*time.Second {
			t.Errorf("%+v", r)
		}
		if v := limit.Get("42"); v != 1 {
			t.Errorf("read %d", v)
		}
		settle()
		if n := w.cache.Calls(faults.Load) - loads; n != 0 {
			t.Errorf("%d loads of what the cache had told, and was alive", n)
		}
	})
}

// I21: what is watched is not evicted, whatever floods by.
func TestAWatchedMemberIsNotEvicted(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 5}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "1")
		seen, _ := watchedMember(ctx, limit, "42")
		for i := range 100 {
			key := fmt.Sprint(i)
			if i == 42 {
				continue
			}
			_, err := limit.Set(ctx, key, i)
			must(t, err)
		}
		time.Sleep(200 * time.Millisecond)
		if r := limit.Inspect("42"); r.Value != 1 || r.State != fastopt.Fresh {
			t.Errorf("%+v", r)
		}
		if got := seen(); !equal(got, []int{10, 1}) {
			t.Errorf("told %v", got)
		}
		if s := m.Stats().Families[0]; s.Entries > 6 {
			t.Errorf("%+v", s)
		}
		must(t, m.Close())
	})
}

// A watched member falls to the default in time, and tells of the way back.
func TestAWatchedMemberTellsOfTheDefault(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 5, TTL: 10 * time.Second, Grace: 20 * time.Second}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "1")
		seen, done := watchedMember(ctx, limit, "42")
		time.Sleep(5 * time.Second)
		w.allFail()
		w.cache.Cut()
		time.Sleep(30*time.Second - limit.Inspect("42").Age - 1)
		if got := seen(); !equal(got, []int{10, 1}) {
			t.Errorf("before TTL + grace ended it was told %v", got)
		}
		time.Sleep(time.Nanosecond)
		if got := seen(); !equal(got, []int{10, 1, 10}) {
			t.Errorf("in the outage it was told %v", got)
		}
		w.heal()
		w.cache.Reconnect()
		time.Sleep(3 * time.Second)
		if got := seen(); !equal(got, []int{10, 1, 10, 1}) {
			t.Errorf("then it was told %v", got)
		}
		must(t, m.Close())
		<-done
	})
}

func TestWatchOfAMemberBeforeOpenEnds(t *testing.T) {
	var r fastopt.Registry
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", Default: 3, MaxEntries: 1})
	n := 0
	for r := range f.Watch(ctx, "x") {
		if n++; r.Value != 3 || !errors.Is(r.Err, fastopt.ErrClosed) {
			t.Errorf("%+v", r)
		}
	}
	if n != 1 {
		t.Errorf("told %d times", n)
	}
}
