// Package fuzz looks for inputs that break a promise of the library. Each
// target has an oracle: a property, or a slow and obvious model of the code. It
// is a module of its own, so that what it needs enters no user's module graph.
package fuzz

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// Envelopes: decoding is total, believes nothing that encoding would not have
// written, and finds every flipped bit.

func FuzzEnvelope(f *testing.F) {
	seedEnvelopes(func(namespace, name string, kind, flag byte, epoch uint32, revision uint64, payload []byte, repeat uint32) {
		f.Add(namespace, name, kind, flag, epoch, revision, payload, repeat)
	})
	f.Fuzz(func(t *testing.T, namespace, name string, kind, flag byte, epoch uint32, revision uint64, payload []byte, repeat uint32) {
		plain.holds(t, namespace, name, kind, flag, epoch, revision, payload, repeat)
	})
}

// Sealed envelopes keep the same promises; and nothing that is not sealed with
// the key is believed, nor anything that is by who has none.
func FuzzSealedEnvelope(f *testing.F) {
	seedEnvelopes(func(namespace, name string, kind, flag byte, epoch uint32, revision uint64, payload []byte, repeat uint32) {
		f.Add([]byte("0123456789abcdef"), namespace, name, kind, flag, epoch, revision, payload, repeat)
		f.Add(bytes.Repeat([]byte{0xff}, 65), namespace, name, kind, flag, epoch, revision, payload, uint32(0))
	})
	f.Fuzz(func(t *testing.T, key []byte, namespace, name string, kind, flag byte, epoch uint32, revision uint64, payload []byte, repeat uint32) {
		if len(key) > 1000 {
			return
		}
		mine := sealedBy(key)
		mine.holds(t, namespace, name, kind, flag, epoch, revision, payload, repeat)

		rec := tiers.Record{Name: name, Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: epoch, Revision: revision}, Data: payload}
		raw, err := mine.seal.Encode(nil, namespace, rec)
		if err != nil {
			return
		}
		if _, err := envelope.Decode(namespace, name, raw); !errors.Is(err, tiers.ErrForeign) {
			t.Fatalf("%q, read without the key: %v", raw, err)
		}
		// The sum of a longer key is that of another one; zeros behind a short one are none (RFC 2104).
		if _, err := sealedBy(append(bytes.Clone(key), 1)).seal.Decode(namespace, name, raw); !errors.Is(err, tiers.ErrMiss) {
			t.Fatalf("%q, read with another key: %v", raw, err)
		}
		unsealed, _ := envelope.Encode(nil, namespace, rec)
		if _, err := mine.seal.Decode(namespace, name, unsealed); !errors.Is(err, tiers.ErrMiss) {
			t.Fatalf("%q, read with a key: %v", unsealed, err)
		}
	})
}

func seedEnvelopes(seed func(namespace, name string, kind, flag byte, epoch uint32, revision uint64, payload []byte, repeat uint32)) {
	add := func(kind, flag byte, epoch uint32, revision uint64, payload string) {
		seed("checkout", "events.sample-rate", kind, flag, epoch, revision, []byte(payload), 0)
	}
	add('V', '-', 3, 421, `{"rate":0.5}`)
	add('V', '-', 0, 0, ``)
	add('V', '-', math.MaxUint32, math.MaxUint64, `0`)
	add('T', '-', 1, 7, ``)
	add('T', 'n', 1, 8, ``)
	add('V', 'n', 1, 8, `1`)
	add('T', '-', 1, 8, `1`)
	add('X', 'x', 1, 8, "V000000000300000000000000000421"+"11-0159e538"+`{"rate":0.5}`)
	add('V', '-', 1, 8, "V000000000300000000000000000421"+"22-and what is not known yet")
	add('V', '-', 1, 8, "V000000000300000000000000000421"+"33-and what is not known yet")
	add('V', '-', 1, 8, "V429496729618446744073709551616"+"11-00000000"+`1`)
	seed("", "", 'V', '-', 1, 1, nil, 0)
	seed("a\x00b", "\xff", 'T', 'n', 1, 1, []byte("x"), 0)
	seed("checkout", "large", 'V', '-', 1, 1, []byte("12345678"), 40_000)
	seed("checkout", "too.large", 'V', '-', 1, 1, []byte("12345678"), 140_000)
}

// A form is one of the two ways of summing, with its model.
type form struct {
	seal    *envelope.Seal
	version byte
	digits  int // of the sum
	sum     func(covered []byte) string
}

