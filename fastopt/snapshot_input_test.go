package fastopt_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/fastopt/fastopttest"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers"
)

// Snapshots that cannot be used, in whole or in part, what is in them, and when
// they are written.

// Of a path that cannot be used Open says so before anybody is asked, and
// leaves the registry free.
func TestSnapshotPathsThatCannotBeUsedAreErrorsOfOpen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		used := saving(w, cfg, fastopt.Spec[int]{})
		asked := w.source.Calls(faults.Identity) + w.source.Calls(faults.Load)
		others := w.snapshotConfig()
		store(t, others, snapshot.Snapshot{Header: snapshot.Header{Namespace: "billing", Written: time.Now()}})
		before, err := os.ReadFile(others.Snapshot)
		must(t, err)
		for path, text := range map[string]string{
			cfg.Snapshot:    "another manager",
			others.Snapshot: `namespace "billing"`,
			filepath.Join(filepath.Dir(cfg.Snapshot), "no", "s"): "no such file",
			filepath.Dir(cfg.Snapshot):                           "no regular file",
		} {
			var r fastopt.Registry
			foo := fastopt.New(&r, "foo", 0)
			cfg := w.config()
			cfg.Snapshot = path
			m, err := fastopt.Open(ctx, cfg, &r)
			if m != nil || !errors.Is(err, fastopt.ErrSnapshot) || !contains(err, text) || !contains(err, path) {
				t.Errorf("%s: %v", path, err)
			}
			if _, err := fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "bar"}); err != nil || foo.Get() != 0 {
				t.Errorf("the registry is taken: %v", err)
			}
		}
		if n := w.source.Calls(faults.Identity) + w.source.Calls(faults.Load); n != asked {
			t.Errorf("%d questions", n-asked)
		}
		if after, err := os.ReadFile(others.Snapshot); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the other namespace's file was touched: %v", err)
		}
		must(t, used.Close())
		must(t, saving(w, cfg, fastopt.Spec[int]{}).Close()) // and is free again
	})
}

// A file that is no use is said to be, once, kept for people, and replaced.
func TestSnapshotsThatCannotBeReadAreToldAndReplaced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		good := snapshot.Snapshot{Header: snapshot.Header{Namespace: "default", Written: time.Now()},
			Entries: []snapshot.Entry{{Name: "foo", Type: "int", Kind: tiers.Value, Data: []byte("666"), Stamp: tiers.Stamp{Epoch: 1, Revision: 1}}}}
		encode := func(s snapshot.Snapshot, key []byte) []byte {
			raw, err := snapshot.Encode(s, key)
			must(t, err)
			return raw
		}
		plain := encode(good, nil)
		ahead := good
		ahead.Written = time.Now().Add(time.Hour)
		flipped := bytes.Clone(plain)
		flipped[len(flipped)-5] ^= 1
		for text, raw := range map[string][]byte{
			"no snapshot":    []byte("root:x:0:0\n"),
			"damaged":        plain[:len(plain)-3],
			"it is damaged":  flipped,
			"or no snapshot": {},
			"newer version":  []byte("fastopt-snapshot 7 whatever"),
			"another key":    encode(good, bytes.Repeat([]byte("k"), 32)),
			"59m5":           encode(ahead, nil),
			"set back":       encode(ahead, nil),
		} {
			w.log.clear()
			cfg := w.snapshotConfig()
			must(t, os.WriteFile(cfg.Snapshot, raw, 0o600))
			w.dark()
			a := saving(w, cfg, fastopt.Spec[int]{Default: 1})
			want(t, a.foo.Inspect(), 1, fastopt.Unloaded, fastopt.Default)
			if err := a.Ready(); !errors.Is(err, fastopt.ErrSnapshot) || text != "59m5" && !contains(err, text) {
				t.Errorf("%s: Ready: %v", text, err)
			}
			if n := len(w.log.lines("level=WARN", "the snapshot is not used", cfg.Snapshot)); n != 1 {
				t.Errorf("%s: %d lines", text, n)
			}
			if kept, err := os.ReadFile(cfg.Snapshot); err != nil || !bytes.Equal(kept, raw) {
				t.Errorf("%s: it was touched: %v", text, err)
			}
			w.light()
			time.Sleep(2 * time.Second)
			if err := a.Ready(); err != nil {
				t.Errorf("%s: Ready: %v", text, err)
			}
			if s := stored(t, cfg); len(s.Entries) != 1 {
				t.Errorf("%+v", s)
			}
			if kept, err := os.ReadFile(cfg.Snapshot + ".bad"); err != nil || !bytes.Equal(kept, raw) {
				t.Errorf("%s: it was not kept: %v", text, err)
			}
			must(t, a.Close())
		}
	})
}

