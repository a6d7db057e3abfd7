package envelope

// The text under which a mark stands in a shared cache, for people as well:
//
//	M11 46bb71fc fed=1042 epoch=3 timeline=2 lineage="5e3c" system="7421" database="16384"
//	│└ version, twice
//	│   └ sum of the namespace and all else: CRC-32C, or in version 2 a seal
//	└ kind
//
// A mark has one spelling, so that a script may compare two by their bytes.

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fastopt/fastopt-go/tiers"
)

// MaxMark is the length in bytes that no mark exceeds.
const MaxMark = 3*(4*tiers.MaxName+len(`""`)) + 200

const (
	kindMark  = 'M'
	markSumAt = len("M11 ")
)

// EncodeMark appends the text of m in namespace to dst. It refuses the zero
// mark, which stands for none, and an identity whose texts exceed [tiers.MaxName] bytes.
func (s *Seal) EncodeMark(dst []byte, namespace string, m tiers.Mark) ([]byte, error) {
	if err := markable(namespace, m); err != nil {
		return dst, fmt.Errorf("encode mark: %w", err)
	}
	head := []byte{kindMark, s.version(), s.version(), ' '}
	body := appendMark(nil, m)
	dst = append(dst, head...)
	dst = s.appendSum(dst, markPlace(namespace, head), body)
	return append(dst, body...), nil
}

func markable(namespace string, m tiers.Mark) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	if m == (tiers.Mark{}) {
		return fmt.Errorf("the zero mark stands for none")
	}
	for what, text := range map[string]string{"Lineage": m.Lineage, "System": m.System, "Database": m.Database} {
		if len(text) > tiers.MaxName {
			return fmt.Errorf("%s has %d bytes, the limit is %d", what, len(text), tiers.MaxName)
		}
	}
	return nil
}

// DecodeMark reads the mark raw of namespace, as totally as [Seal.Decode] reads
// an entry: a mark, a [*tiers.CorruptError] whose Raw is raw, or an error that
// is [tiers.ErrForeign]. It looks at no more than [MaxMark] bytes.
func (s *Seal) DecodeMark(namespace string, raw []byte) (tiers.Mark, error) {
	corrupt := func(reason string) (tiers.Mark, error) {
		return tiers.Mark{}, &tiers.CorruptError{Raw: raw, Reason: "mark: " + reason}
	}
	switch {
	case len(raw) < markSumAt:
		return corrupt(Short)
	case raw[0] != kindMark || raw[markSumAt-1] != ' ':
		return corrupt(Header)
	}
	if reason, err := s.judge(raw[1], raw[2]); err != nil {
		return tiers.Mark{}, fmt.Errorf("mark: %w", err)
	} else if reason != "" {
		return corrupt(reason)
	}
	bodyAt := markSumAt + s.digits()
	switch {
	case len(raw) < bodyAt:
		return corrupt(Short)
	case len(raw) > MaxMark:
		return corrupt(Size)
	case !s.sums(raw[markSumAt:bodyAt], markPlace(namespace, raw[:markSumAt]), raw[bodyAt:]):
		return corrupt(Sum)
	}
	m, ok := parseMark(string(raw[bodyAt:]))
	// Written anew it must be the same text: no zero more, no escape less.
	if !ok || markable(namespace, m) != nil || string(appendMark(nil, m)) != string(raw[bodyAt:]) {
		return corrupt(Spelling)
	}
	return m, nil
}

// markPlace is what the sum of a mark covers besides its text. That of an
// entry begins with a namespace and never with a NUL, so neither passes for the other.
func markPlace(namespace string, head []byte) []byte {
	return append([]byte("\x00"+namespace+"\x00"), head...)
}

func appendMark(dst []byte, m tiers.Mark) []byte {
	dst = fmt.Appendf(dst, " fed=%d epoch=%d timeline=%d", m.Fed, m.Epoch, m.Timeline)
	// ASCII alone: which other characters are printable changes with Unicode.
	dst = strconv.AppendQuoteToASCII(append(dst, " lineage="...), m.Lineage)
	dst = strconv.AppendQuoteToASCII(append(dst, " system="...), m.System)
	return strconv.AppendQuoteToASCII(append(dst, " database="...), m.Database)
}

// parseMark reads what appendMark wrote, and some that it would not write.
func parseMark(text string) (m tiers.Mark, ok bool) {
	f := fields{rest: text}
	m.Fed = f.number(" fed=", 64)
	m.Epoch = uint32(f.number(" epoch=", 32))
	m.Timeline = uint32(f.number(" timeline=", 32))
	m.Lineage = f.text(" lineage=")
	m.System = f.text(" system=")
	m.Database = f.text(" database=")
	return m, !f.bad && f.rest == ""
}

// fields is a text that is read field by field; once it was bad it stays so.
type fields struct {
	rest string
	bad  bool
}

func (f *fields) number(key string, bits int) uint64 {
	f.skip(key)
	digits, _, _ := strings.Cut(f.rest, " ")
	n, err := strconv.ParseUint(digits, 10, bits)
	f.bad = f.bad || err != nil
	f.skip(digits)
	return n
}

func (f *fields) text(key string) string {
	f.skip(key)
	quoted, err := strconv.QuotedPrefix(f.rest)
	f.bad = f.bad || err != nil
	f.skip(quoted)
	text, err := strconv.Unquote(quoted)
	f.bad = f.bad || err != nil
	return text
}

func (f *fields) skip(prefix string) {
	rest, ok := strings.CutPrefix(f.rest, prefix)
	f.rest, f.bad = rest, f.bad || !ok
}
