// Package snapshot is a file of last known good values: what a process knew of
// its options when it last could ask, for its next start while nobody answers.
//
// A file is one line that says what it is, and the options, one a line:
//
//	fastopt-snapshot 1 plain 1a2b3c4d {"namespace":"checkout","written":"2026-03-01T10:00:00Z",…,"options":2}
//	{"name":"http.max-body","type":"int","value":"1048576","epoch":1,"revision":42,"age_ns":5000000}
//	{"name":"mail.sender","type":"string","epoch":1,"revision":40,"age_ns":5000000}
//
// The third word says whether the options are to be read by everyone, or
// sealed: the rest of the file is then a nonce and what AES-256-GCM makes of the
// options, bound to the first line. The fourth is the CRC-32C of all that stands
// before it and after it, so that no part of a file that was damaged is believed.
package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fastopt/fastopt-go/tiers"
)

// A Header is what a file says of itself, also if it is sealed.
type Header struct {
	Namespace string
	Written   time.Time      // by the wall clock of who wrote it
	Home      tiers.Identity // of the database that the values are of; zero: it was not known
	Options   int            // how many
}

// A Snapshot is what a file holds.
type Snapshot struct {
	Header
	Entries []Entry // of distinct names
}

// An Entry is one option.
type Entry struct {
	Name  string
	Type  string     // what the value is to be decoded as; the text is the writer's
	Kind  tiers.Kind // Value or Absent
	Data  []byte     // the value, valid UTF-8; nil for Absent
	Stamp tiers.Stamp
	Age   time.Duration // at Written: since the request of the answer that last confirmed it; never negative
}

// Why a file is not used.
var (
	ErrDamaged = errors.New("it is damaged, or no snapshot")
	ErrNewer   = errors.New("it was written by a newer version")
	ErrSealed  = errors.New("it is sealed with another key")
	ErrOpen    = errors.New("it is not sealed, though a key is given")
)

// MaxSize is the largest file, in bytes.
const MaxSize = 256 << 20

const (
	magic  = "fastopt-snapshot "
	format = "1"
	plain  = magic + format + " plain "
	sealed = magic + format + " sealed "
	digits = 8 // of the sum
)

// header and line are the texts of Header and Entry.
type header struct {
	Namespace string    `json:"namespace"`
	Written   time.Time `json:"written"`
	Lineage   string    `json:"lineage,omitempty"`
	System    string    `json:"system,omitempty"`
	Timeline  uint32    `json:"timeline,omitempty"`
	Database  string    `json:"database,omitempty"`
	Epoch     uint32    `json:"epoch,omitempty"`
	Options   int       `json:"options"`
}

type line struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	Value    *string `json:"value,omitempty"` // nil: absent
	Epoch    uint32  `json:"epoch"`
	Revision uint64  `json:"revision"`
	Age      int64   `json:"age_ns"`
}

// Encode returns s as the bytes of a file, sealed with key unless that is nil.
// Options is counted, Written rounded to what a text can say. An error tells of
// what no file can hold; it carries no value.
func Encode(s Snapshot, key []byte) ([]byte, error) {
	var head, body bytes.Buffer
	h := header{Namespace: s.Namespace, Written: s.Written.UTC().Round(0), Lineage: s.Home.Lineage, System: s.Home.System,
		Timeline: s.Home.Timeline, Database: s.Home.Database, Epoch: s.Home.Epoch, Options: len(s.Entries)}
	for _, text := range []string{h.Namespace, h.Lineage, h.System, h.Database} {
		if !utf8.ValidString(text) {
			return nil, errors.New("the namespace, or the identity of the database, is not valid UTF-8")
		}
	}
	if err := writer(&head).Encode(h); err != nil {
		return nil, errors.New("the time of writing cannot be written")
	}
	put := writer(&body)
	names := make(map[string]bool, len(s.Entries))
	for _, e := range s.Entries {
		if err := e.check(names); err != nil {
			return nil, fmt.Errorf("option %q: %w", e.Name, err)
		}
		if err := put.Encode(e.line()); err != nil {
			return nil, fmt.Errorf("option %q cannot be written", e.Name)
		}
	}
	prefix, rest := plain, body.Bytes()
	if key != nil {
		prefix = sealed
		var err error
		if rest, err = seal(rest, key, append([]byte(prefix), head.Bytes()...)); err != nil {
			return nil, err
		}
	}
	raw := make([]byte, 0, len(prefix)+digits+1+head.Len()+len(rest))
	raw = fmt.Appendf(raw, "%s%s ", prefix, sum(prefix, head.Bytes(), rest))
	raw = append(append(raw, head.Bytes()...), rest...)
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(raw), MaxSize)
	}
	return raw, nil
}