type place struct {
	X int
	Y string `json:"y"`
}

type movedPlace struct {
	Y string `json:"y"`
	X int
}

type widerPlace struct {
	X int
	Y string `json:"y"`
	Z int
}

// Options that changed meanwhile are left out one by one, and named.
func TestOptionsOfTheSnapshotThatChangedAreLeftOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		var r fastopt.Registry
		fastopt.New(&r, "same", 1)
		fastopt.New(&r, "moved", place{})
		fastopt.New(&r, "wider", place{})
		fastopt.New(&r, "kind", 1)
		fastopt.New(&r, "unit", 5)
		fastopt.New(&r, "checked", 50)
		fastopt.New(&r, "stuck", 1)
		fastopt.New(&r, "long", "")
		fastopt.New(&r, "gone", 1)
		m := w.open(cfg, &r)
		must(t, second(m.SetAll(ctx, map[string]any{"same": 2, "moved": place{1, "a"}, "wider": place{1, "a"}, "kind": 2, "unit": 6,
			"checked": 4711999, "stuck": 2, "long": strings.Repeat("x", 1000), "gone": 2})))
		time.Sleep(time.Second)
		must(t, m.Close())
		w.dark()
		time.Sleep(time.Second)

		var next fastopt.Registry
		never := make(chan struct{})
		defer close(never)
		same := fastopt.New(&next, "same", 1)
		moved := fastopt.New(&next, "moved", movedPlace{})
		fastopt.New(&next, "wider", widerPlace{})
		fastopt.New(&next, "kind", 1.0)
		fastopt.New(&next, "unit", 5*time.Second)
		fastopt.Declare(&next, fastopt.Spec[int]{Name: "checked", Default: 5, Check: fastopt.Between(0, 10)})
		fastopt.Declare(&next, fastopt.Spec[int]{Name: "stuck", Check: func(n int) error {
			if n == 2 {
				<-never
			}
			return nil
		}})
		fastopt.New(&next, "long", "")
		cfg.MaxValue = 100
		m = w.open(cfg, &next)
		want(t, same.Inspect(), 2, fastopt.Stale, fastopt.Snapshot)
		want(t, moved.Inspect(), movedPlace{"a", 1}, fastopt.Stale, fastopt.Snapshot)
		left := 0
		for _, r := range m.All() {
			if r.State == fastopt.Unloaded {
				left++
			}
		}
		if left != 6 {
			t.Errorf("%d are left out", left)
		}
		err := m.Ready()
		for _, text := range []string{`"wider"`, `"kind": it is of type float64 here, and was of type int`, `"unit"`, `"checked"`, "and 1 more"} {
			if !errors.Is(err, fastopt.ErrSnapshot) || !contains(err, text) {
				t.Errorf("Ready lacks %s: %v", text, err)
			}
		}
		if contains(err, "4711999") || contains(err, "xxx") {
			t.Errorf("a value is told: %v", err)
		}
		if n := len(w.log.lines("options of the snapshot are not used")); n != 1 {
			t.Errorf("%d lines", n)
		}
		if n := len(w.log.lines("start from the snapshot", "options=2", `"not declared"=1`)); n != 1 {
			t.Errorf("%d lines: %v", n, w.log.lines("start from the snapshot"))
		}
	})
}

