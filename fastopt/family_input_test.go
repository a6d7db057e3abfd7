package fastopt_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// Bad input of families: what is declared wrongly, and keys of every kind.

// What is wrong is told by name and number, and leaves nothing behind.
func TestWrongFamiliesAreRefused(t *testing.T) {
	for _, c := range []struct {
		entries, absent int
		says            string
	}{
		{0, 0, "MaxEntries 0"}, {-1, 0, "MaxEntries -1"}, {math.MinInt, 0, fmt.Sprint("MaxEntries ", math.MinInt)},
		{0, -1, "MaxEntries 0"}, {1, -1, "MaxAbsent -1"}, {math.MaxInt, math.MinInt, fmt.Sprint("MaxAbsent ", math.MinInt)},
	} {
		var r fastopt.Registry
		spec := fastopt.FamilySpec[int]{Prefix: "tenant.limit", MaxEntries: c.entries, MaxAbsent: c.absent}
		_, err := fastopt.TryDeclareFamily(&r, spec)
		if !errors.Is(err, fastopt.ErrDeclaration) || !contains(err, `"tenant.limit"`) || !contains(err, c.says) {
			t.Errorf("%d and %d: %v", c.entries, c.absent, err)
		}
		if p := panicOf(func() { fastopt.DeclareFamily(&r, spec) }); fmt.Sprint(p) != err.Error() {
			t.Errorf("DeclareFamily panics with %v, TryDeclareFamily says %v", p, err)
		}
		spec.MaxEntries, spec.MaxAbsent = 1, 0
		if _, err := fastopt.TryDeclareFamily(&r, spec); err != nil {
			t.Errorf("a failed declaration left something behind: %v", err)
		}
	}
}

func TestPrefixesDoNotOverlap(t *testing.T) {
	var r fastopt.Registry
	fastopt.New(&r, "option", 1)
	fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "family", MaxEntries: 1})
	for _, prefix := range []string{"option", "family"} {
		spec := fastopt.FamilySpec[int]{Prefix: prefix, MaxEntries: 1}
		_, err := fastopt.TryDeclareFamily(&r, spec)
		if !errors.Is(err, fastopt.ErrDeclaration) || !contains(err, prefix) {
			t.Errorf("family %s: %v", prefix, err)
		}
		if p := panicOf(func() { fastopt.DeclareFamily(&r, spec) }); fmt.Sprint(p) != err.Error() {
			t.Errorf("DeclareFamily panics with %v, TryDeclareFamily says %v", p, err)
		}
	}
	if _, err := fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "family"}); !errors.Is(err, fastopt.ErrDeclaration) {
		t.Errorf("an option called as a family: %v", err)
	}
	// A prefix holds no '/', so that what another begins with it does not share.
	for _, prefix := range []string{"famil", "family.", "family.x", "family-a"} {
		if _, err := fastopt.TryDeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: prefix, MaxEntries: 1}); err != nil {
			t.Errorf("family %s: %v", prefix, err)
		}
	}
	if _, err := fastopt.TryDeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "family/x", MaxEntries: 1}); !errors.Is(err, fastopt.ErrInvalidName) {
		t.Errorf("a prefix with a '/': %v", err)
	}
	for what, other := range map[string]func(r *fastopt.Registry){
		"family": func(r *fastopt.Registry) {
			fastopt.DeclareFamily(r, fastopt.FamilySpec[int]{Prefix: "family", MaxEntries: 1})
		},
		"option": func(r *fastopt.Registry) { fastopt.New(r, "family", 1) },
	} {
		var second fastopt.Registry
		other(&second)
		if m, err := fastopt.Open(ctx, fastopt.Config{}, &r, &second); !errors.Is(err, fastopt.ErrConfig) || !contains(err, `"family"`) {
			t.Errorf("a %s in another registry: %v", what, err)
			if err == nil {
				m.Close()
			}
		}
	}
}

