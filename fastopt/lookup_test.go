package fastopt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Lookup gives a value of the declared type or says what is wrong.

type lookupLimits struct {
	Rate  float64
	Burst int
}

func lookupGives[T any](t *testing.T, m *Manager, name string, want T) {
	t.Helper()
	v, err := Lookup[T](m, name)
	if err != nil || fmt.Sprint(v) != fmt.Sprint(want) {
		t.Errorf("%s: %v, %v; want %v", name, v, err, want)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = Lookup[T](m, name) }); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
}

func lookupFails[T any](t *testing.T, m *Manager, name string, want error, says ...string) {
	t.Helper()
	v, err := Lookup[T](m, name)
	var zero T
	if !errors.Is(err, want) || fmt.Sprint(v) != fmt.Sprint(zero) {
		t.Errorf("%s: %v, %v; want %v", name, v, err, want)
		return
	}
	for _, s := range append(says, fmt.Sprintf("%q", name)) {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %v does not say %s", name, err, s)
		}
	}
}

func TestLookup(t *testing.T) {
	var r Registry
	New(&r, "on", true)
	New(&r, "count", 1_000_000)
	New(&r, "rate", 0.5)
	New(&r, "text", "some text")
	New(&r, "wait", time.Minute)
	New(&r, "list", []string{"a", "b"})
	New(&r, "table", map[string]int{"a": 1})
	New(&r, "limits", lookupLimits{Rate: 1.5, Burst: 7})
	New(&r, "none", (*lookupLimits)(nil))
	DeclareFamily(&r, FamilySpec[int]{Prefix: "limit", Default: 12, MaxEntries: 10})
	m := openNamed(t, &r)

	lookupGives(t, m, "on", true)
	lookupGives(t, m, "count", 1_000_000)
	lookupGives(t, m, "rate", 0.5)
	lookupGives(t, m, "text", "some text")
	lookupGives(t, m, "wait", time.Minute)
	lookupGives(t, m, "list", []string{"a", "b"})
	lookupGives(t, m, "table", map[string]int{"a": 1})
	lookupGives(t, m, "limits", lookupLimits{Rate: 1.5, Burst: 7})
	lookupGives(t, m, "none", (*lookupLimits)(nil))
	if v, err := Lookup[int](m, "limit/tenant-42"); v != 12 || err != nil {
		t.Errorf("a member reads %v, %v", v, err)
	}

	lookupFails[int64](t, m, "count", ErrInvalidValue, "type int,", "as int64")
	lookupFails[float64](t, m, "count", ErrInvalidValue, "type int,", "as float64")
	lookupFails[int64](t, m, "wait", ErrInvalidValue, "time.Duration", "int64")
	lookupFails[lookupLimits](t, m, "none", ErrInvalidValue, "*fastopt.lookupLimits,", "as fastopt.lookupLimits")
	lookupFails[any](t, m, "count", ErrInvalidValue, "type int,", "as interface {}")
	lookupFails[fmt.Stringer](t, m, "wait", ErrInvalidValue, "time.Duration", "fmt.Stringer")
	lookupFails[string](t, m, "limit/tenant-42", ErrInvalidValue, "type int,", "as string")
	lookupFails[int](t, m, "cuont", ErrUnknownOption, `"count"`)
	lookupFails[int](t, m, "limit", ErrUnknownOption, "limit/key")
	lookupFails[any](t, m, "nothing.like.it", ErrUnknownOption)
	lookupFails[int](t, m, "No", ErrInvalidName)
	lookupFails[int](t, m, "", ErrInvalidName)
	lookupFails[int](t, m, "limit/", ErrInvalidName)
}
