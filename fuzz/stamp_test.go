package fuzz

import (
	"math"
	"math/big"
	"testing"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// Stamps: one total order, whoever compares. A process compares numbers, the
// shared cache compares 30 digits as text; a disagreement would let an old value
// win. The model is one number of 96 bits.

func FuzzStampOrder(f *testing.F) {
	edges := []tiers.Stamp{
		{}, {Revision: 1}, {Revision: 9}, {Revision: 10}, {Revision: math.MaxInt64}, {Revision: math.MaxInt64 + 1}, {Revision: math.MaxUint64},
		{Epoch: 1}, {Epoch: 9, Revision: 5}, {Epoch: 10, Revision: 4}, {Epoch: math.MaxInt32}, {Epoch: math.MaxInt32 + 1}, {Epoch: math.MaxUint32, Revision: math.MaxUint64},
	}
	for i := range edges {
		a, b, c := edges[i], edges[(i+1)%len(edges)], edges[(i+5)%len(edges)]
		f.Add(a.Epoch, a.Revision, b.Epoch, b.Revision, c.Epoch, c.Revision)
		f.Add(a.Epoch, a.Revision, a.Epoch, a.Revision, b.Epoch, a.Revision)
	}
	f.Fuzz(func(t *testing.T, e1 uint32, r1 uint64, e2 uint32, r2 uint64, e3 uint32, r3 uint64) {
		stamps := []tiers.Stamp{{Epoch: e1, Revision: r1}, {Epoch: e2, Revision: r2}, {Epoch: e3, Revision: r3}}
		for _, a := range stamps {
			if a.IsZero() != (modelStamp(a).Sign() == 0) {
				t.Fatalf("%v: IsZero is %v", a, a.IsZero())
			}
			for _, b := range stamps {
				agreeOn(t, a, b)
				for _, c := range stamps {
					if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
						t.Fatalf("%v ≤ %v ≤ %v, but not %v ≤ %v", a, b, c, a, c)
					}
				}
			}
		}
	})
}

func agreeOn(t *testing.T, a, b tiers.Stamp) {
	t.Helper()
	want := modelStamp(a).Cmp(modelStamp(b))
	switch {
	case a.Compare(b) != want:
		t.Fatalf("%v, %v: Compare is %d, the model says %d", a, b, a.Compare(b), want)
	case b.Compare(a) != -want:
		t.Fatalf("%v, %v: Compare is not antisymmetric", a, b)
	case (want == 0) != (a == b):
		t.Fatalf("%v, %v: Compare is %d", a, b, want)
	case a.Newer(b) != (want > 0):
		t.Fatalf("%v, %v: Newer is %v", a, b, a.Newer(b))
	}
	if x, y := digits(t, a), digits(t, b); (x > y) != (want > 0) || (x == y) != (want == 0) {
		t.Fatalf("%v, %v: as text %s, %s", a, b, x, y)
	}
}

// modelStamp is epoch × 2^64 + revision.
func modelStamp(s tiers.Stamp) *big.Int {
	n := new(big.Int).Lsh(new(big.Int).SetUint64(uint64(s.Epoch)), 64)
	return n.Add(n, new(big.Int).SetUint64(s.Revision))
}

// digits is what the script in the shared cache compares.
func digits(t *testing.T, s tiers.Stamp) string {
	t.Helper()
	raw, err := envelope.Encode(nil, "n", tiers.Record{Name: "x", Kind: tiers.Value, Stamp: s, Data: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw[1:envelope.Stamped])
}