// goodKeys and badKeys stand at the edges of the grammar.
var (
	goodKeys = []string{
		"a", "42", " ", "a b", "/", "a/b", "//", ".", "..", "*", "{slot}", `"`, `\`, "'", "%", "$1", "A", "é", "日本", "😀",
		"\u00a0", "\u2028", "\ufeff", "\ufffd", "\u0301", "\u202e", "\U0010ffff", // odd, yet no control characters
		strings.Repeat("k", 255), strings.Repeat("é", 127), strings.Repeat("😀", 63) + "abc",
	}
	badKeys = []string{
		"", "\x00", "a\x00", "\x01", "a\tb", "a\n", "\r", "\x1b[31m", "\x1f", "\x7f", "\u0080", "a\u0085", "\u009f",
		"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80",
		strings.Repeat("k", 256), strings.Repeat("é", 128), strings.Repeat("k", 1<<20),
	}
)

func TestKeysOfFamilies(t *testing.T) {
	longest := strings.Repeat("p", 128)
	for _, prefix := range []string{"f", longest} {
		inWorld(t, func(t *testing.T, w *world) {
			var r fastopt.Registry
			f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: prefix, Default: 1, MaxEntries: 1000})
			m := w.open(w.config(), &r)
			for i, key := range goodKeys {
				_, err := f.Set(ctx, key, i)
				must(t, err)
				if v, err := m.Get(prefix + "/" + key); v != i || err != nil || f.Get(key) != i {
					t.Errorf("%q reads %v and %v (%v), want %v", key, v, f.Get(key), err, i)
				}
				want(t, f.Load(ctx, key), i, fastopt.Fresh, fastopt.Write)
			}
			settle()
			calls := w.cache.Calls(faults.Load) + w.source.Calls(faults.Load) + w.source.Calls(faults.Write)
			for _, key := range badKeys {
				keyRefused(t, m, f, prefix, key)
			}
			settle()
			if n := w.cache.Calls(faults.Load) + w.source.Calls(faults.Load) + w.source.Calls(faults.Write) - calls; n != 0 {
				t.Errorf("%d requests for invalid keys", n)
			}
			if s := m.Stats().Families[0]; s.Entries != len(goodKeys) || s.Absent != 0 || s.Working != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// keyRefused checks that no call takes a key.
func keyRefused(t *testing.T, m *fastopt.Manager, f *fastopt.Family[int], prefix, key string) {
	t.Helper()
	name := prefix + "/" + key
	if f.Get(key) != 1 {
		t.Errorf("%.20q: Get reads %d", key, f.Get(key))
	}
	watched := fastopt.Reading[int]{}
	brief, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for r := range f.Watch(brief, key) {
		watched = r
	}
	if brief.Err() != nil {
		t.Errorf("%.20q: Watch did not end by itself", key)
	}
	many, errMany := f.LoadMany(ctx, "good", key)
	if many != nil {
		t.Errorf("%.20q: LoadMany loaded %v", key, many)
	}
	for what, r := range map[string]fastopt.Reading[int]{"Inspect": f.Inspect(key), "Load": f.Load(ctx, key), "Watch": watched} {
		if !errors.Is(r.Err, fastopt.ErrInvalidName) || r.Value != 1 || r.State != fastopt.Unloaded {
			t.Errorf("%.20q: %s: %v %v %v", key, what, r.Value, r.State, r.Err)
		}
	}
	for what, err := range map[string]error{
		"LoadMany":       errMany,
		"Set":            second(f.Set(ctx, key, 1)),
		"SetIf":          second(f.SetIf(ctx, key, fastopt.Stamp{}, 1)),
		"Delete":         second(f.Delete(ctx, key)),
		"Manager.Get":    second(m.Get(name)),
		"Manager.Load":   second(m.Load(ctx, name)),
		"Manager.Set":    second(m.Set(ctx, name, 1)),
		"Manager.IsSet":  second(m.IsSet(ctx, name)),
		"Manager.Delete": second(m.Delete(ctx, name)),
	} {
		if !errors.Is(err, fastopt.ErrInvalidName) || !contains(err, prefix) || len(err.Error()) > 1000 {
			t.Errorf("%.20q: %s: %.300v", key, what, err)
		}
		if len(key) == 256 && !contains(err, "the limit is 255") {
			t.Errorf("%v does not name the limit", err)
		}
	}
}
