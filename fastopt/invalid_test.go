package fastopt_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/fastopt/fastopttest"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// sql writes a row past the library, as plain SQL would.
func (w *world) sql(name, data string) tiers.Stamp {
	w.t.Helper()
	s, err := w.rows.Write(ctx, "default", []tiers.Write{{Name: name, Data: []byte(data)}})
	must(w.t, err)
	return s
}

// R38, I11: an invalid row keeps the last good value for as long as it stays.
func TestR38AnInvalidRowKeepsTheLastGoodValue(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		n := fastopt.Declare(&r, fastopt.Spec[int]{Name: "n", Default: 1, Check: fastopt.Between(1, 100)})
		m := w.open(w.config(), &r)
		good := set(t, n, 50)
		settle()
		for i, bad := range []string{`500`, `"50"`, `null`, `50.0`, `1e2`, `-0`, `{"secret":1}`, `[`} {
			if bad == `[` { // no source takes it; a cache may hold it
				continue
			}
			w.sql("n", bad)
			w.store.Flush()
			time.Sleep(2 * time.Second)
			got := n.Inspect()
			want(t, got, 50, fastopt.Stale, fastopt.Write)
			if got.Stamp != good.Stamp || !errors.Is(got.Err, fastopt.ErrInvalidValue) {
				t.Errorf("%s: %+v", bad, got)
			}
			if contains(got.Err, "secret") || contains(got.Err, "500") {
				t.Errorf("the error repeats the value: %v", got.Err)
			}
			if w.cached("n") == bad {
				t.Errorf("the cache was filled with %s", bad)
			}
			if want(t, n.Load(ctx), 50, fastopt.Stale, fastopt.Write); m.Stats().Rejected != uint64(i+1) {
				t.Errorf("%s: %d changes rejected", bad, m.Stats().Rejected)
			}
		}
		lines := len(w.log.lines("cannot be used"))
		time.Sleep(10 * time.Minute) // far beyond grace, all tiers healthy
		want(t, n.Inspect(), 50, fastopt.Stale, fastopt.Write)
		if n.Get() != 50 {
			t.Error("Get fell to the default")
		}
		if more := len(w.log.lines("cannot be used")); more != lines || lines != 7 {
			t.Errorf("%d log lines, then %d", lines, more)
		}
		calls := w.source.Calls(faults.Load)
		time.Sleep(time.Minute)
		if n := w.source.Calls(faults.Load) - calls; n > 10 {
			t.Errorf("%d queries a minute: a refetch storm", n)
		}
		w.sql("n", `60`)
		time.Sleep(10 * time.Second)
		want(t, n.Inspect(), 60, fastopt.Fresh, fastopt.Source)
	})
}

func TestAnInvalidRowWithoutAGoodValueReadsTheDefault(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("n", `"five"`)
		n, _ := process(w, "n", 1)
		r := n.Inspect()
		want(t, r, 1, fastopt.Stale, fastopt.Default)
		if !errors.Is(r.Err, fastopt.ErrInvalidValue) {
			t.Errorf("cause %v", r.Err)
		}
	})
}

func TestATooLargeRowIsRefusedByReaders(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s, m := process(w, "s", "d")
		w.sql("s", `"`+strings.Repeat("x", 64<<10)+`"`)
		must(t, m.Refresh(ctx))
		time.Sleep(8 * time.Second) // the cache still says absent
		w.store.Flush()
		time.Sleep(2 * time.Second)
		r := s.Inspect()
		want(t, r, "d", fastopt.Stale, fastopt.Default)
		if !errors.Is(r.Err, fastopt.ErrTooLarge) || !contains(r.Err, "65538") || !contains(r.Err, "65536") {
			t.Errorf("cause %v", r.Err)
		}
	})
}

// R37: what is unusable in the cache is a miss, and is repaired.
func TestR37CorruptBytesInTheCacheAreAMissAndRepaired(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		foo, m := process(w, "foo", "")
		set(t, foo, "v")
		settle()
		w.store.Corrupt("default", "foo", []byte("garbage"))
		fastopttest.Flush(t, m)
		want(t, foo.Load(ctx), "v", fastopt.Fresh, fastopt.Source)
		settle()
		if w.cached("foo") != `"v"` || m.Stats().CacheCorrupt == 0 {
			t.Errorf("cache holds %q, stats %+v", w.cached("foo"), m.Stats())
		}
	})
}

// A value in the cache that only this process cannot use: the source is asked.
func TestAnInvalidValueInTheCacheIsAMiss(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("n", `5`)
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "n", Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 0, Revision: 9}, Data: []byte(`"five"`)}}})
		n, _ := process(w, "n", 1)
		want(t, n.Inspect(), 5, fastopt.Fresh, fastopt.Source)
		if w.cached("n") != `5` {
			t.Errorf("cache holds %q", w.cached("n"))
		}
	})
}

// R27: one stamp, two values: counted, and the source has the last word.
func TestR27TwoValuesOfOneStampAreAConflictThatTheSourceDecides(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, m := process(w, "n", 1)
		rc := set(t, n, 5)
		settle()
		w.store.Flush()
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "n", Kind: tiers.Value, Stamp: rc.Stamp, Data: []byte("6")}}})
		time.Sleep(time.Second)
		if m.Stats().Conflicts == 0 {
			t.Error("not counted")
		}
		want(t, n.Inspect(), 5, fastopt.Fresh, fastopt.Write)
	})
}

