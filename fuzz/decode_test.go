package fuzz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// Values: whatever bytes stand in a store, an option reads a value that can be
// written and read again, or keeps what it had and says why. No reason given
// repeats the bytes.

// secret stands in some seeds; no error may repeat it.
const secret = "s3cr3t-c4n4ry"

func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`true`, `false`, `0`, `-0`, `-1`, `127`, `128`, `255`, `256`, `1.0`, `1e2`, `1e400`, `-1e400`, `0.1`, `9223372036854775807`, `9223372036854775808`,
		`18446744073709551615`, `1e-400`, `3.5e38`, `16777217`, `"1m30s"`, `"-2562047h47m16.854775808s"`, `"1"`, `1000000000`, `""`, `"\u0000"`, `"\ud800"`, `"é"`,
		"\"\xff\"", `null`, ` null `, `[]`, `[null]`, `["a","b"]`, `[1,2]`, `[1,2,3]`, `{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"rate":0.5,"Rate":1}`,
		`{"Rate":0.5,"Tags":["x"],"Wait":"1s"}`, `{"Rate":0.5,"Tags":null,"Wait":5}`, `{"unknown":1}`, ``, ` `, `{`, `[1`, `"`, `tru`, `1 2`, `{} {}`, `[1,]`, `{"a"}`, `01`, `+1`, `.5`, `1.`,
		"\xef\xbb\xbf1", "1\n", "\t1 ", `"\/"`, `"<&>"`, "\"\u2028\"", strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65),
		`{"unknown":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{"unknown":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
		strings.Repeat(`{"Next":`, 40) + `null` + strings.Repeat("}", 40), strings.Repeat(`{"a":`, 100_000),
		`"` + secret + `"`, secret, `{"` + secret + `":"` + secret + `"}`, `{"Rate":"` + secret + `"}`, `["` + secret, `{"` + secret + `":1,"` + secret + `":2}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return // a store does not hand that over
		}
		var r fastopt.Registry
		checks := []func(*testing.T, *held){
			kept[bool](&r, "bool"), kept[int](&r, "int"), kept[int8](&r, "int8"), kept[uint8](&r, "uint8"), kept[int64](&r, "int64"), kept[uint64](&r, "uint64"),
			kept[float32](&r, "float32"), kept[float64](&r, "float64"), kept[string](&r, "string"), kept[time.Duration](&r, "duration"),
			kept[[]string](&r, "strings"), kept[[2]int](&r, "array"), kept[map[string]int](&r, "map"), kept[*limits](&r, "pointer"), kept[limits](&r, "struct"),
			kept[[]byte](&r, "bytes"), kept[any](&r, "any"), kept[map[string]any](&r, "anything"),
		}
		s := &held{data: data}
		m, err := fastopt.Open(t.Context(), fastopt.Config{Source: s}, &r)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for _, check := range checks {
			if check != nil {
				check(t, s)
			}
		}
	})
}

// limits is a struct with a member of each kind that nests.
type limits struct {
	Rate float64
	Tags []string
	Wait time.Duration
	By   map[string]int `json:",omitempty"`
	Next *limits        `json:",omitempty"`
}

// kept declares an option of a type and returns what checks how it reads the
// store's bytes; nil if the type cannot be declared.
func kept[T any](r *fastopt.Registry, name string) func(*testing.T, *held) {
	o, err := fastopt.TryDeclare(r, fastopt.Spec[T]{Name: name})
	if err != nil {
		if !errors.Is(err, fastopt.ErrDeclaration) {
			panic(err)
		}
		return nil
	}
	return func(t *testing.T, s *held) {
		t.Helper()
		got := o.Inspect()
		if got.Err != nil {
			mustRefuse(t, name, s.data, got.Err)
			if !reflect.DeepEqual(got.Value, o.Default()) || got.State != fastopt.Stale {
				t.Fatalf("%s: %q is refused, but read as %#v, %v", name, s.data, got.Value, got.State)
			}
			return
		}
		if got.State != fastopt.Fresh || got.Origin != fastopt.Source {
			t.Fatalf("%s: %q: %v from %v", name, s.data, got.State, got.Origin)
		}
		mustBeStrict(t, name, s.data, reflect.ValueOf(&got.Value).Elem())
		readsAsEncodingJSON(t, name, s.data, got.Value)
		if _, err := o.Set(t.Context(), got.Value); err != nil {
			t.Fatalf("%s: %q is read as %#v, which cannot be written: %v", name, s.data, got.Value, err)
		}
		// Set publishes what it decodes of what it encodes.
		if again := o.Get(); !reflect.DeepEqual(again, got.Value) {
			t.Fatalf("%s: %q is read as %#v, written as %q, read as %#v", name, s.data, got.Value, s.written, again)
		}
		if !json.Valid(s.written) {
			t.Fatalf("%s: %q was written, which is no JSON", name, s.written)
		}
	}
}

