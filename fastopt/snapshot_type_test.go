package fastopt

import (
	"reflect"
	"testing"
)

func TestTypesWhoseJSONMeansTheSameLookTheSame(t *testing.T) {
	type inner struct{ A, B int }
	type swapped struct{ B, A int }
	type renamed struct {
		A int `json:"B"`
		B int `json:"A"`
	}
	type node struct {
		Next *node
		N    int
	}
	type list struct {
		Next *list
		N    int
	}
	type embedded struct{ inner }
	for i, test := range []struct {
		a, b reflect.Type
		want bool
	}{
		{reflect.TypeFor[uint8](), reflect.TypeFor[State](), true},
		{reflect.TypeFor[inner](), reflect.TypeFor[swapped](), true},
		{reflect.TypeFor[inner](), reflect.TypeFor[renamed](), true},
		{reflect.TypeFor[node](), reflect.TypeFor[list](), true},
		{reflect.TypeFor[int](), reflect.TypeFor[int64](), false},
		{reflect.TypeFor[int](), reflect.TypeFor[float64](), false},
		{reflect.TypeFor[inner](), reflect.TypeFor[embedded](), false},
		{reflect.TypeFor[inner](), reflect.TypeFor[*inner](), false},
		{reflect.TypeFor[[]int](), reflect.TypeFor[[2]int](), false},
		{reflect.TypeFor[[]inner](), reflect.TypeFor[map[string]inner](), false},
	} {
		if (fingerprint(test.a) == fingerprint(test.b)) != test.want {
			t.Errorf("%d: %s and %s", i, fingerprint(test.a), fingerprint(test.b))
		}
	}
}
