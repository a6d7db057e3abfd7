package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/fastopt/fastopttest"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Sync by hand: in any process, the relay or not. The scenarios S31 to S34 are
// the ancestor's.

// afterS29 is a process in whose cache a stale copy of foo stands: the source
// has baz.
func afterS29(t *testing.T, w *world) (*fastopt.Option[string], *fastopt.Manager) {
	t.Helper()
	foo, m := process(w, "foo", "")
	set(t, foo, "bar")
	w.sql("foo", `"baz"`)
	fastopttest.Flush(t, m)
	if w.cached("foo") != `"bar"` {
		t.Fatalf("the cache holds %q", w.cached("foo"))
	}
	return foo, m
}

func TestS31SyncRepairsTheCacheAndNoCallIsNeeded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := afterS29(t, w)
		must(t, m.Sync(ctx))
		fastopttest.Flush(t, m)
		want(t, foo.Load(ctx), "baz", fastopt.Fresh, fastopt.Cache)
	})
	inRelayedWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "bar")
		w.sql("foo", `"baz"`)
		time.Sleep(2 * time.Second)
		fastopttest.Flush(t, m)
		want(t, foo.Load(ctx), "baz", fastopt.Fresh, fastopt.Cache)
	})
}

func TestS32ARowIsRepairedWhateverItsAge(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := afterS29(t, w)
		for _, age := range []time.Duration{time.Minute, 2 * time.Hour} {
			time.Sleep(age)
			w.store.Flush()
			w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "foo", Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}, Data: []byte(`"bar"`)}}})
			must(t, m.Sync(ctx))
			if w.cached("foo") != `"baz"` {
				t.Errorf("after %v the cache holds %q", age, w.cached("foo"))
			}
		}
		time.Sleep(2 * time.Second) // what the loss started is done
		fastopttest.Flush(t, m)
		want(t, foo.Load(ctx), "baz", fastopt.Fresh, fastopt.Cache)
	})
}

func TestS33ARowThatNobodyDeclaredIsSaidAndTheOthersAreSynced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := afterS29(t, w)
		w.sql("a.stranger", `1`)
		w.sql("Not A Name", `1`)
		must(t, m.Sync(ctx))
		if n := len(w.log.lines("not declared here", "rows=2")); n != 1 {
			t.Errorf("%d lines", n)
		}
		fastopttest.Flush(t, m)
		want(t, foo.Load(ctx), "baz", fastopt.Fresh, fastopt.Cache)
		if w.cached("a.stranger") != "1" { // it may be declared elsewhere
			t.Errorf("the cache holds %q", w.cached("a.stranger"))
		}
	})
}

func TestS34ATombstoneReplacesADeletedOption(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := afterS29(t, w)
		w.drop("foo")
		must(t, m.Sync(ctx))
		if w.cached("foo") != "absent" {
			t.Errorf("the cache holds %q", w.cached("foo"))
		}
		fastopttest.Flush(t, m)
		want(t, foo.Load(ctx), "", fastopt.Fresh, fastopt.Default)
	})
}

// A noting cache notes how long it is asked to keep what.
type noting struct {
	tiers.Cache
	kept map[string]time.Duration
}

func (n *noting) Fill(ctx context.Context, ns string, fills []tiers.Fill) []tiers.FillResult {
	for _, f := range fills {
		n.kept[f.Name] = f.TTL
	}
	return n.Cache.Fill(ctx, ns, fills)
}

// What bounds only the cache's memory ends after a day; options stay.
func TestTheCacheKeepsOptionsAndForgetsMembersAndTombstones(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.config()
		cache := &noting{w.store, map[string]time.Duration{}}
		cfg.Cache = cache
		m := w.open(cfg)
		w.sql("option", "1")
		w.sql("family/member", "1")
		w.sql("gone", "1")
		w.drop("gone")
		must(t, m.Sync(ctx))
		day := 24*time.Hour - 72*time.Minute // jittered by half of a tenth
		if fmt.Sprint(cache.kept) != fmt.Sprint(map[string]time.Duration{"option": 0, "family/member": day, "gone": day}) {
			t.Errorf("%v", cache.kept)
		}
	})
}

func TestSyncSaysWhatFailed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("foo", `"v"`)
		_, m := process(w, "foo", "")
		for _, f := range []struct {
			how string
			do  func()
		}{
			{"scan fails", func() { w.source.Inject(faults.Scan, faults.Fault{Err: errDown}) }},
			{"scan hangs", func() { w.source.Inject(faults.Scan, faults.Fault{Hang: true, Lost: true}) }},
			{"fill fails", func() { w.cacheSetFails() }},
			{"fill hangs", func() { w.cache.Inject(faults.Fill, faults.Fault{Hang: true}) }},
		} {
			f.do()
			start := time.Now()
			if err := m.Sync(ctx); !errors.Is(err, fastopt.ErrUnavailable) || time.Since(start) > 2*time.Second {
				t.Errorf("%s: %v after %v", f.how, err, time.Since(start))
			}
			w.heal()
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := m.Sync(ended); !errors.Is(err, fastopt.ErrUnavailable) {
			t.Errorf("ended context: %v", err)
		}
		must(t, m.Sync(ctx))
		w.source.Inject(faults.Scan, faults.Fault{Hang: true, Lost: true})
		time.AfterFunc(100*time.Millisecond, func() { m.Close() })
		if err := m.Sync(ctx); !errors.Is(err, fastopt.ErrClosed) {
			t.Errorf("closed meanwhile: %v", err)
		}
		if err := m.Sync(ctx); !errors.Is(err, fastopt.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		for _, cfg := range []fastopt.Config{{}, {Source: w.source}, {Cache: w.cache}} {
			if err := w.open(cfg).Sync(ctx); !errors.Is(err, fastopt.ErrConfig) {
				t.Errorf("%v", err)
			}
		}
	})
}