// Decode is the inverse of Encode: total, with no more memory than a few times
// len(raw). ErrDamaged, ErrNewer, ErrSealed or ErrOpen: there is nothing to be used.
func Decode(raw, key []byte) (Snapshot, error) {
	prefix, head, body, err := split(raw)
	if err != nil {
		return Snapshot{}, err
	}
	h, err := parse(head)
	if err != nil {
		return Snapshot{}, err
	}
	switch {
	case prefix == plain && key != nil:
		return Snapshot{}, ErrOpen
	case prefix == sealed && key == nil:
		return Snapshot{}, fmt.Errorf("%w: none is given", ErrSealed)
	case prefix == sealed:
		if body, err = unseal(body, key, append([]byte(prefix), head...)); err != nil {
			return Snapshot{}, err
		}
	}
	s := Snapshot{Header: h}
	names := map[string]bool{}
	for text := range bytes.Lines(body) {
		e, err := entry(text)
		if err == nil {
			err = e.check(names)
		}
		if err != nil {
			return Snapshot{}, ErrDamaged
		}
		s.Entries = append(s.Entries, e)
	}
	if len(s.Entries) != h.Options {
		return Snapshot{}, ErrDamaged
	}
	return s, nil
}

// HeaderOf returns what raw says of itself, whoever may read the rest.
// ErrDamaged, ErrNewer: nothing that could be believed.
func HeaderOf(raw []byte) (Header, error) {
	_, head, _, err := split(raw)
	if err != nil {
		return Header{}, err
	}
	return parse(head)
}

// split returns the parts of a file whose sum is right: head with its line's end.
func split(raw []byte) (prefix string, head, body []byte, err error) {
	if len(raw) > MaxSize {
		return "", nil, nil, ErrDamaged
	}
	rest, ok := bytes.CutPrefix(raw, []byte(magic))
	if !ok {
		return "", nil, nil, ErrDamaged
	}
	version, _, _ := bytes.Cut(rest[:min(len(rest), 8)], []byte(" "))
	if text := string(version); text != format {
		if len(text) > 0 && text[0] >= '1' && strings.Trim(text, "0123456789") == "" {
			return "", nil, nil, fmt.Errorf("%w: format %s", ErrNewer, text)
		}
		return "", nil, nil, ErrDamaged
	}
	for _, prefix = range []string{plain, sealed} {
		text, ok := bytes.CutPrefix(raw, []byte(prefix))
		if !ok || len(text) < digits+1 || text[digits] != ' ' {
			continue
		}
		rest := text[digits+1:]
		end := bytes.IndexByte(rest, '\n') + 1
		if head, body = rest[:end], rest[end:]; end > 0 && sum(prefix, head, body) == string(text[:digits]) {
			return prefix, head, body, nil
		}
	}
	return "", nil, nil, ErrDamaged
}

func parse(head []byte) (Header, error) {
	var h header
	if json.Unmarshal(head, &h) != nil || h.Options < 0 {
		return Header{}, ErrDamaged
	}
	return Header{Namespace: h.Namespace, Written: h.Written, Options: h.Options, Home: tiers.Identity{
		Lineage: h.Lineage, System: h.System, Timeline: h.Timeline, Database: h.Database, Epoch: h.Epoch}}, nil
}

func entry(text []byte) (Entry, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Entry{}, err
	}
	e := Entry{Name: l.Name, Type: l.Type, Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: l.Epoch, Revision: l.Revision}, Age: time.Duration(l.Age)}
	if l.Value != nil {
		e.Kind, e.Data = tiers.Value, []byte(*l.Value)
	}
	return e, nil
}

func (e Entry) line() line {
	l := line{Name: e.Name, Type: e.Type, Epoch: e.Stamp.Epoch, Revision: e.Stamp.Revision, Age: int64(e.Age)}
	if e.Kind == tiers.Value {
		text := string(e.Data)
		l.Value = &text
	}
	return l
}

// check returns an error unless e may stand in a file with names, which it joins.
func (e Entry) check(names map[string]bool) error {
	switch err := tiers.CheckName(e.Name); {
	case err != nil:
		return err
	case names[e.Name]:
		return errors.New("it is there twice")
	case e.Kind != tiers.Value && e.Kind != tiers.Absent || e.Kind == tiers.Absent && e.Data != nil:
		return errors.New("it is neither a value nor absent")
	case !utf8.ValidString(e.Type) || !utf8.Valid(e.Data):
		return errors.New("its value is not valid UTF-8")
	case len(e.Data) > tiers.MaxData:
		return fmt.Errorf("its value has %d bytes, the limit is %d", len(e.Data), tiers.MaxData)
	case e.Age < 0:
		return errors.New("its age is negative")
	}
	names[e.Name] = true
	return nil
}

func writer(b *bytes.Buffer) *json.Encoder {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return enc
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(prefix string, head, body []byte) string {
	crc := crc32.Checksum([]byte(prefix), castagnoli)
	crc = crc32.Update(crc32.Update(crc, castagnoli, head), castagnoli, body)
	return fmt.Sprintf("%0*x", digits, crc)
}
