// Package fuzz looks for inputs that break a promise of the library. Each
// target has an oracle: a property, or a slow and obvious model of the code. It
// is a module of its own, so that what it needs enters no user's module graph.
package fuzz

import (
	"bytes"
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
	add := func(kind, flag byte, epoch uint32, revision uint64, payload string) {
		f.Add("checkout", "events.sample-rate", kind, flag, epoch, revision, []byte(payload), uint32(0))
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
	add('V', '-', 1, 8, "V429496729618446744073709551616"+"11-00000000"+`1`)
	f.Add("", "", byte('V'), byte('-'), uint32(1), uint64(1), []byte(nil), uint32(0))
	f.Add("a\x00b", "\xff", byte('T'), byte('n'), uint32(1), uint64(1), []byte("x"), uint32(0))
	f.Add("checkout", "large", byte('V'), byte('-'), uint32(1), uint64(1), []byte("12345678"), uint32(40_000))
	f.Add("checkout", "too.large", byte('V'), byte('-'), uint32(1), uint64(1), []byte("12345678"), uint32(140_000))

	f.Fuzz(func(t *testing.T, namespace, name string, kind, flag byte, epoch uint32, revision uint64, payload []byte, repeat uint32) {
		if len(namespace) > 1000 || len(name) > 1000 || len(payload) > 1<<16 {
			return // longer than what it could show
		}
		decodesAsTheModel(t, namespace, name, payload)
		decodesAsTheModel(t, namespace, name, summed(namespace, name, payload))
		head := fmt.Appendf(nil, "%c%010d%020d11%c", kind, epoch, revision, flag)
		decodesAsTheModel(t, namespace, name, summed(namespace, name, append(append(head, "00000000"...), payload...)))

		rec := tiers.Record{Name: name, Kind: tiers.Value, NoRow: flag == 'n', Stamp: tiers.Stamp{Epoch: epoch, Revision: revision}}
		if rec.Data = payload; kind == 'T' {
			rec.Kind = tiers.Absent
		}
		survivesAlone(t, namespace, rec)
		allocatesInNoProportion(t, namespace, name, bytes.Repeat(payload, int(repeat%200_000)))
	})
}

// decodesAsTheModel checks Decode of raw against the model, and that what is
// accepted is encoded to the same bytes.
func decodesAsTheModel(t *testing.T, namespace, name string, raw []byte) {
	t.Helper()
	kept := bytes.Clone(raw)
	rec, err := envelope.Decode(namespace, name, raw)
	if !bytes.Equal(raw, kept) {
		t.Fatalf("decoding %q changed it", kept)
	}
	want, verdict := modelDecode(namespace, name, raw)
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
	again, err := envelope.Encode(nil, namespace, rec)
	if err != nil || !bytes.Equal(again, raw) {
		t.Fatalf("accepted %q, encoded as %q, %v", raw, again, err)
	}
}

// survivesAlone checks that rec, if it can be encoded, comes back, and that no
// envelope one bit away does.
func survivesAlone(t *testing.T, namespace string, rec tiers.Record) {
	t.Helper()
	raw, err := envelope.Encode([]byte("before"), namespace, rec)
	if !bytes.HasPrefix(raw, []byte("before")) {
		t.Fatalf("encoding lost what stood before: %q", raw)
	}
	if raw = raw[len("before"):]; err != nil {
		if len(raw) > 0 {
			t.Fatalf("refused %+v, but wrote %q", rec, raw)
		}
		return
	}
	got, err := envelope.Decode(namespace, rec.Name, raw)
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
		if i >= 8*(envelope.Overhead+256) && i%61 != 0 {
			continue // of a long payload, a sample
		}
		raw[i/8] ^= 1 << (i % 8)
		if _, err := envelope.Decode(namespace, rec.Name, raw); !errors.Is(err, tiers.ErrMiss) {
			t.Fatalf("bit %d flipped: %q: %v", i, raw, err)
		}
		raw[i/8] ^= 1 << (i % 8)
	}
}

// allocatesInNoProportion checks that large bytes cost no large allocation,
// whether they are accepted or not.
func allocatesInNoProportion(t *testing.T, namespace, name string, payload []byte) {
	t.Helper()
	if len(payload) < 64<<10 {
		return
	}
	raw := summed(namespace, name, append([]byte("V00000000010000000000000000000111-00000000"), payload...))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := envelope.Decode(namespace, name, raw)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 32<<10 {
		t.Fatalf("decoding %d bytes allocated %d (%v)", len(raw), n, err)
	}
	if allowed := len(payload) <= tiers.MaxData; allowed != (err == nil) {
		t.Fatalf("a payload of %d bytes: %v", len(payload), err)
	}
}

// summed puts the right checksum into raw, so that what the checksum hides is
// reached.
func summed(namespace, name string, raw []byte) []byte {
	raw = bytes.Clone(raw)
	if len(raw) >= 42 {
		copy(raw[34:42], modelSum(namespace, name, raw))
	}
	return raw
}

func modelSum(namespace, name string, raw []byte) string {
	all := strings.Join([]string{namespace, name, string(raw[:34]) + string(raw[42:])}, "\x00")
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(all), crc32.MakeTable(crc32.Castagnoli)))
}

type opinion string

const (
	accepted opinion = "accepted"
	foreign  opinion = "of a newer version"
	broken   opinion = "corrupt"
)

var (
	anyVersion = regexp.MustCompile(`(?s)^([VT])([0-9]{10})([0-9]{20})(.)(.)`)
	version1   = regexp.MustCompile(`(?s)^(?:V.{30}11-|T.{30}11[-n])([0-9a-f]{8})(.*)$`)
)

// modelDecode is the format's description, slowly.
func modelDecode(namespace, name string, raw []byte) (tiers.Record, opinion) {
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
	if m[4] > "1" {
		return tiers.Record{}, foreign
	}
	v := version1.FindStringSubmatch(text)
	if v == nil || v[1] != modelSum(namespace, name, raw) || len(raw)-42 > 1<<20 || m[1] == "T" && len(raw) > 42 {
		return tiers.Record{}, broken
	}
	rec := tiers.Record{Name: name, Kind: tiers.Value, Data: raw[42:], Stamp: tiers.Stamp{Epoch: uint32(epoch.Uint64()), Revision: revision.Uint64()}}
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
