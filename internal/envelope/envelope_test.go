package envelope

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

const namespace = "checkout"

func samples() map[string]tiers.Record {
	return map[string]tiers.Record{
		"value":        {Name: "events.sample-rate", Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 3, Revision: 421}, Data: []byte(`{"rate":0.5}`)},
		"newest stamp": {Name: "x", Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: math.MaxUint32, Revision: math.MaxUint64}, Data: []byte(`0`)},
		"zero stamp":   {Name: "x", Kind: tiers.Value, Data: []byte(`""`)},
		"tombstone":    {Name: "tenant.limit/42", Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 1, Revision: 7}},
		"no row":       {Name: "x", Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 1, Revision: 8}, NoRow: true},
		"largest":      {Name: strings.Repeat("n", tiers.MaxName), Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: 1, Revision: 1}, Data: bytes.Repeat([]byte{'7'}, tiers.MaxData)},
	}
}

func encode(t *testing.T, rec tiers.Record) []byte {
	t.Helper()
	raw, err := Encode(nil, namespace, rec)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDecodeGivesBackWhatWasEncoded(t *testing.T) {
	for what, rec := range samples() {
		raw := encode(t, rec)
		if len(raw) != Overhead+len(rec.Data) {
			t.Errorf("%s: %d bytes for %d of data", what, len(raw), len(rec.Data))
		}
		got, err := Decode(namespace, rec.Name, raw)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got.Name != rec.Name || got.Kind != rec.Kind || got.Stamp != rec.Stamp || got.NoRow != rec.NoRow || !bytes.Equal(got.Data, rec.Data) {
			t.Errorf("%s: got back another record", what)
		}
		if (got.Data == nil) != (rec.Kind == tiers.Absent) {
			t.Errorf("%s: data nil is %v", what, got.Data == nil)
		}
	}
}

// The bytes stand in caches of running fleets: a change of them is a new
// version of the format, never an edit of this test.
func TestBytesOfVersion1AreFixed(t *testing.T) {
	golden := map[string]string{
		"value":        `V000000000300000000000000000421` + `11-` + `0159e538` + `{"rate":0.5}`,
		"newest stamp": `V429496729518446744073709551615` + `11-` + `547192df` + `0`,
		"tombstone":    `T000000000100000000000000000007` + `11-` + `ed59809a`,
		"no row":       `T000000000100000000000000000008` + `11n` + `15b40d62`,
	}
	for what, want := range golden {
		if got := string(encode(t, samples()[what])); got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
}

func TestEncodeAppends(t *testing.T) {
	rec := samples()["value"]
	got, err := Encode([]byte("before"), namespace, rec)
	if want := "before" + string(encode(t, rec)); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTextOrderIsStampOrder(t *testing.T) {
	stamps := []tiers.Stamp{{}, {Revision: 9}, {Revision: 10}, {Revision: math.MaxUint64}, {Epoch: 1}, {Epoch: 9, Revision: 5}, {Epoch: 10, Revision: 4}, {Epoch: math.MaxUint32}}
	var last string
	for _, s := range stamps {
		text := string(encode(t, tiers.Record{Name: "x", Kind: tiers.Value, Stamp: s, Data: []byte("1")})[1:Stamped])
		if text <= last {
			t.Errorf("%v: %s does not stand after %s", s, text, last)
		}
		last = text
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	for what, rec := range samples() {
		raw := encode(t, rec)
		bits := min(8*len(raw), 8*(Overhead+64))
		for i := range bits {
			bad := bytes.Clone(raw)
			bad[i/8] ^= 1 << (i % 8)
			_, err := Decode(namespace, rec.Name, bad)
			mustBeCorrupt(t, what, bad, err)
		}
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	for what, rec := range samples() {
		raw := encode(t, rec)
		for n := range min(len(raw), Overhead+64) {
			_, err := Decode(namespace, rec.Name, raw[:n])
			mustBeCorrupt(t, what, raw[:n], err)
		}
		_, err := Decode(namespace, rec.Name, append(bytes.Clone(raw), '0'))
		if !errors.Is(err, tiers.ErrMiss) {
			t.Errorf("%s: a byte more: %v", what, err)
		}
	}
}

func TestAnEntryUnderAnotherNameIsNone(t *testing.T) {
	raw := encode(t, samples()["value"])
	name := samples()["value"].Name
	for _, at := range [][2]string{{namespace, "other"}, {"other", name}, {namespace + name[:1], name[1:]}} {
		_, err := Decode(at[0], at[1], raw)
		mustBeCorrupt(t, at[0]+" "+at[1], raw, err)
	}
}

func TestBadHeadersAreNamed(t *testing.T) {
	raw := string(encode(t, samples()["value"]))
	put := func(at int, text string) string { return raw[:at] + text + raw[at+len(text):] }
	cases := []struct{ what, raw, reason string }{
		{"empty", "", Short},
		{"kind", put(0, "X"), Header},
		{"sign", put(1, "+"), Header},
		{"space", put(1, " "), Header},
		{"epoch above 32 bits", put(1, "4294967296"), Header},
		{"revision above 64 bits", put(1+epochDigits, "18446744073709551616"), Header},
		{"version of no one", put(versionAt, "00"), Header},
		{"versions that differ", put(versionAt, "12"), Header},
		{"flag", put(flagAt, "x"), Header},
		{"value that is no row", put(flagAt, "n"), Header},
		{"absent with a payload", put(0, "T"), Size},
		{"upper case checksum", put(sumAt+3, "9E"), Sum},
		{"checksum", put(sumAt, "1"), Sum},
		{"too large", raw + strings.Repeat("7", tiers.MaxData), Size},
	}
	for _, c := range cases {
		_, err := Decode(namespace, samples()["value"].Name, []byte(c.raw))
		bad, ok := errors.AsType[*tiers.CorruptError](err)
		if !ok || bad.Reason != c.reason {
			t.Errorf("%s: got %v, want %s", c.what, err, c.reason)
		}
	}
}

func TestNewerFormatIsForeignAndNotCorrupt(t *testing.T) {
	newer := string(encode(t, samples()["value"])[:versionAt]) + "22" + "whatever it may hold"
	_, err := Decode(namespace, "any", []byte(newer))
	if !errors.Is(err, tiers.ErrForeign) || errors.Is(err, tiers.ErrMiss) {
		t.Errorf("got %v", err)
	}
}

func TestEncodeRefusesWhatDecodeWouldNotGiveBack(t *testing.T) {
	good := samples()["value"]
	cases := map[string]func(r *tiers.Record, ns *string){
		"no kind":           func(r *tiers.Record, _ *string) { r.Kind = 0 },
		"no name":           func(r *tiers.Record, _ *string) { r.Name = "" },
		"no namespace":      func(_ *tiers.Record, ns *string) { *ns = "" },
		"NUL":               func(_ *tiers.Record, ns *string) { *ns = "a\x00b" },
		"absent with data":  func(r *tiers.Record, _ *string) { r.Kind = tiers.Absent },
		"value without row": func(r *tiers.Record, _ *string) { r.NoRow = true },
		"oversize":          func(r *tiers.Record, _ *string) { r.Data, r.Oversize = nil, tiers.MaxData+1 },
		"too large":         func(r *tiers.Record, _ *string) { r.Data = make([]byte, tiers.MaxData+1) },
	}
	for what, spoil := range cases {
		rec, ns := good, namespace
		spoil(&rec, &ns)
		if dst, err := Encode([]byte("kept"), ns, rec); err == nil || string(dst) != "kept" {
			t.Errorf("%s: got %d bytes, error %v", what, len(dst), err)
		}
	}
}

func TestDecodeAllocatesInNoProportionToItsInput(t *testing.T) {
	rec := samples()["largest"]
	raw := encode(t, rec)
	const runs = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		Decode(namespace, rec.Name, raw)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > 8<<10 {
		t.Errorf("%d bytes for an entry of %d", n, len(raw))
	}
}

func mustBeCorrupt(t *testing.T, what string, raw []byte, err error) {
	t.Helper()
	bad, ok := errors.AsType[*tiers.CorruptError](err)
	if !ok || !errors.Is(err, tiers.ErrMiss) {
		t.Errorf("%s: %q: got %v", what, raw[:min(len(raw), 60)], err)
	} else if !bytes.Equal(bad.Raw, raw) {
		t.Errorf("%s: Raw is not the bytes found", what)
	}
}
