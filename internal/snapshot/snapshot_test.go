package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers"
)

var (
	key   = bytes.Repeat([]byte("k"), snapshot.KeySize)
	other = bytes.Repeat([]byte("o"), snapshot.KeySize)
	now   = time.Date(2026, 3, 1, 10, 0, 0, 123, time.UTC)
)

func sample() snapshot.Snapshot {
	return snapshot.Snapshot{
		Header: snapshot.Header{Namespace: "check\nout", Written: now, Options: 3,
			Home: tiers.Identity{Lineage: "5e3c", System: "7421", Timeline: 2, Database: "16384", Epoch: 3}},
		Entries: []snapshot.Entry{
			{Name: "a", Type: "int", Kind: tiers.Value, Data: []byte("1"), Stamp: tiers.Stamp{Epoch: 3, Revision: 1 << 63}, Age: time.Second},
			{Name: "größe", Type: "string", Kind: tiers.Value, Data: []byte("\" <&>\u2028\\n\" "), Stamp: tiers.Stamp{Epoch: 1, Revision: 1}},
			{Name: "gone", Type: "[]string", Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 3}},
		},
	}
}

func encode(t testing.TB, s snapshot.Snapshot, key []byte) []byte {
	t.Helper()
	raw, err := snapshot.Encode(s, key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, k := range [][]byte{nil, key} {
		raw := encode(t, sample(), k)
		got, err := snapshot.Decode(raw, k)
		if err != nil || !reflect.DeepEqual(got, sample()) {
			t.Errorf("%+v, %v", got, err)
		}
		if h, err := snapshot.HeaderOf(raw); err != nil || h != sample().Header {
			t.Errorf("%+v, %v", h, err)
		}
	}
}

// The first line tells a person what it is; with a key the rest tells nothing.
func TestTheFirstLineSaysWhatItIs(t *testing.T) {
	raw := encode(t, sample(), nil)
	line, _, _ := strings.Cut(string(raw), "\n")
	if want := `fastopt-snapshot 1 plain d816c22d {"namespace":"check\nout","written":"2026-03-01T10:00:00.000000123Z","lineage":"5e3c","system":"7421","timeline":2,"database":"16384","epoch":3,"options":3}`; line != want {
		t.Errorf("%s", line)
	}
	sealed := encode(t, sample(), key)
	if !bytes.HasPrefix(sealed, []byte("fastopt-snapshot 1 sealed ")) || bytes.Contains(sealed, []byte("gone")) {
		t.Errorf("%q", sealed)
	}
	if bytes.Equal(sealed, encode(t, sample(), key)) {
		t.Error("two nonces are the same")
	}
}

// No bit may change, no byte be lost or added, without being noticed.
func TestDamageIsNoticed(t *testing.T) {
	for _, k := range [][]byte{nil, key} {
		raw := encode(t, sample(), k)
		for i := range len(raw) * 8 {
			raw[i/8] ^= 1 << (i % 8)
			if _, err := snapshot.Decode(raw, k); err == nil {
				t.Fatalf("bit %d of byte %d flipped: nobody noticed", i%8, i/8)
			}
			raw[i/8] ^= 1 << (i % 8)
		}
		for n := range len(raw) {
			if _, err := snapshot.Decode(raw[:n], k); !errors.Is(err, snapshot.ErrDamaged) {
				t.Fatalf("cut after %d bytes: %v", n, err)
			}
		}
		if _, err := snapshot.Decode(append(raw[:len(raw):len(raw)], '\n'), k); !errors.Is(err, snapshot.ErrDamaged) {
			t.Errorf("a byte more: %v", err)
		}
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	plain, sealed := encode(t, sample(), nil), encode(t, sample(), key)
	for _, test := range []struct {
		raw  []byte
		key  []byte
		want error
	}{
		{plain, key, snapshot.ErrOpen},
		{sealed, nil, snapshot.ErrSealed},
		{sealed, other, snapshot.ErrSealed},
		{[]byte("fastopt-snapshot 2 whatever"), nil, snapshot.ErrNewer},
		{[]byte("fastopt-snapshot 10 "), key, snapshot.ErrNewer},
		{[]byte("fastopt-snapshot 0 "), nil, snapshot.ErrDamaged},
		{[]byte("fastopt-snapshot "), nil, snapshot.ErrDamaged},
		{[]byte("root:x:0:0:root:/:/bin/sh\n"), nil, snapshot.ErrDamaged},
		{nil, nil, snapshot.ErrDamaged},
	} {
		if s, err := snapshot.Decode(test.raw, test.key); !errors.Is(err, test.want) || !reflect.ValueOf(s).IsZero() {
			t.Errorf("%.40q: %v, want %v", test.raw, err, test.want)
		}
	}
}

// The options of one sealed file do not fit under the first line of another.
func TestTheFirstLineIsSealedToo(t *testing.T) {
	s := sample()
	mine := encode(t, s, key)
	s.Namespace = "another"
	theirs := encode(t, s, key)
	_, body, _ := bytes.Cut(mine, []byte("\n"))
	head, _, _ := bytes.Cut(theirs, []byte("\n"))
	rest := append(append(head[len("fastopt-snapshot 1 sealed 12345678 "):], '\n'), body...)
	forged := fmt.Appendf(nil, "fastopt-snapshot 1 sealed %s %s", crc("fastopt-snapshot 1 sealed ", rest), rest)
	if _, err := snapshot.HeaderOf(forged); err != nil {
		t.Fatalf("the sum is wrong: %v", err)
	}
	if _, err := snapshot.Decode(forged, key); !errors.Is(err, snapshot.ErrSealed) {
		t.Errorf("%v", err)
	}
}

// Whoever has the sum right may still have written nonsense.
func TestNonsenseWithTheRightSumIsDamage(t *testing.T) {
	const head = `{"namespace":"a","written":"2026-03-01T10:00:00Z","options":1}` + "\n"
	const line = `{"name":"a","type":"int","value":"1","epoch":1,"revision":1,"age_ns":1}` + "\n"
	for rest, ok := range map[string]bool{
		head + line:        true,
		head + line + line: false,
		strings.Replace(head, ":1", ":2", 1) + line + line: false, // twice the same name
		head: false,
		head + strings.Replace(line, `"a"`, `""`, 1):     false,
		head + strings.Replace(line, `:1}`, `:-1}`, 1):   false,
		head + strings.Replace(line, `:1}`, `:1e99}`, 1): false,
		head + "null\n": false,
		head + "[[[[[[": false,
		strings.Replace(head, "2026", "20260", 1) + line:                false,
		strings.Replace(head, `:1}`, `:-1}`, 1):                         false,
		strings.Replace(head, `:1}`, `:9223372036854775807}`, 1):        false,
		`{"namespace":"a","written":"2026-03-01T10:00:00Z","opt` + line: false,
	} {
		const prefix = "fastopt-snapshot 1 plain "
		raw := fmt.Appendf(nil, "%s%s %s", prefix, crc(prefix, []byte(rest)), rest)
		if _, err := snapshot.Decode(raw, nil); ok != (err == nil) || err != nil && !errors.Is(err, snapshot.ErrDamaged) {
			t.Errorf("%q: %v", rest, err)
		}
	}
}

func TestWhatNoFileCanHoldIsNotWritten(t *testing.T) {
	for what, change := range map[string]func(*snapshot.Snapshot){
		"a namespace that is no text": func(s *snapshot.Snapshot) { s.Namespace = "\xff" },
		"a lineage that is no text":   func(s *snapshot.Snapshot) { s.Home.Lineage = "\xff" },
		"a value that is no text":     func(s *snapshot.Snapshot) { s.Entries[0].Data = []byte("\xff") },
		"a name twice":                func(s *snapshot.Snapshot) { s.Entries[1].Name = "a" },
		"no name":                     func(s *snapshot.Snapshot) { s.Entries[1].Name = "" },
		"neither value nor absent":    func(s *snapshot.Snapshot) { s.Entries[0].Kind = 0 },
		"a negative age":              func(s *snapshot.Snapshot) { s.Entries[0].Age = -1 },
		"a huge value":                func(s *snapshot.Snapshot) { s.Entries[0].Data = make([]byte, tiers.MaxData+1) },
		"a year of five digits":       func(s *snapshot.Snapshot) { s.Written = now.AddDate(10000, 0, 0) },
	} {
		s := sample()
		change(&s)
		if _, err := snapshot.Encode(s, nil); err == nil {
			t.Errorf("%s was written", what)
		}
	}
	if _, err := snapshot.Encode(sample(), []byte("short")); err == nil {
		t.Error("sealed with a short key")
	}
}

func many(n int) snapshot.Snapshot {
	s := sample()
	s.Entries = nil
	for i := range n {
		s.Entries = append(s.Entries, snapshot.Entry{Name: fmt.Sprintf("service.option.%d", i), Type: "int", Kind: tiers.Value,
			Data: []byte("12345678"), Stamp: tiers.Stamp{Epoch: 1, Revision: uint64(i)}, Age: time.Second})
	}
	return s
}

func BenchmarkEncode1000(b *testing.B) {
	for name, k := range map[string][]byte{"plain": nil, "sealed": key} {
		b.Run(name, func(b *testing.B) {
			s := many(1000)
			b.ReportAllocs()
			for b.Loop() {
				encode(b, s, k)
			}
		})
	}
}

func BenchmarkDecode1000(b *testing.B) {
	raw := encode(b, many(1000), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := snapshot.Decode(raw, nil); err != nil {
			b.Fatal(err)
		}
	}
}
