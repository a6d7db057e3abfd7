package fastopt

import "reflect"

// Lookup: by name and typed, for code that learns at run time which option it
// wants and knows what is in it.

// Lookup returns the value of an option, or of a family's member, prefix/key, as
// Manager.Get does, without an allocation. T is the type it was declared with:
// for any other, ErrInvalidValue. ErrUnknownOption, ErrInvalidName: there is no
// such option.
func Lookup[T any](m *Manager, name string) (T, error) {
	var zero T
	v, f, member, err := m.find(name)
	if err != nil {
		return zero, err
	}
	if f == nil {
		if t, ok := v.(T); ok && any(zero) != nil { // an interface is nobody's declared type
			return t, nil
		}
	} else if s, ok := f.table.(*residents[T]); ok {
		return s.get(member), nil
	}
	return zero, mistyped(name, v, f, reflect.TypeFor[T]())
}

// mistyped is the error of who asks for what was declared as another type.
func mistyped(name string, v any, f *family, asked reflect.Type) error {
	declared := reflect.TypeOf(v)
	if f != nil {
		declared = f.codec.typ
	}
	return failed("get", name, because(ErrInvalidValue, "it is of type %v, and was asked for as %v", declared, asked))
}
