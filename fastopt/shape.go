package fastopt

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Shapes: what encoding/json takes silently, though two readers could
// understand it differently, is refused: null where the Go type has none (it
// would leave a zero), -0 for an integer, and two keys that mean one field.

// checkShape checks data, which is valid JSON, against the type it is decoded
// into. Types with a decoder of their own decide for themselves.
func checkShape(data []byte, t reflect.Type) error {
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return describe(err, t)
	}
	return shape(v, t)
}

var (
	ownJSON = reflect.TypeFor[json.Unmarshaler]()
	ownText = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func shape(v any, t reflect.Type) error {
	if p := reflect.PointerTo(t); p.Implements(ownJSON) || p.Implements(ownText) {
		return nil
	}
	if v == nil {
		switch t.Kind() {
		case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface:
			return nil
		}
		return because(ErrInvalidValue, "null is no %v", t)
	}
	switch v := v.(type) {
	case json.Number:
		if v == "-0" && isInteger(t.Kind()) {
			return because(ErrInvalidValue, "-0 is no %v", t)
		}
	case []any:
		if k := t.Kind(); k == reflect.Slice || k == reflect.Array {
			for _, e := range v {
				if err := shape(e, t.Elem()); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		switch t.Kind() {
		case reflect.Map:
			for _, e := range v {
				if err := shape(e, t.Elem()); err != nil {
					return err
				}
			}
		case reflect.Struct:
			return structShape(v, t)
		}
	}
	if t.Kind() == reflect.Pointer {
		return shape(v, t.Elem())
	}
	return nil
}

func structShape(v map[string]any, t reflect.Type) error {
	taken := map[string]bool{}
	for key, e := range v {
		f, ok := fieldOf(t, key)
		if !ok {
			continue // of a newer version of the type
		}
		if taken[f.Name] {
			return because(ErrInvalidValue, "two keys mean field %s of %v", f.Name, t)
		}
		taken[f.Name] = true
		if err := shape(e, f.Type); err != nil {
			return err
		}
	}
	return nil
}

// fieldOf returns the field that encoding/json decodes key into: the one so
// called, else one so called but for case.
func fieldOf(t reflect.Type, key string) (found reflect.StructField, ok bool) {
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" && options == "" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if name == key {
			return f, true
		}
		if !ok && strings.EqualFold(name, key) {
			found, ok = f, true
		}
	}
	return found, ok
}

// clip takes the spare capacity from all slices within v, which is settable, so
// that an append by a reader cannot write into memory that readers share.
func clip(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		v.Set(v.Slice3(0, v.Len(), v.Len()))
		fallthrough
	case reflect.Array:
		if slices.Contains(flat, v.Type().Elem().Kind()) {
			return
		}
		for i := range v.Len() {
			clip(v.Index(i))
		}
	case reflect.Map:
		if slices.Contains(flat, v.Type().Elem().Kind()) {
			return
		}
		for it := v.MapRange(); it.Next(); {
			e := reflect.New(v.Type().Elem()).Elem()
			e.Set(it.Value())
			clip(e)
			v.SetMapIndex(it.Key(), e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				clip(v.Field(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			clip(v.Elem())
		}
	}
}

// flat are the kinds that hold no slice.
var flat = []reflect.Kind{reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
	reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
	reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64}
