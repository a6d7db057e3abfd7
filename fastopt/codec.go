package fastopt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// A codec turns values of one Go type into the JSON text that tiers hold, and
// back. Decoding is total, and stricter than encoding/json: what two readers
// could understand differently is an error. It runs once per change of a value,
// never per read, and writers decode what they encoded, so that nothing is
// written that readers would refuse.
type codec struct {
	typ    reflect.Type
	decode func(data []byte) (any, error)
}

// maxDepth is the deepest nesting of a value.
const maxDepth = 64

var durationType = reflect.TypeFor[time.Duration]()

func codecFor[T any]() (codec, error) {
	c := codec{typ: reflect.TypeFor[T](), decode: decodeJSON[T]}
	switch c.typ.Kind() {
	case reflect.Bool, reflect.String, reflect.Struct, reflect.Array,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Slice, reflect.Pointer:
	case reflect.Map:
		if c.typ.Key().Kind() != reflect.String {
			return codec{}, because(ErrDeclaration, "type %v: keys of a map must be strings", c.typ)
		}
	default:
		return codec{}, because(ErrDeclaration, "type %v is not supported", c.typ)
	}
	if c.typ == durationType {
		c.decode = func(data []byte) (any, error) { return decodeDuration(data) }
	}
	return c, nil
}

// encode returns v as JSON. v must be of the codec's type.
func (c codec) encode(v any) ([]byte, error) {
	if reflect.TypeOf(v) != c.typ {
		return nil, because(ErrInvalidValue, "it is of type %T, the option of type %v", v, c.typ)
	}
	if c.typ == durationType {
		v = v.(time.Duration).String()
	}
	if err := checkStrings(reflect.ValueOf(v), 0); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		if _, ok := errors.AsType[*json.UnsupportedValueError](err); ok {
			return nil, because(ErrInvalidValue, "JSON cannot hold it (NaN, infinity or a cycle)")
		}
		return nil, because(ErrInvalidValue, "%v cannot be encoded as JSON", c.typ)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeValue returns the value that data holds.
func (c codec) decodeValue(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, because(ErrInvalidValue, "it is not valid UTF-8")
	}
	if err := checkTokens(data); err != nil {
		return nil, err
	}
	if err := checkShape(data, c.typ); err != nil {
		return nil, err
	}
	v, err := c.decode(data)
	if err != nil {
		return nil, err
	}
	if err := checkStrings(reflect.ValueOf(v), 0); err != nil {
		return nil, err
	}
	return v, nil
}

func isInteger(k reflect.Kind) bool { return reflect.Int <= k && k <= reflect.Uint64 }

// checkTokens bounds the nesting and refuses a key given twice.
func checkTokens(data []byte) error {
	// In a number or a string nothing nests; if it is malformed the decoder proper
	// says so. Reading it by tokens takes 4 KiB.
	if !bytes.ContainsAny(data, "{[") {
		return nil
	}
	type object struct {
		keys  map[string]bool // nil for an array
		isKey bool            // the next string is a key
	}
	var open []object
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil // an incomplete text is refused by the decoder proper
		}
		if err != nil {
			return because(ErrInvalidValue, "malformed JSON near byte %d", dec.InputOffset())
		}
		var in *object
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if len(open) == maxDepth {
				return because(ErrInvalidValue, "it nests deeper than %d", maxDepth)
			}
			if in != nil {
				in.isKey = true
			}
			o := object{}
			if tok == json.Delim('{') {
				o = object{keys: map[string]bool{}, isKey: true}
			}
			open = append(open, o)
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			continue
		}
		if in == nil || in.keys == nil {
			continue
		}
		if in.isKey {
			k := tok.(string)
			if in.keys[k] {
				return because(ErrInvalidValue, "an object has a key twice, near byte %d", dec.InputOffset())
			}
			in.keys[k] = true
		}
		in.isKey = !in.isKey
	}
}

func decodeJSON[T any](data []byte) (any, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, describe(err, reflect.TypeFor[T]())
	}
	clip(reflect.ValueOf(&v).Elem())
	return v, nil
}

func decodeDuration(data []byte) (time.Duration, error) {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return 0, because(ErrInvalidValue, `a duration is a string such as "1m30s"`)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, because(ErrInvalidValue, `a duration is a string such as "1m30s"`)
	}
	return d, nil
}

// describe says what is wrong without repeating the value, which the errors of
// encoding/json do.
func describe(err error, typ reflect.Type) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		what, _, _ := strings.Cut(e.Value, " ")
		if e.Field != "" {
			return because(ErrInvalidValue, "field %s: this JSON %s is no %v", e.Field, what, e.Type)
		}
		return because(ErrInvalidValue, "this JSON %s is no %v", what, e.Type)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return because(ErrInvalidValue, "malformed JSON near byte %d", e.Offset)
	}
	return because(ErrInvalidValue, "it does not decode as %v", typ)
}

// kindOf names the kind of a JSON text by how it begins.
func kindOf(data []byte) string {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 {
		return "value"
	}
	switch data[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// checkStrings refuses text that Postgres cannot hold.
func checkStrings(v reflect.Value, depth int) error {
	if depth > 2*maxDepth {
		return because(ErrInvalidValue, "it nests deeper than %d", maxDepth)
	}
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) {
			return because(ErrInvalidValue, "a string is not valid UTF-8")
		} else if strings.IndexByte(s, 0) >= 0 {
			return because(ErrInvalidValue, "a string holds a NUL byte")
		}
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return because(ErrInvalidValue, "JSON cannot hold NaN or infinity")
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return checkStrings(v.Elem(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k == reflect.Bool || isInteger(k) {
			return nil
		}
		for i := range v.Len() {
			if err := checkStrings(v.Index(i), depth+1); err != nil {
				return err
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := errors.Join(checkStrings(it.Key(), depth+1), checkStrings(it.Value(), depth+1)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if err := checkStrings(v.Field(i), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// guard runs user code (a decoder, a Check) and turns a panic into an error.
// A Goexit is the caller's to survive.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = because(ErrInvalidValue, "decoder or Check panicked (%s)", fmt.Sprintf("%T", r))
		}
	}()
	return f()
}
