package fastopt

import "reflect"

// Lookup: by name and typed, for code that learns at run time which option it
// wants and knows what is in it.

// Lookup returns the value of an option, or of a family's member, prefix/key, as
// Manager.Get does, without an allocation. T is the type it was declared with:
// for any other, ErrInvalidValue. ErrUnknownOption, ErrInvalidName: there is no
// such option.
func Lookup[T any](m *Manager, name string) (T, error) {
	v, err := m.Get(name)
	var zero T
	if t, ok := v.(T); ok && any(zero) != nil { // an interface is nobody's declared type
		return t, nil
	}
	if err == nil {
		err = failed("get", name, because(ErrInvalidValue, "it is of type %T, and was asked for as %v", v, reflect.TypeFor[T]()))
	}
	return zero, err
}