func mustRefuse(t *testing.T, name string, data []byte, err error) {
	t.Helper()
	if !errors.Is(err, fastopt.ErrInvalidValue) && !errors.Is(err, fastopt.ErrTooLarge) {
		t.Fatalf("%s: %q: %v", name, data, err)
	}
	if bytes.Contains(data, []byte(secret)) && strings.Contains(err.Error(), secret) {
		t.Fatalf("%s: the error repeats the value: %v", name, err)
	}
}

// mustBeStrict checks that what two readers could understand differently was
// not accepted as v, and that v shares no room that an append would write to.
func mustBeStrict(t *testing.T, name string, data []byte, v reflect.Value) {
	t.Helper()
	text := strings.TrimSpace(string(data))
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() != v.Cap() {
			t.Fatalf("%s: %q is read with room for %d more", name, data, v.Cap()-v.Len())
		}
	case reflect.Map, reflect.Pointer:
	case reflect.String:
		if strings.Contains(v.String(), "\x00") {
			t.Fatalf("%s: %q is accepted, which holds a NUL", name, data)
		}
		fallthrough
	default:
		if text == "null" || text == "-0" && v.CanInt() || text == "-0" && v.CanUint() {
			t.Fatalf("%s: %q is accepted", name, data)
		}
	}
	if !utf8.Valid(data) {
		t.Fatalf("%s: %q is accepted, which is no UTF-8", name, data)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if why := flaw(dec, 0); why != "" {
		t.Fatalf("%s: %q is accepted: %s", name, data, why)
	}
}

// flaw reads one value of valid JSON and says what is wrong with it.
func flaw(dec *json.Decoder, depth int) (why string) {
	tok, _ := dec.Token()
	delim, nests := tok.(json.Delim)
	if !nests {
		return ""
	}
	if depth == 64 {
		return "it nests too deep"
	}
	keys := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			tok, _ := dec.Token()
			key := tok.(string)
			if keys[key] {
				return "a key stands twice"
			}
			keys[key] = true
		}
		if why := flaw(dec, depth+1); why != "" {
			return why
		}
	}
	dec.Token()
	return ""
}

// readsAsEncodingJSON checks that the library is stricter than encoding/json,
// never otherwise.
func readsAsEncodingJSON[T any](t *testing.T, name string, data []byte, got T) {
	t.Helper()
	if _, ok := any(got).(time.Duration); ok {
		return // a duration has a form of its own
	}
	var want T
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatalf("%s: %q is accepted, encoding/json says %v", name, data, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: %q is read as %#v, encoding/json says %#v", name, data, got, want)
	}
}

// A held is a source that gives the same bytes for every name, and keeps what
// was written last.
type held struct {
	data    []byte // immutable
	written []byte // by the one goroutine that writes
}

func (s *held) Identity(context.Context) (tiers.Identity, error) {
	return tiers.Identity{Lineage: "l", System: "s", Timeline: 1, Database: "d", Epoch: 1}, nil
}

func (s *held) Load(_ context.Context, _ string, names []string) []tiers.Result {
	rs := make([]tiers.Result, len(names))
	for i, name := range names {
		rs[i].Record = tiers.Record{Name: name, Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}, Data: s.data, AsOf: time.Now()}
	}
	return rs
}

func (s *held) Write(_ context.Context, _ string, writes []tiers.Write) (tiers.Stamp, error) {
	s.written = writes[0].Data
	return tiers.Stamp{Epoch: 1, Revision: 2}, nil
}

func (s *held) Scan(context.Context, string) iter.Seq2[tiers.Record, error] {
	return func(func(tiers.Record, error) bool) {}
}

func (s *held) Changes(context.Context, string, tiers.Stamp) (tiers.Changes, error) {
	return tiers.Changes{}, nil
}

func (s *held) Watch(ctx context.Context, _ string, sink func(tiers.Event)) error {
	sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
	<-ctx.Done()
	return ctx.Err()
}
