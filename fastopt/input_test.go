package fastopt_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/fastopt/fastopttest"
	"github.com/fastopt/fastopt-go/internal/faults"
)

func TestNamesFollowTheGrammar(t *testing.T) {
	good := []string{"a", "0", "a.b-c_d:e", strings.Repeat("x", 128)}
	bad := []string{"", strings.Repeat("x", 129), "A", ".a", "-a", "a b", "a/b", "a{b}", "a*", "a\x00", "a\n", "é", "a\xff"}
	for _, name := range good {
		var r fastopt.Registry
		if _, err := fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: name}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range bad {
		var r fastopt.Registry
		_, err := fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: name})
		if !errors.Is(err, fastopt.ErrInvalidName) {
			t.Errorf("%q: %v", name, err)
		}
		if len(name) > 128 && !contains(err, "128") {
			t.Errorf("%v does not name the limit", err)
		}
		if p := panicOf(func() { fastopt.New(&r, name, 1) }); fmt.Sprint(p) != err.Error() {
			t.Errorf("New panics with %v, TryDeclare says %v", p, err)
		}
		if _, err := fastopt.TryDeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: name, MaxEntries: 1000}); !errors.Is(err, fastopt.ErrInvalidName) {
			t.Errorf("family %q: %v", name, err)
		}
	}
}

func TestWrongDeclarationsAreRefused(t *testing.T) {
	var r fastopt.Registry
	for what, err := range map[string]error{
		"negative TTL":     second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", TTL: -1})),
		"TTL > 1 year":     second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", TTL: 366 * 24 * time.Hour})),
		"TTL Forever":      second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", TTL: fastopt.Forever})),
		"TTL NoGrace":      second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", TTL: fastopt.NoGrace})),
		"negative grace":   second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", Grace: -1})),
		"overflowing":      second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", Grace: fastopt.Forever - 1})),
		"least duration":   second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", Grace: math.MinInt64})),
		"chan":             second(fastopt.TryDeclare(&r, fastopt.Spec[chan int]{Name: "x"})),
		"func":             second(fastopt.TryDeclare(&r, fastopt.Spec[func()]{Name: "x"})),
		"complex":          second(fastopt.TryDeclare(&r, fastopt.Spec[complex128]{Name: "x"})),
		"interface":        second(fastopt.TryDeclare(&r, fastopt.Spec[error]{Name: "x"})),
		"map with int key": second(fastopt.TryDeclare(&r, fastopt.Spec[map[int]int]{Name: "x"})),
		"lost field":       second(fastopt.TryDeclare(&r, fastopt.Spec[struct{ hidden int }]{Name: "x", Default: struct{ hidden int }{1}})),
		"no entries":       second(fastopt.TryDeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "x"})),
		"negative entries": second(fastopt.TryDeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "x", MaxEntries: -1})),
		"negative absent":  second(fastopt.TryDeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "x", MaxEntries: 1, MaxAbsent: -1})),
	} {
		if !errors.Is(err, fastopt.ErrDeclaration) || !contains(err, `"x"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"NaN":           second(fastopt.TryDeclare(&r, fastopt.Spec[float64]{Name: "x", Default: math.NaN()})),
		"infinity":      second(fastopt.TryDeclare(&r, fastopt.Spec[float32]{Name: "x", Default: float32(math.Inf(1))})),
		"invalid UTF-8": second(fastopt.TryDeclare(&r, fastopt.Spec[string]{Name: "x", Default: "\xff"})),
		"NUL":           second(fastopt.TryDeclare(&r, fastopt.Spec[[]string]{Name: "x", Default: []string{"\x00"}})),
		"Check panics":  second(fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", Check: func(int) error { panic("secret") }})),
	} {
		if !errors.Is(err, fastopt.ErrInvalidValue) || contains(err, "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := fastopt.TryDeclare(&r, fastopt.Spec[string]{Name: "x", Default: strings.Repeat("x", 64<<10)}); !errors.Is(err, fastopt.ErrTooLarge) || !contains(err, "65536") {
		t.Errorf("too large: %v", err)
	}
	if _, err := fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x"}); err != nil {
		t.Errorf("a failed declaration left something behind: %v", err)
	}
	if p := panicOf(func() { fastopt.Between(2, 1) }); p == nil {
		t.Error("Between(2, 1) did not panic")
	}
}

// limits is a struct option.
type limits struct {
	Rate  float64           `json:"rate"`
	Hosts []string          `json:"hosts"`
	Tags  map[string]string `json:"tags"`
}

func TestEveryTypeComesBackAsItWasSet(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		type level int8
		roundTrip(t, w, false, true)
		roundTrip(t, w, 0, math.MaxInt, math.MinInt)
		roundTrip[int8](t, w, 0, 127, -128)
		roundTrip[int16](t, w, 0, math.MaxInt16, math.MinInt16)
		roundTrip[int32](t, w, 0, math.MaxInt32, math.MinInt32)
		roundTrip[int64](t, w, 0, math.MaxInt64, math.MinInt64)
		roundTrip[uint](t, w, 0, math.MaxUint)
		roundTrip[uint8](t, w, 0, 255)
		roundTrip[uint16](t, w, 0, math.MaxUint16)
		roundTrip[uint32](t, w, 0, math.MaxUint32)
		roundTrip[uint64](t, w, 0, math.MaxUint64)
		roundTrip[float32](t, w, 0, math.MaxFloat32, 0.1)
		roundTrip(t, w, 0.0, math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1, math.Copysign(0, -1))
		roundTrip(t, w, "", "a", `"<&>'\ `+"\u2028\n\t😀")
		roundTrip[level](t, w, 0, 3)
		roundTrip(t, w, 0, time.Nanosecond, -time.Hour, 90*time.Second, math.MaxInt64, time.Duration(math.MinInt64))
		roundTrip(t, w, []string(nil), []string{}, []string{"a", ""})
		roundTrip(t, w, []int{}, []int{1, 2})
		roundTrip(t, w, [2]int{}, [2]int{1, 2})
		roundTrip(t, w, map[string]int(nil), map[string]int{}, map[string]int{"a": 1, "": 2})
		roundTrip(t, w, limits{}, limits{1.5, []string{"h"}, map[string]string{"k": "v"}})
		roundTrip(t, w, (*limits)(nil), &limits{Rate: 2})
		roundTrip(t, w, []byte(nil), []byte{0, 255})
	})
}