var plain = form{nil, '1', 8, func(covered []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(covered, crc32.MakeTable(crc32.Castagnoli)))
}}

// sealedBy is the form with a key; its model is HMAC as RFC 2104 spells it.
func sealedBy(key []byte) form {
	return form{envelope.NewSeal(key), '2', 32, func(covered []byte) string {
		pads := [2][64]byte{}
		short := key
		if len(key) > 64 {
			sum := sha256.Sum256(key)
			short = sum[:]
		}
		for i := range 64 {
			var k byte
			if i < len(short) {
				k = short[i]
			}
			pads[0][i], pads[1][i] = k^0x36, k^0x5c
		}
		inner := sha256.Sum256(append(pads[0][:], covered...))
		outer := sha256.Sum256(append(pads[1][:], inner[:]...))
		return fmt.Sprintf("%x", outer[:16])
	}}
}

func (fm form) overhead() int { return 34 + fm.digits }

func (fm form) holds(t *testing.T, namespace, name string, kind, flag byte, epoch uint32, revision uint64, payload []byte, repeat uint32) {
	t.Helper()
	if len(namespace) > 1000 || len(name) > 1000 || len(payload) > 1<<16 {
		return // longer than what it could show
	}
	fm.decodesAsTheModel(t, namespace, name, payload)
	fm.decodesAsTheModel(t, namespace, name, fm.summed(namespace, name, payload))
	head := fmt.Appendf(nil, "%c%010d%020d%c%c%c", kind, epoch, revision, fm.version, fm.version, flag)
	head = append(head, strings.Repeat("0", fm.digits)...)
	fm.decodesAsTheModel(t, namespace, name, fm.summed(namespace, name, append(head, payload...)))

	rec := tiers.Record{Name: name, Kind: tiers.Value, NoRow: flag == 'n', Stamp: tiers.Stamp{Epoch: epoch, Revision: revision}}
	if rec.Data = payload; kind == 'T' {
		rec.Kind = tiers.Absent
	}
	fm.survivesAlone(t, namespace, rec)
	fm.allocatesInNoProportion(t, namespace, name, bytes.Repeat(payload, int(repeat%200_000)))
}

// decodesAsTheModel checks Decode of raw against the model, and that what is
// accepted is encoded to the same bytes.
func (fm form) decodesAsTheModel(t *testing.T, namespace, name string, raw []byte) {
	t.Helper()
	kept := bytes.Clone(raw)
	rec, err := fm.seal.Decode(namespace, name, raw)
	if !bytes.Equal(raw, kept) {
		t.Fatalf("decoding %q changed it", kept)
	}
	want, verdict := fm.decode(namespace, name, raw)
	corrupt, isCorrupt := errors.AsType[*tiers.CorruptError](err)
	switch {
	case verdict == accepted && err != nil, verdict == foreign && !errors.Is(err, tiers.ErrForeign), verdict == broken && !isCorrupt:
		t.Fatalf("%q: %v, the model says %v", raw, err, verdict)
	case isCorrupt && (!errors.Is(err, tiers.ErrMiss) || !bytes.Equal(corrupt.Raw, raw)):
		t.Fatalf("%q: corrupt, but no miss that carries the bytes", raw)
	case err != nil:
		return
	case !reflect.DeepEqual(rec, want):
		t.Fatalf("%q: got %+v, the model says %+v", raw, rec, want)
	}
	if tiers.CheckName(namespace) != nil || tiers.CheckName(name) != nil {
		return // never written: such a place cannot be asked for
	}
	again, err := fm.seal.Encode(nil, namespace, rec)
	if err != nil || !bytes.Equal(again, raw) {
		t.Fatalf("accepted %q, encoded as %q, %v", raw, again, err)
	}
}

