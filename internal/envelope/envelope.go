// Package envelope is the self-describing string under which a record stands
// in a shared cache. It is plain text, so that an operator can read it:
//
//	V000000000300000000000000000421 11 - 0159e538 {"rate":0.5}     (without the spaces)
//	│└ epoch, 10 digits             │  │ │        └ payload: the value
//	│          └ revision, 20 digits│  │ └ CRC-32C of all else, 8 hex digits
//	└ kind: V value, T absent       │  └ n: absent because no row was found; else -
//	                                └ version of this format, twice
//
// The first 31 bytes are those that a script in the cache compares: fixed
// width, digits only, so that the order of the text is the order of stamps.
// Every later version of the format keeps them and the version behind them.
//
// The checksum covers the namespace and the name as well, so that an entry
// copied under another key is no entry. It finds accidents, not attackers: for
// those there is version 2, in which a keyed sum of 32 digits stands in its
// place (see [Seal]).
package envelope

import (
	"fmt"
	"strconv"

	"github.com/fastopt/fastopt-go/tiers"
)

// Stamped is the length of the kind and the stamp, which the cache's script compares.
const Stamped = 1 + epochDigits + revisionDigits

// Overhead is the number of bytes that an envelope without a seal adds to its payload.
const Overhead = sumAt + crcDigits

const (
	epochDigits    = 10
	revisionDigits = 20

	versionAt = Stamped // two bytes, equal: a flipped bit is no newer version
	flagAt    = versionAt + 2
	sumAt     = flagAt + 1

	kindValue  = 'V'
	kindAbsent = 'T'
	flagNone   = '-'
	flagNoRow  = 'n'
)

// Reasons of a [tiers.CorruptError], for those who count them.
const (
	Short    = "shorter than an envelope"
	Header   = "malformed header"
	Size     = "payload of a size that is not allowed"
	Sum      = "wrong checksum"
	Unsealed = "without a seal"
	Spelling = "not in its one spelling"
)

// Encode is [Seal.Encode] without a key.
func Encode(dst []byte, namespace string, rec tiers.Record) ([]byte, error) {
	return (*Seal)(nil).Encode(dst, namespace, rec)
}

// Decode is [Seal.Decode] without a key.
func Decode(namespace, name string, raw []byte) (tiers.Record, error) {
	return (*Seal)(nil).Decode(namespace, name, raw)
}

// Encode appends the envelope of rec in namespace to dst. It refuses what
// [Seal.Decode] would not give back: a kind that is none, an absent with data, data
// above [tiers.MaxData], an oversize record, a name that is no name.
func (s *Seal) Encode(dst []byte, namespace string, rec tiers.Record) ([]byte, error) {
	if err := encodable(namespace, rec); err != nil {
		return dst, fmt.Errorf("encode %q: %w", rec.Name, err)
	}
	start := len(dst)
	kind, flag := byte(kindValue), byte(flagNone)
	if rec.Kind == tiers.Absent {
		kind = kindAbsent
	}
	if rec.NoRow {
		flag = flagNoRow
	}
	dst = append(dst, kind)
	dst = appendPadded(dst, uint64(rec.Stamp.Epoch), epochDigits)
	dst = appendPadded(dst, rec.Stamp.Revision, revisionDigits)
	dst = append(dst, s.version(), s.version(), flag)
	dst = s.appendSum(dst, place(namespace, rec.Name, dst[start:]), rec.Data)
	return append(dst, rec.Data...), nil
}

func encodable(namespace string, rec tiers.Record) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	if err := tiers.CheckName(rec.Name); err != nil {
		return err
	}
	switch {
	case rec.Kind != tiers.Value && rec.Kind != tiers.Absent:
		return fmt.Errorf("a record of %v cannot be stored", rec.Kind)
	case rec.Kind == tiers.Absent && len(rec.Data) > 0:
		return fmt.Errorf("an absent record carries data")
	case rec.Kind == tiers.Value && rec.NoRow:
		return fmt.Errorf("a value carries the mark of an absent row")
	case rec.Oversize > 0:
		return fmt.Errorf("value has %d bytes, the limit is %d", rec.Oversize, tiers.MaxData)
	case len(rec.Data) > tiers.MaxData:
		return fmt.Errorf("value has %d bytes, the limit is %d", len(rec.Data), tiers.MaxData)
	}
	return nil
}

// Decode reads the envelope raw, found under namespace and name. It is total:
// any bytes give a record, a [*tiers.CorruptError] whose Raw is raw, or an
// error that is [tiers.ErrForeign]. Data of the record is a slice of raw, and
// nothing is allocated in proportion to what raw claims. AsOf and Raw are left to the
// caller, who knows when the bytes were read.
func (s *Seal) Decode(namespace, name string, raw []byte) (tiers.Record, error) {
	corrupt := func(reason string) (tiers.Record, error) {
		return tiers.Record{}, &tiers.CorruptError{Raw: raw, Reason: reason}
	}
	if len(raw) < flagAt {
		return corrupt(Short)
	}
	rec := tiers.Record{Name: name}
	stamp, ok := parseStamp(raw)
	if !ok {
		return corrupt(Header)
	}
	rec.Stamp = stamp
	if reason, err := s.judge(raw[versionAt], raw[versionAt+1]); err != nil {
		return tiers.Record{}, err
	} else if reason != "" {
		return corrupt(reason)
	}
	payloadAt := s.Overhead()
	if len(raw) < payloadAt {
		return corrupt(Short)
	}
	payload := raw[payloadAt:]
	switch {
	case raw[0] == kindValue && raw[flagAt] == flagNone:
		rec.Kind = tiers.Value
		rec.Data = payload[:len(payload):len(payload)]
	case raw[0] == kindAbsent && raw[flagAt] == flagNone:
		rec.Kind = tiers.Absent
	case raw[0] == kindAbsent && raw[flagAt] == flagNoRow:
		rec.Kind, rec.NoRow = tiers.Absent, true
	default:
		return corrupt(Header)
	}
	if len(payload) > tiers.MaxData || rec.Kind == tiers.Absent && len(payload) > 0 {
		return corrupt(Size)
	}
	if !s.sums(raw[sumAt:payloadAt], place(namespace, name, raw[:sumAt]), payload) {
		return corrupt(Sum)
	}
	return rec, nil
}

// parseStamp reads kind and stamp, without a sign, a gap or an overflow.
func parseStamp(raw []byte) (s tiers.Stamp, ok bool) {
	if raw[0] != kindValue && raw[0] != kindAbsent {
		return s, false
	}
	for _, c := range raw[1:Stamped] {
		if c < '0' || c > '9' {
			return s, false
		}
	}
	epoch, err := strconv.ParseUint(string(raw[1:1+epochDigits]), 10, 32)
	if err != nil {
		return s, false
	}
	revision, err := strconv.ParseUint(string(raw[1+epochDigits:Stamped]), 10, 64)
	return tiers.Stamp{Epoch: uint32(epoch), Revision: revision}, err == nil
}

func appendPadded(dst []byte, n uint64, digits int) []byte {
	at := len(dst)
	for range digits {
		dst = append(dst, '0')
	}
	for i := at + digits - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// place is what the sum of an entry covers besides its payload. A NUL stands
// in no name, so no two places share these bytes.
func place(namespace, name string, header []byte) []byte {
	p := make([]byte, 0, 2*tiers.MaxName+2+sumAt)
	p = append(p, namespace...)
	p = append(p, 0)
	p = append(p, name...)
	p = append(p, 0)
	return append(p, header...)
}
