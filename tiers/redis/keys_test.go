package redis

import "testing"

func TestKeysAreReadableAndUnambiguous(t *testing.T) {
	cases := []struct{ namespace, name, key string }{
		{"checkout", "events.sample-rate", "fastopt:checkout:events.sample-rate"},
		{"checkout", "tenant:limit/42", "fastopt:checkout:tenant:limit/42"},
		{"a:b", "c", "fastopt:a%3Ab:c"},
		{"a", "b:c", "fastopt:a:b:c"},
		{"a%3Ab", "c", "fastopt:a%253Ab:c"},
		{"a", ":", "fastopt:a::"},
		{":", "%", "fastopt:%3A:%"},
		{"größe", "{x}* \n", "fastopt:größe:{x}* \n"},
	}
	for _, c := range cases {
		sp := spaceOf(c.namespace)
		if got := entryKey("fastopt", sp, c.name); got != c.key {
			t.Errorf("%q %q: got %q, want %q", c.namespace, c.name, got, c.key)
		}
		gotSpace, gotName, ok := splitKey("fastopt", c.key)
		if !ok || gotSpace != sp || gotName != c.name {
			t.Errorf("%q: parted into %q and %q, %v", c.key, gotSpace, gotName, ok)
		}
	}
	for _, foreign := range []string{"", "fastopt", "fastopt:", "fastopt:a", "fastopt:a:", "fastopts:a:b", "lease:fastopt:a:b"} {
		if _, _, ok := splitKey("fastopt", foreign); ok {
			t.Errorf("%q passes for an entry", foreign)
		}
	}
}
