package fastopt

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// The type of an option as it stands in a snapshot: what its JSON means. Names
// of types do not matter, so that one may be renamed or moved; a field that is
// added, removed or of another type does, since nobody has asked the new type
// what the old value means to it. Types that decode themselves go by their name.

// maxFingerprint is the longest that is written out.
const maxFingerprint = 60

// fingerprint returns the same text for types whose JSON means the same.
func fingerprint(t reflect.Type) string {
	text := typeText(t, nil)
	if len(text) > maxFingerprint {
		return fmt.Sprintf("%s#%.16x", t.Kind(), sha256.Sum256([]byte(text)))
	}
	return text
}

// typeText describes t, which stands within the types of outer.
func typeText(t reflect.Type, outer []reflect.Type) string {
	p := reflect.PointerTo(t)
	if t == durationType || p.Implements(ownJSON) || p.Implements(ownText) {
		return cmp.Or(t.PkgPath(), "builtin") + "." + cmp.Or(t.Name(), t.String())
	}
	if i := slices.Index(outer, t); i >= 0 && t.Name() != "" {
		return fmt.Sprintf("^%d", len(outer)-i) // a type that holds itself
	}
	outer = append(outer[:len(outer):len(outer)], t)
	switch t.Kind() {
	case reflect.Slice:
		return "[]" + typeText(t.Elem(), outer)
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), typeText(t.Elem(), outer))
	case reflect.Pointer:
		return "*" + typeText(t.Elem(), outer)
	case reflect.Map:
		return "map[" + typeText(t.Key(), outer) + "]" + typeText(t.Elem(), outer)
	case reflect.Struct:
		return structText(t, outer)
	}
	return t.Kind().String()
}

func structText(t reflect.Type, outer []reflect.Type) string {
	var fields []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if name == "" && !f.Anonymous { // else its fields are this struct's
			name = f.Name
		}
		text := name + " " + typeText(f.Type, outer)
		if slices.Contains(strings.Split(options, ","), "string") {
			text += ",string"
		}
		fields = append(fields, text)
	}
	slices.Sort(fields)
	return "struct{" + strings.Join(fields, "; ") + "}"
}
