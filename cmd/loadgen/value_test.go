package main

import (
	"encoding/binary"
	"math"
	"testing"
	"unicode/utf8"
)

func TestHexGoesBothWays(t *testing.T) {
	for _, x := range []uint32{0, 1, 9, 10, 15, 16, 0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, math.MaxUint32} {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], hexOf(x))
		const digits = "0123456789abcdef"
		for i, c := range b {
			if want := digits[x>>(28-4*i)&15]; c != want {
				t.Fatalf("hexOf(%#x) = %q, digit %d should be %q", x, b, i, want)
			}
		}
		if got := unhex(hexOf(x)); got != x {
			t.Fatalf("unhex(hexOf(%#x)) = %#x", x, got)
		}
	}
}

func TestValueTellsItsNumber(t *testing.T) {
	h := hashOf("a")
	for _, n := range []uint32{0, 1, 77, math.MaxUint32} {
		v := newValue(h, n, 3, 123456789)
		if !utf8.ValidString(v) || len(v) != valueSize {
			t.Fatalf("value %q is not %d bytes of text", v, valueSize)
		}
		if got, f := openValue(v, h); got != n || f != whole {
			t.Fatalf("openValue = %d, %v, want %d", got, f, n)
		}
		if _, f := openValue(v, hashOf("b")); f != foreign {
			t.Fatalf("the value of another key: %v", f)
		}
	}
}

func TestEveryFlippedBitIsDetected(t *testing.T) {
	h := hashOf("a")
	v := newValue(h, 42, 1, 99)
	for i := range valueSize * 8 {
		b := []byte(v)
		b[i/8] ^= 1 << (i % 8)
		if _, f := openValue(string(b), h); f == whole {
			t.Fatalf("bit %d flipped, and nobody noticed", i)
		}
	}
	for n := range valueSize {
		if _, f := openValue(v[:n], h); f != torn {
			t.Fatalf("cut to %d bytes: %v", n, f)
		}
	}
}

func TestVerifyingAllocatesNothing(t *testing.T) {
	h := hashOf("a")
	v := newValue(h, 42, 1, 99)
	if n := testing.AllocsPerRun(100, func() { openValue(v, h) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	h := hashOf("a")
	v := newValue(h, 42, 1, 99)
	for b.Loop() {
		if _, f := openValue(v, h); f != whole {
			b.Fatal(f)
		}
	}
}
