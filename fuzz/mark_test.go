package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// Marks: what is accepted is the one spelling of a mark, every mark comes back,
// and one bit, byte or namespace away is none.

func FuzzMark(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), "checkout", "5e3c", "7421", "16384", uint32(2), uint32(3), uint64(1042), []byte(` fed=1042 epoch=3 timeline=2 lineage="5e3c" system="7421" database="16384"`))
	f.Add([]byte(nil), "a:b", "\x00\xff\u2028", `" fed=7`, "größe", uint32(math.MaxUint32), uint32(math.MaxUint32), uint64(math.MaxUint64), []byte(` fed=+1 epoch=03 timeline=2 lineage=`+"`5e3c`"+` system="\x37" database=""`))
	for _, body := range []string{
		` fed=01042 epoch=3 timeline=2 lineage="5e3c" system="7421" database="16384"`,
		` fed=1042 epoch=3 timeline=2 lineage="\x35e3c" system="7421" database="16384"`,
		" fed=1042 epoch=3 timeline=2 lineage=`5e3c` system=\"7421\" database=\"16384\"",
		` fed=1042 epoch=3 timeline=2 lineage="größe" system="7421" database="16384"`,
		` fed=1042 epoch=3 timeline=2 lineage="5e3c" system="7421" database="16384" `,
	} {
		f.Add([]byte("0123456789abcdef"), "a", "x", "x", "x", uint32(1), uint32(1), uint64(1), []byte(body))
	}
	f.Add([]byte(nil), "a", "", "", "", uint32(0), uint32(0), uint64(0), []byte(` fed=0 epoch=0 timeline=0 lineage="" system="" database=""`))
	f.Add([]byte(nil), "", "x", strings.Repeat("x", tiers.MaxName), strings.Repeat("x", tiers.MaxName+1), uint32(1), uint32(1), uint64(1), []byte("M11 00000000"))
	f.Add([]byte(nil), "a\x00", "x", "x", "x", uint32(1), uint32(1), uint64(1), []byte("M33 of a later version"))

	f.Fuzz(func(t *testing.T, key []byte, namespace, lineage, system, database string, timeline, epoch uint32, fed uint64, body []byte) {
		if len(key)+len(namespace)+len(body) > 1<<14 {
			return // longer than what it could show
		}
		m := tiers.Mark{Identity: tiers.Identity{Lineage: lineage, System: system, Timeline: timeline, Database: database, Epoch: epoch}, Fed: fed}
		for _, fm := range []form{plain, sealedBy(key)} {
			fm.readsMarkAsTheModel(t, namespace, body)
			fm.readsMarkAsTheModel(t, namespace, fm.marked(namespace, body))
			fm.markSurvivesAlone(t, namespace, m)
		}
	})
}

// marked makes a mark's text of body: its head and the right sum before it.
func (fm form) marked(namespace string, body []byte) []byte {
	head := fmt.Sprintf("M%c%c ", fm.version, fm.version)
	return fmt.Appendf(nil, "%s%s%s", head, fm.sum(fmt.Appendf(nil, "\x00%s\x00%s%s", namespace, head, body)), body)
}

// spell is the one text of a mark, slowly; "" if it has none.
func (fm form) spell(namespace string, m tiers.Mark) string {
	if tiers.CheckName(namespace) != nil || m == (tiers.Mark{}) || max(len(m.Lineage), len(m.System), len(m.Database)) > 400 {
		return ""
	}
	return string(fm.marked(namespace, fmt.Appendf(nil, " fed=%d epoch=%d timeline=%d lineage=%+q system=%+q database=%+q",
		m.Fed, m.Epoch, m.Timeline, m.Lineage, m.System, m.Database)))
}

// readsMarkAsTheModel checks that raw is a mark only if that is its one spelling.
func (fm form) readsMarkAsTheModel(t *testing.T, namespace string, raw []byte) {
	t.Helper()
	kept := bytes.Clone(raw)
	m, err := fm.seal.DecodeMark(namespace, raw)
	corrupt, isCorrupt := errors.AsType[*tiers.CorruptError](err)
	later := len(raw) >= 4 && raw[0] == 'M' && raw[1] == raw[2] && raw[1] > fm.version && raw[3] == ' '
	switch {
	case !bytes.Equal(raw, kept):
		t.Fatalf("decoding %q changed it", kept)
	case later != errors.Is(err, tiers.ErrForeign):
		t.Fatalf("%q: %v, of a later version: %v", raw, err, later)
	case err == nil && fm.spell(namespace, m) != string(raw):
		t.Fatalf("%q was read as %+v, which is spelled %q", raw, m, fm.spell(namespace, m))
	case err != nil && m != (tiers.Mark{}):
		t.Fatalf("%q: an error and a mark", raw)
	case isCorrupt && (!errors.Is(err, tiers.ErrMiss) || !bytes.Equal(corrupt.Raw, raw)), err != nil && !isCorrupt && !later:
		t.Fatalf("%q: %v, no miss that carries the bytes", raw, err)
	}
}

// markSurvivesAlone checks that m comes back as it was, and nothing near it does.
func (fm form) markSurvivesAlone(t *testing.T, namespace string, m tiers.Mark) {
	t.Helper()
	raw, err := fm.seal.EncodeMark([]byte("before"), namespace, m)
	want := fm.spell(namespace, m)
	if string(raw) != "before"+want || (err == nil) != (want != "") || len(want) > envelope.MaxMark {
		t.Fatalf("%+v: %q, %v, want %q of at most %d", m, raw, err, want, envelope.MaxMark)
	}
	if err != nil {
		return
	}
	raw = raw[len("before"):]
	if got, err := fm.seal.DecodeMark(namespace, raw); err != nil || got != m {
		t.Fatalf("%q: %+v, %v", raw, got, err)
	}
	for i := range 8 * len(raw) {
		if i >= 8*256 && i%61 != 0 {
			continue // of a long text, a sample
		}
		raw[i/8] ^= 1 << (i % 8)
		if got, err := fm.seal.DecodeMark(namespace, raw); !errors.Is(err, tiers.ErrMiss) {
			t.Fatalf("bit %d flipped: %q: %+v, %v", i, raw, got, err)
		}
		raw[i/8] ^= 1 << (i % 8)
	}
	for _, near := range [][]byte{raw[:len(raw)-1], append(bytes.Clone(raw), ' '), raw[1:]} {
		if _, err := fm.seal.DecodeMark(namespace, near); !errors.Is(err, tiers.ErrMiss) {
			t.Fatalf("%q: %v", near, err)
		}
	}
	if _, err := fm.seal.DecodeMark(strconv.Quote(namespace), raw); !errors.Is(err, tiers.ErrMiss) {
		t.Fatalf("%q under another namespace: %v", raw, err)
	}
}
