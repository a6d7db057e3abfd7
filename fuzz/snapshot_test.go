package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers"
)

// Snapshots: whatever bytes a file holds, it is one whole snapshot or refused
// with a reason; what is written comes back; and no bit may change unnoticed.

var snapshotErrors = []error{snapshot.ErrDamaged, snapshot.ErrNewer, snapshot.ErrSealed, snapshot.ErrOpen}

func FuzzSnapshot(f *testing.F) {
	const head = `{"namespace":"a","written":"2026-03-01T10:00:00Z","lineage":"5e3c","options":1}`
	f.Add([]byte(head+"\n"+`{"name":"a","type":"int","value":"1","epoch":1,"revision":1,"age_ns":1}`+"\n"), "checkout", "5e3c", "http.max-body", "int", []byte("1"), uint32(1), uint64(42), int64(time.Second), int64(1), uint(7))
	f.Add([]byte(head+"\n"+`{"name":"a","epoch":-1}`), "größe\n", "\xff", "a", "\x00", []byte("\xff"), uint32(0), uint64(0), int64(-1), int64(0), uint(0))
	f.Add([]byte(`{"options":9223372036854775807}`+"\n"), "\u2028<&>", "", "", "", []byte(nil), uint32(1<<32-1), uint64(1<<64-1), int64(1<<63-1), int64(-1<<62), uint(1<<31))
	f.Add([]byte(`{"written":"20260-03-01T10:00:00Z"}`+"\n"+strings.Repeat("[", 1000)), "x", "x", strings.Repeat("n", tiers.MaxName+1), "x", bytes.Repeat([]byte("x"), 100), uint32(1), uint64(1), int64(0), int64(1<<62), uint(99))
	f.Fuzz(func(t *testing.T, rest []byte, namespace, lineage, name, typ string, data []byte, epoch uint32, revision uint64, age, written int64, bit uint) {
		if len(rest)+len(data) > 1<<14 {
			return // longer than what it could show
		}
		for _, key := range [][]byte{nil, bytes.Repeat([]byte("k"), snapshot.KeySize)} {
			readsOrRefuses(t, rest, key)
			for _, prefix := range []string{"fastopt-snapshot 1 plain ", "fastopt-snapshot 1 sealed "} {
				sum := crc32.Checksum(append([]byte(prefix), rest...), crc32.MakeTable(crc32.Castagnoli))
				readsOrRefuses(t, fmt.Appendf(nil, "%s%08x %s", prefix, sum, rest), key)
			}
			s := snapshot.Snapshot{
				Header: snapshot.Header{Namespace: namespace, Written: time.Unix(0, written).UTC(), Options: 2,
					Home: tiers.Identity{Lineage: lineage, System: typ, Timeline: epoch, Database: lineage, Epoch: epoch}},
				Entries: []snapshot.Entry{
					{Name: name, Type: typ, Kind: tiers.Value, Data: data, Stamp: tiers.Stamp{Epoch: epoch, Revision: revision}, Age: time.Duration(age)},
					{Name: name + "!", Type: typ, Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: epoch, Revision: revision}},
				},
			}
			snapshotSurvivesAlone(t, s, key, bit)
		}
	})
}

// readsOrRefuses checks that raw is read whole, and then comes back, or is
// refused with one reason.
func readsOrRefuses(t *testing.T, raw, key []byte) {
	t.Helper()
	kept := bytes.Clone(raw)
	s, err := snapshot.Decode(raw, key)
	reasons := 0
	for _, reason := range snapshotErrors {
		if errors.Is(err, reason) {
			reasons++
		}
	}
	switch {
	case !bytes.Equal(raw, kept):
		t.Fatalf("reading %q changed it", kept)
	case err != nil && (reasons != 1 || !reflect.ValueOf(s).IsZero()):
		t.Fatalf("%q: %v, %+v", raw, err, s)
	case err != nil:
		return
	}
	if h, err := snapshot.HeaderOf(raw); err != nil || h != s.Header {
		t.Fatalf("%q: %+v and %+v, %v", raw, h, s.Header, err)
	}
	again, err := snapshot.Encode(s, key)
	if err != nil {
		t.Fatalf("%q was read as %+v, which cannot be written: %v", raw, s, err)
	}
	if back, err := snapshot.Decode(again, key); err != nil || !equal(back, s) {
		t.Fatalf("%+v came back as %+v, %v", s, back, err)
	}
}

// snapshotSurvivesAlone checks that s, if it can be written, comes back, and
// that its file with one bit flipped does not.
func snapshotSurvivesAlone(t *testing.T, s snapshot.Snapshot, key []byte, bit uint) {
	t.Helper()
	e := s.Entries[0]
	year := s.Written.Year()
	can := tiers.CheckName(e.Name) == nil && len(e.Name) < tiers.MaxName && utf8.Valid(e.Data) && e.Age >= 0 && year >= 0 && year < 10000
	for _, text := range []string{s.Namespace, s.Home.Lineage, e.Type} {
		can = can && utf8.ValidString(text)
	}
	raw, err := snapshot.Encode(s, key)
	if can != (err == nil) {
		t.Fatalf("%+v: %v, can be written: %v", s, err, can)
	}
	if err != nil {
		return
	}
	if back, err := snapshot.Decode(raw, key); err != nil || !equal(back, s) {
		t.Fatalf("%+v came back as %+v, %v", s, back, err)
	}
	at := bit % uint(len(raw)*8)
	raw[at/8] ^= 1 << (at % 8)
	if _, err := snapshot.Decode(raw, key); err == nil {
		t.Fatalf("bit %d of %q flipped: nobody noticed", at, raw)
	}
}

// equal compares instants as such, and no bytes with nil.
func equal(a, b snapshot.Snapshot) bool {
	if !a.Written.Equal(b.Written) || len(a.Entries) != len(b.Entries) {
		return false
	}
	a.Written, b.Written = time.Time{}, time.Time{}
	for i, e := range a.Entries {
		f := b.Entries[i]
		if !bytes.Equal(e.Data, f.Data) {
			return false
		}
		e.Data, f.Data = nil, nil
		if !reflect.DeepEqual(e, f) {
			return false
		}
	}
	return a.Header == b.Header
}
