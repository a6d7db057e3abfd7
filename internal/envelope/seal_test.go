package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

const canary = "c4nary-key-0f-32-bytes-and-more!"

var sealed = NewSeal([]byte(canary))

func seal(t *testing.T, s *Seal, rec tiers.Record) []byte {
	t.Helper()
	raw, err := s.Encode(nil, namespace, rec)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// As those of version 1, these bytes stand in caches of running fleets.
func TestBytesOfVersion2AreFixed(t *testing.T) {
	golden := map[string]string{
		"value":     `V000000000300000000000000000421` + `22-` + `32290e77546ed7a025dd9d422a023cf5` + `{"rate":0.5}`,
		"tombstone": `T000000000100000000000000000007` + `22-` + `a43011f6bf27f787e282c60b7b98c39d`,
		"no row":    `T000000000100000000000000000008` + `22n` + `8ad2205da006e4378f30c3cfb50838e6`,
	}
	for what, want := range golden {
		if got := string(seal(t, sealed, samples()[what])); got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
}

func TestUnsealingGivesBackWhatWasSealed(t *testing.T) {
	for what, rec := range samples() {
		raw := seal(t, sealed, rec)
		if len(raw) != sealed.Overhead()+len(rec.Data) {
			t.Errorf("%s: %d bytes for %d of data", what, len(raw), len(rec.Data))
		}
		got, err := sealed.Decode(namespace, rec.Name, raw)
		if err != nil || got.Kind != rec.Kind || got.Stamp != rec.Stamp || got.NoRow != rec.NoRow || !bytes.Equal(got.Data, rec.Data) {
			t.Errorf("%s: got back another record, %v", what, err)
		}
	}
}

func TestEveryFlippedBitAndTruncationOfASealedEntryIsFound(t *testing.T) {
	for what, rec := range samples() {
		if what == "largest" {
			rec.Data = rec.Data[:1<<12] // a MAC of a whole one takes milliseconds
		}
		raw := seal(t, sealed, rec)
		for i := range min(8*len(raw), 8*(sealed.Overhead()+64)) {
			bad := bytes.Clone(raw)
			bad[i/8] ^= 1 << (i % 8)
			_, err := sealed.Decode(namespace, rec.Name, bad)
			mustBeCorrupt(t, what, bad, err)
		}
		for n := range min(len(raw), sealed.Overhead()+64) {
			_, err := sealed.Decode(namespace, rec.Name, raw[:n])
			mustBeCorrupt(t, what, raw[:n], err)
		}
	}
}

func TestASealIsOfItsPlaceAndItsKey(t *testing.T) {
	rec := samples()["value"]
	raw := seal(t, sealed, rec)
	for _, at := range [][2]string{{namespace, "other"}, {"other", rec.Name}, {namespace + rec.Name[:1], rec.Name[1:]}} {
		_, err := sealed.Decode(at[0], at[1], raw)
		mustBeCorrupt(t, at[0]+" "+at[1], raw, err)
	}
	for _, other := range []string{canary + "x", canary[1:], strings.ToUpper(canary), ""} {
		_, err := NewSeal([]byte(other)).Decode(namespace, rec.Name, raw)
		mustBeCorrupt(t, "other key", raw, err)
	}
}

// Who has no key cannot judge what is sealed, and who has one believes nothing else.
func TestASealIsForeignWithoutTheKeyAndItsLackIsCorruptWithIt(t *testing.T) {
	rec := samples()["value"]
	_, err := Decode(namespace, rec.Name, seal(t, sealed, rec))
	if !errors.Is(err, tiers.ErrForeign) || errors.Is(err, tiers.ErrMiss) || !strings.Contains(err.Error(), "MACKey") {
		t.Errorf("sealed, read without a key: %v", err)
	}
	plain := encode(t, rec)
	_, err = sealed.Decode(namespace, rec.Name, plain)
	mustBeCorrupt(t, "plain", plain, err)
	if bad, _ := errors.AsType[*tiers.CorruptError](err); bad == nil || bad.Reason != Unsealed {
		t.Errorf("plain, read with a key: %v, want %q", err, Unsealed)
	}
	// Nor does it help to write the one's sum under the other's version.
	forged := bytes.Replace(plain, []byte("11-"), []byte("22-"), 1)
	_, err = sealed.Decode(namespace, rec.Name, forged)
	mustBeCorrupt(t, "forged", forged, err)
	newer := append(append([]byte{}, plain[:versionAt]...), "33 whatever"...)
	for _, s := range []*Seal{nil, sealed} {
		if _, err := s.Decode(namespace, "any", newer); !errors.Is(err, tiers.ErrForeign) || errors.Is(err, tiers.ErrMiss) {
			t.Errorf("newer: %v", err)
		}
	}
}

func TestASealNeverTellsItsKey(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		said := fmt.Sprintf(verb, sealed)
		for _, form := range []string{"%v", "%x", "%q", "%s"} {
			if text := fmt.Sprintf(form, []byte(canary)); strings.Contains(said, strings.Trim(text, `[]"`)[:8]) {
				t.Errorf("%s prints %s", verb, said)
			}
		}
	}
	key := []byte(canary)
	s := NewSeal(key)
	raw := seal(t, s, samples()["value"])
	clear(key)
	if _, err := s.Decode(namespace, samples()["value"].Name, raw); err != nil {
		t.Errorf("the seal keeps the caller's memory: %v", err)
	}
}
