package fastopt_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
)

func familyWorld(t *testing.T, s fastopt.FamilySpec[int], f func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager)) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		s.Prefix = "tenant.limit"
		limit := fastopt.DeclareFamily(&r, s)
		f(t, w, limit, w.open(w.config(), &r))
	})
}

func TestAFamilysMembers(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, Check: fastopt.Between(0, 100)}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "50")
		if v := limit.Get("42"); v != 10 {
			t.Errorf("a first read waited for %d", v)
		}
		settle() // it is loaded in the background
		if v := limit.Get("42"); v != 50 {
			t.Errorf("then read %d", v)
		}
		want(t, limit.Load(ctx, "7"), 10, fastopt.Fresh, fastopt.Default)
		_, err := limit.Set(ctx, "7", 70)
		must(t, err)
		if v, err := m.Get("tenant.limit/7"); v != 70 || err != nil {
			t.Errorf("by name: %v, %v", v, err)
		}
		_, err = limit.Set(ctx, "7", 101)
		if !errors.Is(err, fastopt.ErrInvalidValue) || !contains(err, `"tenant.limit/7"`) {
			t.Errorf("%v", err)
		}
		_, err = m.Delete(ctx, "tenant.limit/7")
		must(t, err)
		want(t, limit.Load(ctx, "7"), 10, fastopt.Fresh, fastopt.Default)
		for _, bad := range []string{"", "\x00", "\xff", strings.Repeat("x", 400)} {
			if r := limit.Load(ctx, bad); !errors.Is(r.Err, fastopt.ErrInvalidName) || r.Value != 10 {
				t.Errorf("Load(%q): %+v", bad, r)
			}
			if limit.Get(bad) != 10 {
				t.Errorf("Get(%q)", bad)
			}
			if _, err := limit.Set(ctx, bad, 1); !errors.Is(err, fastopt.ErrInvalidName) {
				t.Errorf("Set(%q): %v", bad, err)
			}
		}
		if set, err := m.IsSet(ctx, "tenant.limit/42"); !set || err != nil {
			t.Errorf("IsSet %v %v", set, err)
		}
		if _, err := m.Get("tenant.limit"); !errors.Is(err, fastopt.ErrUnknownOption) || !contains(err, "tenant.limit/key") {
			t.Errorf("the family itself: %v", err)
		}
		if n := m.Stats().FamilyKeys; n != 2 {
			t.Errorf("%d keys in memory", n)
		}
	})
}

func TestAFamilysMemberIsRenewedWhenReadAndExpires(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/42", "50")
		want(t, limit.Load(ctx, "42"), 50, fastopt.Fresh, fastopt.Source)
		loads := w.cache.Calls(faults.Load)
		time.Sleep(30 * time.Second) // nobody reads: nobody loads
		if n := w.cache.Calls(faults.Load) - loads; n > 1 {
			t.Errorf("%d loads of an idle member", n)
		}
		if v := limit.Get("42"); v != 50 {
			t.Errorf("stale read %d", v)
		}
		settle()
		w.allFail()
		at := time.Now()
		for time.Since(at) < 69*time.Second {
			if v := limit.Get("42"); v != 50 {
				t.Fatalf("read %d after %v", v, time.Since(at))
			}
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		if v := limit.Get("42"); v != 10 {
			t.Errorf("read %d beyond grace", v)
		}
		w.heal()
		time.Sleep(time.Second)
		limit.Get("42")
		settle()
		if v := limit.Get("42"); v != 50 {
			t.Errorf("read %d after the tiers came back", v)
		}
	})
}

func TestAFamilysMemberFollowsPushes(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		var r fastopt.Registry
		theirs := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "tenant.limit", Default: 10})
		w.open(w.config(), &r)
		limit.Load(ctx, "42")
		time.Sleep(200 * time.Millisecond)
		loads := w.cache.Calls(faults.Load)
		_, err := theirs.Set(ctx, "42", 43)
		must(t, err)
		settle()
		if n := w.cache.Calls(faults.Load) - loads; n != 0 {
			t.Errorf("%d loads of a member that nobody reads", n)
		}
		limit.Get("42") // has it loaded
		settle()
		if v := limit.Get("42"); v != 43 {
			t.Errorf("read %d", v)
		}
	})
}

// I21: a flood of unknown keys evicts the flood alone.
func TestAFamilysMemoryIsBounded(t *testing.T) {
	familyWorld(t, fastopt.FamilySpec[int]{Default: 10, MaxEntries: 50, MaxAbsent: 49}, func(t *testing.T, w *world, limit *fastopt.Family[int], m *fastopt.Manager) {
		w.sql("tenant.limit/hot", "1")
		limit.Load(ctx, "hot")
		settle()
		for i := range 1000 {
			limit.Get(fmt.Sprint(i))
			settle()
			if v := limit.Get("hot"); v != 1 {
				t.Fatalf("the flood evicted what is read, at %d", i)
			}
		}
		if n := m.Stats().FamilyKeys; n != 50 {
			t.Errorf("%d keys in memory", n)
		}
		if s := m.Stats().Families[0]; s.Prefix != "tenant.limit" || s.Entries != 1 || s.Absent != 49 || s.Evicted != 951 || s.Working != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A member that the source has just told is fresh for a while, though the cache
// cannot announce changes of it: readers neither wait nor ask each time.
func TestAMemberIsReadThoughTheCacheFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("f/x", "5")
		f := newFleet(w, 1)
		w.cacheGetFails()
		for i := range 10 {
			start := time.Now()
			r := f.limits[0].Load(ctx, "x")
			if r.Value != 5 || r.Err != nil || time.Since(start) > 100*time.Millisecond {
				t.Errorf("%d: after %v %+v", i, time.Since(start), r)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if n := w.source.Calls(faults.Load); n > 4 {
			t.Errorf("%d loads", n)
		}
	})
}
