package fuzz

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Names: what may be declared is what the grammar says, every store takes it,
// and what is refused leaves nothing behind.

var grammar = regexp.MustCompile(`\A[a-z0-9][a-z0-9._:-]{0,127}\z`)

func FuzzName(f *testing.F) {
	for _, name := range []string{
		"http.max-body", "a", "0", "z9._:-", "", ".a", "-a", ":a", "_a", "A", "a/b", "/", "tenant.limit/42", "a b", "a\n", "a\x00", "\xff", "é",
		"{slot}", "a*", "a?", `a"b`, "a'b", "a%b", "a$1", "select", "kept", "limit", "..", "a..", strings.Repeat("n", 128), strings.Repeat("n", 129),
		strings.Repeat("n", 400), strings.Repeat("n", 401), strings.Repeat("é", 200),
		strings.Repeat("k", 255), strings.Repeat("k", 256), "a\u0085b", "a\x7fb", "\u2028", "日本",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var r fastopt.Registry
		fastopt.New(&r, "kept", 1)
		limit := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "limit", Default: 1, MaxEntries: 1000})
		_, err := fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: name, Default: 2})
		taken := name == "kept" || name == "limit"
		valid := grammar.MatchString(name)
		switch {
		case taken && !errors.Is(err, fastopt.ErrDeclaration),
			!taken && valid && err != nil,
			!valid && !errors.Is(err, fastopt.ErrInvalidName):
			t.Fatalf("declare %q: %v; the grammar says %v", name, err, valid)
		case err != nil && !strings.Contains(err.Error(), "option "):
			t.Fatalf("declare %q: the error does not name it: %v", name, err)
		}
		if valid {
			everyStoreTakes(t, name)
		}
		source := memory.NewSource()
		m, err := fastopt.Open(t.Context(), fastopt.Config{Namespace: "fuzz", Source: source}, &r)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		registryHolds(t, m, name, valid && !taken)
		familyTakes(t, m, limit, name)
	})
}

func everyStoreTakes(t *testing.T, name string) {
	t.Helper()
	if err := tiers.CheckName(name); err != nil {
		t.Fatalf("%q can be declared, but: %v", name, err)
	}
	ctx := context.Background()
	stamp, err := memory.NewSource().Write(ctx, "fuzz", []tiers.Write{{Name: name, Data: []byte("1")}})
	if err != nil {
		t.Fatalf("the source refuses %q: %v", name, err)
	}
	rec := tiers.Record{Name: name, Kind: tiers.Value, Stamp: stamp, Data: []byte("1")}
	if got := memory.NewCache().Fill(ctx, "fuzz", []tiers.Fill{{Record: rec}})[0]; got.Err != nil || !got.Stored {
		t.Fatalf("the cache refuses %q: %+v", name, got)
	}
	raw, err := envelope.Encode(nil, "fuzz", rec)
	if err != nil {
		t.Fatalf("no envelope for %q: %v", name, err)
	}
	if got, err := envelope.Decode("fuzz", name, raw); err != nil || got.Name != name || got.Stamp != stamp || string(got.Data) != "1" {
		t.Fatalf("the envelope of %q gives back %+v, %v", name, got, err)
	}
}

// registryHolds checks what is declared, and what is read by name.
func registryHolds(t *testing.T, m *fastopt.Manager, name string, declared bool) {
	t.Helper()
	want := []string{"kept"}
	if declared {
		want = append(want, name)
	}
	if got := slices.Collect(maps.Keys(maps.Collect(m.All()))); len(got) != len(want) || !slices.Contains(got, want[len(want)-1]) || !slices.Contains(got, "kept") {
		t.Fatalf("after declaring %q the registry holds %q", name, got)
	}
	v, err := m.Get(name)
	switch prefix, key, isMember := strings.Cut(name, "/"); {
	case declared && (err != nil || v != 2), name == "kept" && (err != nil || v != 1):
		t.Fatalf("get %q: %v, %v", name, v, err)
	case declared, name == "kept":
	case isMember && prefix == "limit" && validKey(key):
		if err != nil || v != 1 {
			t.Fatalf("get %q: %v, %v", name, v, err)
		}
	case !errors.Is(err, fastopt.ErrInvalidName) && !errors.Is(err, fastopt.ErrUnknownOption):
		t.Fatalf("get %q: %v, %v", name, v, err)
	}
}

// validKey is the grammar of a family's keys.
func validKey(key string) bool {
	return key != "" && len(key) <= 255 && utf8.ValidString(key) && !strings.ContainsFunc(key, unicode.IsControl)
}

// familyTakes checks that a key is taken if and only if the grammar allows it,
// and that it is kept under the name it makes, which the stores take.
func familyTakes(t *testing.T, m *fastopt.Manager, limit *fastopt.Family[int], key string) {
	t.Helper()
	full := "limit/" + key
	valid := validKey(key)
	_, err := limit.Set(t.Context(), key, 7)
	if valid != (err == nil) || err != nil && !errors.Is(err, fastopt.ErrInvalidName) {
		t.Fatalf("set member %q: %v", key, err)
	}
	want := 1
	if valid {
		want = 7
	}
	if got := limit.Get(key); got != want {
		t.Fatalf("member %q reads %d, want %d", key, got, want)
	}
	if set, err := m.IsSet(t.Context(), full); valid && (err != nil || !set) {
		t.Fatalf("%q is set: %v, %v", full, set, err)
	}
}