// Secrets are in it only under a key, overrides and members of families never.
func TestWhatStandsInTheSnapshot(t *testing.T) {
	for _, key := range [][]byte{nil, bytes.Repeat([]byte("k"), 32)} {
		inWorld(t, func(t *testing.T, w *world) {
			cfg := w.snapshotConfig()
			cfg.SnapshotKey = key
			declare := func() (*fastopt.Registry, *fastopt.Option[string], *fastopt.Option[int], *fastopt.Option[int], *fastopt.Family[int]) {
				var r fastopt.Registry
				return &r, fastopt.Declare(&r, fastopt.Spec[string]{Name: "secret", Secret: true}), fastopt.New(&r, "over", 0),
					fastopt.New(&r, "bad", 0), fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1000})
			}
			r, secret, over, bad, fam := declare()
			m := w.open(cfg, r)
			set(t, secret, "s3cr3t-c4n4ry")
			set(t, over, 1)
			good := set(t, bad, 2).Stamp
			must(t, second(fam.Set(ctx, "x", 5)))
			fastopttest.Override(t, over, 99)
			w.sql("bad", `"no int"`) // the last good value stays, and stands in the file
			w.store.Flush()
			time.Sleep(15 * time.Second)
			must(t, m.Close())
			raw, err := os.ReadFile(cfg.Snapshot)
			must(t, err)
			if bytes.Contains(raw, []byte("c4n4ry")) || bytes.Contains(raw, []byte("f/x")) {
				t.Errorf("%s", raw)
			}
			values := map[string]string{}
			for _, e := range stored(t, cfg).Entries {
				values[e.Name] = string(e.Data)
				if e.Name == "bad" && e.Stamp != good {
					t.Errorf("%+v", e)
				}
			}
			if values["over"] != "1" || values["bad"] != "2" || (values["secret"] != "") != (key != nil) || len(values) > 3 {
				t.Errorf("%v", values)
			}
			r, secret, _, bad, _ = declare()
			w.store.Flush()
			w.open(cfg, r) // while the row is still invalid
			want(t, bad.Inspect(), 2, fastopt.Stale, fastopt.Snapshot)
			if bad.Inspect().Err == nil || secret.Get() != "s3cr3t-c4n4ry" {
				t.Errorf("%+v", bad.Inspect())
			}
		})
	}
}

// Changes in a row are one write, each is in the file a second later, and
// without changes ages are brought up to date at a quarter of the grace.
func TestSnapshotsAreWrittenSeldomAndSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		a := saving(w, cfg, fastopt.Spec[int]{})
		time.Sleep(2 * time.Second)
		before := a.Stats().SnapshotWrites
		for i := range 100 {
			set(t, a.foo, i)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(900 * time.Millisecond)
		if n := a.Stats().SnapshotWrites - before; n < 11 || n > 14 {
			t.Errorf("%d writes in 10 s of changes", n)
		}
		if s := stored(t, cfg); string(s.Entries[0].Data) != "99" {
			t.Errorf("%+v", s)
		}
		before = a.Stats().SnapshotWrites
		time.Sleep(150 * time.Second)
		if n := a.Stats().SnapshotWrites - before; n < 9 || n > 10 {
			t.Errorf("%d writes in ten quarters of the grace", n)
		}
		w.dark()
		time.Sleep(15 * time.Second)
		before = a.Stats().SnapshotWrites
		time.Sleep(time.Minute)
		must(t, a.Close())
		if n := a.Stats().SnapshotWrites - before; n != 0 {
			t.Errorf("%d writes while no tier answers", n)
		}
	})
}

// A disk that takes nothing is said once, tried again ever more slowly, and
// keeps nobody from anything.
func TestASnapshotThatCannotBeWrittenIsSaidOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cfg := w.snapshotConfig()
		a := saving(w, cfg, fastopt.Spec[int]{})
		set(t, a.foo, 1)
		time.Sleep(time.Second)
		inTheWay := cfg.Snapshot + ".tmp"
		must(t, os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700))
		for i := range 120 {
			set(t, a.foo, i)
			time.Sleep(time.Second)
		}
		s := a.Stats()
		if n := len(w.log.lines("could not be written")); n != 1 || s.SnapshotErrors < 5 || s.SnapshotErrors > 9 {
			t.Errorf("%d lines, %d errors", n, s.SnapshotErrors)
		}
		must(t, os.RemoveAll(inTheWay))
		time.Sleep(31 * time.Second)
		if got := stored(t, cfg); string(got.Entries[0].Data) != "119" || len(w.log.lines("written again")) != 1 {
			t.Errorf("%+v", got)
		}
	})
}