func TestR27TheSourceCorrectsAnotherValueOfTheSameStamp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		stamp := w.sql("n", "5")
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "n", Kind: tiers.Value, Stamp: stamp, Data: []byte("6")}}})
		n, m := process(w, "n", 1)
		want(t, n.Inspect(), 6, fastopt.Fresh, fastopt.Cache)
		w.store.Flush()
		time.Sleep(time.Second)
		want(t, n.Inspect(), 5, fastopt.Fresh, fastopt.Source)
		if m.Stats().Conflicts == 0 {
			t.Error("not counted")
		}
	})
}

// R40: an entry of a newer version is not overwritten.
func TestR40AnEntryOfANewerVersionIsLeftAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.sql("n", `5`)
		w.cache.Inject(faults.Load, faults.Fault{Err: tiers.ErrForeign})
		n, m := process(w, "n", 1)
		want(t, n.Inspect(), 5, fastopt.Fresh, fastopt.Source)
		if w.cached("n") != "" || w.cache.Calls(faults.Fill) != 0 {
			t.Error("it was overwritten")
		}
		if err := m.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
	})
}

// A rogue decodes in ways that decoders should not.
type rogue struct{ How string }

func (r *rogue) UnmarshalText(text []byte) error {
	switch r.How = string(text); r.How {
	case "panic":
		panic("secret")
	case "goexit":
		runtime.Goexit()
	case "slow":
		<-release
	}
	return nil
}

// release lets the slow decoder return; it is made in the bubble of the test.
var release chan struct{}

func (r rogue) MarshalText() ([]byte, error) { return []byte(r.How), nil }

// R32, I19: a decoder that panics, ends its goroutine or does not return
// becomes an error of its own option, and delays no other.
func TestR32ARogueDecoderHarmsNobody(t *testing.T) {
	for _, how := range []string{"panic", "goexit", "slow", "slow, in the cache"} {
		t.Run(how, func(t *testing.T) {
			how, cached := strings.CutSuffix(how, ", in the cache")
			inWorld(t, func(t *testing.T, w *world) {
				release = make(chan struct{})
				var r fastopt.Registry
				bad := fastopt.New(&r, "bad", rogue{"fine"})
				var good []*fastopt.Option[int]
				for i := range 20 {
					good = append(good, fastopt.New(&r, fmt.Sprintf("good.%d", i), 0))
				}
				m := w.open(w.config(), &r)
				end := sync.OnceFunc(func() { close(release) })
				t.Cleanup(end)
				fresh := fastopt.Source
				write := func(name, data string) {
					rec := tiers.Record{Name: name, Kind: tiers.Value, Data: []byte(data), Stamp: w.sql(name, data)}
					if cached {
						fresh = fastopt.Cache
						w.store.Fill(ctx, "default", []tiers.Fill{{Record: rec}})
					}
				}
				if !cached {
					w.store.Flush()
				}
				w.cache.Freeze() // all are read in one batch, not as they are pushed
				write("bad", `"`+how+`"`)
				for _, o := range good {
					write(o.Name(), `1`)
				}
				done := make(chan struct{})
				go func() { m.Refresh(ctx); close(done) }()
				time.Sleep(200 * time.Millisecond)
				for _, o := range good {
					want(t, o.Inspect(), 1, fastopt.Fresh, fresh)
				}
				if v := bad.Get(); v.How != "fine" {
					t.Errorf("read %+v", v)
				}
				if how == "slow" {
					r := bad.Load(ctx)
					if r.Err == nil || r.State == fastopt.Fresh {
						t.Errorf("%+v", r)
					}
					end()
					<-done
					return
				}
				<-done
				got := bad.Inspect()
				if !errors.Is(got.Err, fastopt.ErrInvalidValue) || contains(got.Err, "secret") {
					t.Errorf("cause: %v", got.Err)
				}
			})
		})
	}
}

// I11: known to be invalid, the row keeps the last good value even if all tiers
// die; and while only the cache repeats it, the source is not asked again.
func TestAnInvalidRowOutlivesGrace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n, _ := process(w, "n", 1)
		set(t, n, 50)
		settle()
		stamp := w.sql("n", `"fifty"`)
		w.store.Fill(ctx, "default", []tiers.Fill{{Record: tiers.Record{Name: "n", Kind: tiers.Value, Stamp: stamp, Data: []byte(`"fifty"`)}}})
		time.Sleep(time.Second)
		want(t, n.Inspect(), 50, fastopt.Stale, fastopt.Write)
		calls := w.source.Calls(faults.Load)
		time.Sleep(time.Minute)
		if c := w.source.Calls(faults.Load) - calls; c != 0 {
			t.Errorf("%d queries a minute for what the cache says again", c)
		}
		w.allFail()
		w.cache.Cut()
		time.Sleep(10 * time.Minute)
		want(t, n.Inspect(), 50, fastopt.Stale, fastopt.Write)
		if n.Get() != 50 {
			t.Errorf("Get gives %d", n.Get())
		}
	})
}

// A Check that takes longer than a fill may wait keeps nothing from the cache.
func TestWhatIsCheckedSlowlyFillsTheCacheAllTheSame(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		var names []string
		for i := range 20 {
			n := fastopt.Declare(&r, fastopt.Spec[int]{Name: fmt.Sprintf("n.%d", i), Check: func(n int) error {
				if n > 0 {
					time.Sleep(100 * ms)
				}
				return nil
			}})
			names = append(names, n.Name())
			w.sql(n.Name(), "7")
		}
		w.open(w.config(), &r)
		time.Sleep(time.Second)
		for _, name := range names {
			if w.cached(name) != "7" {
				t.Errorf("of %s the cache holds %q", name, w.cached(name))
			}
		}
	})
}