// survivesAlone checks that rec, if it can be encoded, comes back, and that no
// envelope one bit away does.
func (fm form) survivesAlone(t *testing.T, namespace string, rec tiers.Record) {
	t.Helper()
	raw, err := fm.seal.Encode([]byte("before"), namespace, rec)
	if !bytes.HasPrefix(raw, []byte("before")) {
		t.Fatalf("encoding lost what stood before: %q", raw)
	}
	if raw = raw[len("before"):]; err != nil {
		if len(raw) > 0 {
			t.Fatalf("refused %+v, but wrote %q", rec, raw)
		}
		return
	}
	got, err := fm.seal.Decode(namespace, rec.Name, raw)
	if len(rec.Data) == 0 && rec.Kind == tiers.Value {
		rec.Data = []byte{}
	}
	if rec.Kind == tiers.Absent {
		rec.Data = nil
	}
	if err != nil || !reflect.DeepEqual(got, rec) {
		t.Fatalf("%q: got %+v, %v, want %+v", raw, got, err, rec)
	}
	bits := 8 * len(raw)
	for i := range bits {
		if i >= 8*(fm.overhead()+256) && i%61 != 0 {
			continue // of a long payload, a sample
		}
		raw[i/8] ^= 1 << (i % 8)
		if _, err := fm.seal.Decode(namespace, rec.Name, raw); !errors.Is(err, tiers.ErrMiss) {
			t.Fatalf("bit %d flipped: %q: %v", i, raw, err)
		}
		raw[i/8] ^= 1 << (i % 8)
	}
}

// allocatesInNoProportion checks that large bytes cost no large allocation,
// whether they are accepted or not.
func (fm form) allocatesInNoProportion(t *testing.T, namespace, name string, payload []byte) {
	t.Helper()
	if len(payload) < 64<<10 {
		return
	}
	head := fmt.Sprintf("V%030d%c%c-%0*d", 1, fm.version, fm.version, fm.digits, 0)
	raw := fm.summed(namespace, name, append([]byte(head), payload...))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := fm.seal.Decode(namespace, name, raw)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 32<<10 {
		t.Fatalf("decoding %d bytes allocated %d (%v)", len(raw), n, err)
	}
	if allowed := len(payload) <= tiers.MaxData; allowed != (err == nil) {
		t.Fatalf("a payload of %d bytes: %v", len(payload), err)
	}
}

// summed puts the right sum into raw, so that what the sum hides is reached.
func (fm form) summed(namespace, name string, raw []byte) []byte {
	raw = bytes.Clone(raw)
	if len(raw) >= fm.overhead() {
		copy(raw[34:fm.overhead()], fm.modelSum(namespace, name, raw))
	}
	return raw
}

func (fm form) modelSum(namespace, name string, raw []byte) string {
	all := strings.Join([]string{namespace, name, string(raw[:34]) + string(raw[fm.overhead():])}, "\x00")
	return fm.sum([]byte(all))
}

type opinion string

const (
	accepted opinion = "accepted"
	foreign  opinion = "of a newer version"
	broken   opinion = "corrupt"
)

var (
	anyVersion = regexp.MustCompile(`(?s)^([VT])([0-9]{10})([0-9]{20})(.)(.)`)
	bothForms  = map[byte]*regexp.Regexp{
		'1': regexp.MustCompile(`(?s)^(?:V.{30}11-|T.{30}11[-n])([0-9a-f]{8})(.*)$`),
		'2': regexp.MustCompile(`(?s)^(?:V.{30}22-|T.{30}22[-n])([0-9a-f]{32})(.*)$`),
	}
)

// decode is the format's description, slowly.
func (fm form) decode(namespace, name string, raw []byte) (tiers.Record, opinion) {
	text := latin1(raw)
	m := anyVersion.FindStringSubmatch(text)
	if m == nil || m[4] != m[5] || m[4] < "1" {
		return tiers.Record{}, broken
	}
	epoch, _ := new(big.Int).SetString(m[2], 10)
	revision, _ := new(big.Int).SetString(m[3], 10)
	if epoch.BitLen() > 32 || revision.BitLen() > 64 {
		return tiers.Record{}, broken
	}
	if m[4] > string(fm.version) {
		return tiers.Record{}, foreign
	}
	v := bothForms[fm.version].FindStringSubmatch(text)
	size := len(raw) - fm.overhead()
	if v == nil || v[1] != fm.modelSum(namespace, name, raw) || size > 1<<20 || m[1] == "T" && size > 0 {
		return tiers.Record{}, broken
	}
	rec := tiers.Record{Name: name, Kind: tiers.Value, Data: raw[fm.overhead():], Stamp: tiers.Stamp{Epoch: uint32(epoch.Uint64()), Revision: revision.Uint64()}}
	if m[1] == "T" {
		rec.Kind, rec.Data, rec.NoRow = tiers.Absent, nil, raw[33] == 'n'
	}
	return rec, accepted
}

// latin1 makes each byte a character, so that a pattern counts bytes.
func latin1(raw []byte) string {
	var b strings.Builder
	for _, c := range raw {
		b.WriteRune(rune(c))
	}
	return b.String()
}