func roundTrip[T any](t *testing.T, w *world, fallback T, values ...T) {
	t.Helper()
	w.store.Flush()
	var r fastopt.Registry
	name := "o"
	o := fastopt.New(&r, name, fallback)
	m, err := fastopt.Open(ctx, w.config(), &r)
	must(t, err)
	defer m.Close()
	for _, v := range append(values, fallback) {
		set(t, o, v)
		if got := o.Get(); !reflect.DeepEqual(got, v) {
			t.Errorf("%T: Get = %#v, set %#v", v, got, v)
		}
		settle()
		fastopttest.Flush(t, m)
		w.store.Flush()
		if got := o.Load(ctx); !reflect.DeepEqual(got.Value, v) || got.State != fastopt.Fresh {
			t.Errorf("%T: from the source %+v, set %#v", v, got, v)
		}
	}
	_, err = o.Delete(ctx)
	must(t, err)
}

func TestBadValuesAreNotWritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		f := fastopt.New(&r, "f", 0.0)
		s := fastopt.New(&r, "s", "")
		l := fastopt.New(&r, "l", limits{})
		n := fastopt.Declare(&r, fastopt.Spec[int]{Name: "n", Default: 5, Check: fastopt.Between(1, 9)})
		deep := fastopt.New(&r, "deep", map[string]any(nil))
		m := w.open(w.config(), &r)
		nest := map[string]any{}
		for range 65 {
			nest = map[string]any{"x": nest}
		}
		for what, err := range map[string]error{
			"NaN":              second(f.Set(ctx, math.NaN())),
			"+Inf":             second(f.Set(ctx, math.Inf(1))),
			"invalid UTF-8":    second(s.Set(ctx, "a\xff")),
			"NUL":              second(s.Set(ctx, "a\x00")),
			"NUL in a map key": second(l.Set(ctx, limits{Tags: map[string]string{"\x00": ""}})),
			"NaN in a field":   second(l.Set(ctx, limits{Rate: math.NaN()})),
			"out of range":     second(n.Set(ctx, 10)),
			"too deep":         second(deep.Set(ctx, nest)),
			"another type":     second(m.Set(ctx, "n", "five")),
			"int64 for int":    second(m.Set(ctx, "n", int64(5))),
			"nil":              second(m.Set(ctx, "n", nil)),
		} {
			if !errors.Is(err, fastopt.ErrInvalidValue) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := n.Set(ctx, 10); !contains(err, "between 1 and 9") || !contains(err, `"n"`) || contains(err, "10") {
			t.Errorf("%v", err)
		}
		if _, err := s.Set(ctx, strings.Repeat("x", 65535)); !errors.Is(err, fastopt.ErrTooLarge) || !contains(err, "65536") {
			t.Errorf("too large: %v", err)
		}
		for _, by := range []fastopt.WriteOption{fastopt.By("\xff", ""), fastopt.By("", "a\x00"), fastopt.By(strings.Repeat("x", 1001), "")} {
			if _, err := n.Set(ctx, 5, by); !errors.Is(err, fastopt.ErrInvalidValue) {
				t.Errorf("signed badly: %v", err)
			}
		}
		if n := w.source.Calls(faults.Write) + w.cache.Calls(faults.Fill); n != 1 { // the fill of Open
			t.Errorf("%d writes and fills", n)
		}
		set(t, s, strings.Repeat("x", 65534)) // exactly the limit
	})
}

