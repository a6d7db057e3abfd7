package envelope

// The sum that stands in entries and marks: a checksum, or with a key a code
// that nobody makes without it.

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"

	"github.com/fastopt/fastopt-go/tiers"
)

// A Seal makes and checks the sums of one key: HMAC-SHA256, cut to 128 bits as
// RFC 2104 allows. A nil Seal has no key and sums by CRC-32C. What was sealed
// is foreign to who has no key, and what was not is corrupt to who has one.
//
// A sum says who wrote the bytes and for which place, not when: an older entry
// of the same name, put back, is an entry. Its methods are safe for concurrent use.
type Seal struct {
	key []byte // immutable; never printed
}

// NewSeal returns the seal of a copy of key, whose strength is the caller's to check.
func NewSeal(key []byte) *Seal { return &Seal{append([]byte(nil), key...)} }

// Format hides the key from every verb of package fmt.
func (s *Seal) Format(f fmt.State, _ rune) { fmt.Fprint(f, "seal") }

// Versions of the format. A process without a key knows the first alone.
const (
	versionPlain  = '1'
	versionSealed = '2'
)

const (
	crcDigits = 8
	macBytes  = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Overhead is the number of bytes that an envelope adds to its payload.
func (s *Seal) Overhead() int { return sumAt + s.digits() }

func (s *Seal) version() byte {
	if s == nil {
		return versionPlain
	}
	return versionSealed
}

func (s *Seal) digits() int {
	if s == nil {
		return crcDigits
	}
	return 2 * macBytes
}

// judge says whether bytes of version v, written twice, are to be read: a
// reason why they are corrupt, an error that is [tiers.ErrForeign], or neither.
func (s *Seal) judge(v, again byte) (reason string, err error) {
	switch {
	case v != again || v < versionPlain:
		return Header, nil
	case v == versionSealed && s == nil:
		return "", fmt.Errorf("%w: sealed with a key (set MACKey)", tiers.ErrForeign)
	case v > versionSealed:
		return "", fmt.Errorf("%w: format %q", tiers.ErrForeign, v)
	case v < s.version():
		return Unsealed, nil
	}
	return "", nil
}

// appendSum appends the sum of head and body, in lower case: one text has one spelling.
func (s *Seal) appendSum(dst, head, body []byte) []byte {
	if s == nil {
		sum := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body)
		return hex.AppendEncode(dst, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	}
	mac := hmac.New(sha256.New, s.key)
	mac.Write(head)
	mac.Write(body)
	return hex.AppendEncode(dst, mac.Sum(nil)[:macBytes])
}

// sums reports whether text is the sum of head and body, in a time that does
// not tell how much of it is right.
func (s *Seal) sums(text, head, body []byte) bool {
	return hmac.Equal(text, s.appendSum(make([]byte, 0, 2*macBytes), head, body))
}
