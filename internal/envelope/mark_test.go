package envelope

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

func marks() map[string]tiers.Mark {
	id := tiers.Identity{Lineage: "5e3c", System: "7421", Timeline: 2, Database: "16384", Epoch: 3}
	return map[string]tiers.Mark{
		"usual":   {Identity: id, Fed: 1042},
		"largest": {Identity: tiers.Identity{Lineage: strings.Repeat("\x00", tiers.MaxName), System: strings.Repeat("\xff", tiers.MaxName), Timeline: math.MaxUint32, Database: strings.Repeat("\x7f", tiers.MaxName), Epoch: math.MaxUint32}, Fed: math.MaxUint64},
		"odd":     {Identity: tiers.Identity{Lineage: `" fed=7`, System: "a=b c\n\\", Database: "größe\u2028🙂"}},
		"fed":     {Fed: 1},
	}
}

func encodeMark(t *testing.T, s *Seal, m tiers.Mark) []byte {
	t.Helper()
	raw, err := s.EncodeMark(nil, namespace, m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestBytesOfMarksAreFixed(t *testing.T) {
	const fields = ` fed=1042 epoch=3 timeline=2 lineage="5e3c" system="7421" database="16384"`
	if got, want := string(encodeMark(t, nil, marks()["usual"])), `M11 46bb71fc`+fields; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got, want := string(encodeMark(t, sealed, marks()["usual"])), `M22 d84db8818706eae3566e36d0dc46fdc3`+fields; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	odd := ` fed=0 epoch=0 timeline=0 lineage="\" fed=7" system="a=b c\n\\" database="gr\u00f6\u00dfe\u2028\U0001f642"`
	if got := string(encodeMark(t, nil, marks()["odd"])); !strings.HasSuffix(got, odd) {
		t.Errorf("\n got %s\nwant …%s", got, odd)
	}
}

func TestMarksComeBackAndEveryDamageIsFound(t *testing.T) {
	for _, s := range []*Seal{nil, sealed} {
		for what, m := range marks() {
			raw := encodeMark(t, s, m)
			if got, err := s.DecodeMark(namespace, raw); err != nil || got != m || len(raw) > MaxMark {
				t.Errorf("%s: %+v, %v, of %d bytes", what, got, err, len(raw))
			}
			for i := range 8 * len(raw) {
				if i >= 8*256 && i%61 != 0 {
					continue // of a long text, a sample
				}
				bad := bytes.Clone(raw)
				bad[i/8] ^= 1 << (i % 8)
				_, err := s.DecodeMark(namespace, bad)
				mustBeCorrupt(t, what, bad, err)
			}
			for n := range min(len(raw), 512) {
				_, err := s.DecodeMark(namespace, raw[:n])
				mustBeCorrupt(t, what, raw[:n], err)
			}
			_, err := s.DecodeMark("other", raw)
			mustBeCorrupt(t, "other namespace", raw, err)
		}
	}
}

// A script compares marks by their bytes: what means the same is written the same.
func TestAMarkHasOneSpelling(t *testing.T) {
	usual := string(appendMark(nil, marks()["usual"]))
	for _, change := range [][2]string{
		{"fed=1042", "fed=01042"}, {"fed=1042", "fed=+1042"}, {"epoch=3", "epoch=4294967299"}, {" epoch", "  epoch"},
		{`"5e3c"`, "`5e3c`"}, {`"5e3c"`, `"5\x653c"`}, {`"5e3c"`, `"5e3c" x="1"`}, {`"5e3c"`, `5e3c`}, {`"5e3c"`, `"5e3c`}, {`"7421"`, `'7'`},
		{`fed=1042 epoch=3`, `epoch=3 fed=1042`}, {`"16384"`, `"16384" `}, {`"16384"`, `"16384"` + "\n"}, {`"5e3c"`, `"` + strings.Repeat("x", tiers.MaxName+1) + `"`},
		{usual, ""}, {usual, string(appendMark(nil, tiers.Mark{}))}, {"fed=1042", "fed=18446744073709551616"}, {"fed=1042", "fed="},
	} {
		body := strings.Replace(usual, change[0], change[1], 1)
		raw := sealed.appendSum([]byte("M22 "), markPlace(namespace, []byte("M22 ")), []byte(body))
		raw = append(raw, body...)
		_, err := sealed.DecodeMark(namespace, raw)
		mustBeCorrupt(t, body, raw, err)
		if bad, _ := errors.AsType[*tiers.CorruptError](err); bad == nil || bad.Reason != "mark: "+Spelling {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestMarksOfOtherVersionsAreJudgedAsEntriesAre(t *testing.T) {
	plain, withKey := encodeMark(t, nil, marks()["usual"]), encodeMark(t, sealed, marks()["usual"])
	if _, err := (*Seal)(nil).DecodeMark(namespace, withKey); !errors.Is(err, tiers.ErrForeign) {
		t.Errorf("sealed, read without a key: %v", err)
	}
	_, err := sealed.DecodeMark(namespace, plain)
	mustBeCorrupt(t, "plain, read with a key", plain, err)
	if _, err := sealed.DecodeMark(namespace, []byte("M33 later")); !errors.Is(err, tiers.ErrForeign) {
		t.Errorf("newer: %v", err)
	}
}

// Neither passes for the other, whatever names are chosen.
func TestAMarkAndAnEntryShareNoSum(t *testing.T) {
	for _, ns := range []string{"a", "M", namespace} {
		for _, name := range []string{"a", "M11 ", namespace} {
			if bytes.HasPrefix(place(ns, name, nil), markPlace("", nil)[:1]) {
				t.Errorf("the sum of %q %q begins as that of a mark", ns, name)
			}
		}
	}
	entry := encode(t, samples()["value"])
	_, err := (*Seal)(nil).DecodeMark(namespace, entry)
	mustBeCorrupt(t, "an entry", entry, err)
	mark := encodeMark(t, nil, marks()["usual"])
	_, err = Decode(namespace, "x", mark)
	mustBeCorrupt(t, "a mark", mark, err)
}

func TestEncodeMarkRefusesWhatDecodeWouldNotGiveBack(t *testing.T) {
	long := marks()["usual"]
	long.System = strings.Repeat("x", tiers.MaxName+1)
	for _, c := range []struct {
		ns string
		m  tiers.Mark
	}{{namespace, tiers.Mark{}}, {"", marks()["usual"]}, {"a\x00", marks()["usual"]}, {namespace, long}} {
		if dst, err := sealed.EncodeMark([]byte("kept"), c.ns, c.m); err == nil || string(dst) != "kept" {
			t.Errorf("%q: got %q, %v", c.ns, dst, err)
		}
	}
}

func TestALongTextIsNoMarkWhateverItsSum(t *testing.T) {
	head, body := []byte("M11 "), bytes.Repeat([]byte(" "), MaxMark)
	raw := append((*Seal)(nil).appendSum(bytes.Clone(head), markPlace(namespace, head), body), body...)
	_, err := (*Seal)(nil).DecodeMark(namespace, raw)
	if bad, ok := errors.AsType[*tiers.CorruptError](err); !ok || bad.Reason != "mark: "+Size {
		t.Errorf("got %v", err)
	}
}