// What encoding/json would take silently is an error at any depth.
func TestDecodingIsStrictAtAnyDepth(t *testing.T) {
	type inner struct {
		Rate  int `json:"rate"`
		Other *int
	}
	inWorld(t, func(t *testing.T, w *world) {
		var r fastopt.Registry
		fastopt.New(&r, "ints", []int(nil))
		fastopt.New(&r, "map", map[string]float64(nil))
		fastopt.New(&r, "inner", []inner(nil))
		fastopt.New(&r, "pointer", (*inner)(nil))
		m := w.open(w.config(), &r)
		for _, c := range []struct {
			name, data string
			ok         bool
		}{
			{"ints", `[1,null]`, false}, {"ints", `[-0]`, false}, {"ints", `[1.0]`, false}, {"ints", `null`, true}, {"ints", `[1,2] `, true},
			{"map", `{"x":null}`, false}, {"map", `{"x":1e400}`, false}, {"map", `{"x":-0}`, true}, {"map", `{"x":1,"x":2}`, false},
			{"inner", `[{"rate":1,"Rate":2}]`, false}, {"inner", `[{"rate":null}]`, false}, {"inner", `[{"rate":-0}]`, false},
			{"inner", `[null]`, false}, {"inner", `[{"rate":1,"Other":null,"newer":null}]`, true}, {"inner", `[{"Other":-0}]`, false},
			{"pointer", `null`, true}, {"pointer", `{"rate":null}`, false}, {"pointer", `{"RATE":3}`, true},
			{"ints", strings.Repeat("[", 65) + strings.Repeat("]", 65), false},
		} {
			settle() // the fills of the round before must not come after the flush
			w.sql(c.name, c.data)
			w.store.Flush()
			settle()
			must(t, m.Refresh(ctx))
			for name, r := range m.All() {
				if name == c.name && (r.Err == nil) != c.ok {
					t.Errorf("%s %s: %+v", c.name, c.data, r.Err)
				}
			}
		}
	})
}

func TestAMutableValueIsNotTheCallers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mine := []string{"a", "b"}
		o, _ := process(w, "o", mine)
		mine[0] = "changed"
		if o.Get()[0] != "a" || o.Default()[0] != "a" {
			t.Error("the default is the caller's slice")
		}
		value := []string{"c", "d", "e", "f", "g"}
		set(t, o, value)
		value[0] = "changed"
		got := o.Get()
		if got[0] != "c" {
			t.Error("the value is the caller's slice")
		}
		if cap(got) != len(got) {
			t.Error("an append by a reader would write into shared memory")
		}
		deep, _ := process(w, "deep", map[string]limits{})
		set(t, deep, map[string]limits{"x": {Hosts: value}})
		if hosts := deep.Get()["x"].Hosts; len(hosts) != 5 || cap(hosts) != 5 {
			t.Errorf("within a struct in a map: %d of %d", len(hosts), cap(hosts))
		}
	})
}
