package fastopt

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Option names: [a-z0-9][a-z0-9._:-]{0,127}. The grammar keeps names legible in
// logs and free of what means something to a shell, a URL, SQL or Redis; '/' is
// left to separate the prefix of a family from the key, which is any text of 1 to
// 255 bytes without control characters.

// maxName is the longest name of an option or prefix of a family, in bytes.
const maxName = 128

func checkName(name string) error {
	switch {
	case name == "":
		return because(ErrInvalidName, "it is empty")
	case len(name) > maxName:
		return because(ErrInvalidName, "it has %d bytes, the limit is %d", len(name), maxName)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case i > 0 && strings.IndexByte("._:-", c) >= 0:
		default:
			return because(ErrInvalidName, "byte %d is not allowed; names match [a-z0-9][a-z0-9._:-]{0,%d}", i, maxName-1)
		}
	}
	return nil
}

// maxKey is the longest key of a family, in bytes. With the longest prefix it
// makes a name that every tier takes.
const maxKey = 255

// checkFamilyKey checks what follows the prefix in the name of a family's member.
// Users name tenants and regions as they like, so that it is any text; what it
// may not hold would break lines of logs, or a tier would refuse.
func checkFamilyKey(key string) error {
	switch {
	case key == "":
		return because(ErrInvalidName, "the key is empty")
	case len(key) > maxKey:
		return because(ErrInvalidName, "the key has %d bytes, the limit is %d", len(key), maxKey)
	case !utf8.ValidString(key):
		return because(ErrInvalidName, "the key is not valid UTF-8")
	}
	if i := strings.IndexFunc(key, unicode.IsControl); i >= 0 {
		return because(ErrInvalidName, "the key has a control character at byte %d", i)
	}
	return nil
}

// unknown is the error for a name that nobody declared: it suggests the
// declared name that is fewest edits away, if that is near enough for a typo.
func unknown(name string, declared func(yield func(string) bool)) error {
	best, at := "", min(len(name)/3+1, 8)
	if len(name) <= maxName {
		for have := range declared {
			if d := distance(name, have, at); d <= at && (best == "" || d < at) {
				best, at = have, d
			}
		}
	}
	if best == "" {
		return ErrUnknownOption
	}
	return because(ErrUnknownOption, "did you mean %q?", best)
}

// distance is the Levenshtein distance of a and b, or more than limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := diagonal
			if a[i-1] != b[j-1] {
				substitute++
			}
			diagonal = row[j]
			row[j] = min(substitute, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
