package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// What others may do to our keys on a real server. Whatever it is, a read gives
// a miss or damage with its bytes, never a value that was not filled there, and
// a fill from the source repairs it.

// A bad deed is done to the key of an entry that stands; spare is the key of
// another entry, with a higher stamp.
type deed struct {
	what string
	do   func(op *operator, key, spare string)
	// The read is a plain miss: the place is empty, or what stands there is of
	// no use to Replace.
	empty bool
}

var deeds = []deed{
	{"garbage", set(func(string) string { return "\x00\xff\r\n$3\r\nnonsense" }), false},
	{"nothing", set(func(string) string { return "" }), false},
	{"JSON of another program", set(func(string) string { return `{"value": 3, "at": "2020-01-01"}` }), false},
	{"a number", set(func(string) string { return "12345678901234567890123456789012345" }), false},
	{"compressed", set(func(raw string) string { return "\x1f\x8b\x08\x00" + raw }), false},
	{"in double quotes", set(func(raw string) string { return fmt.Sprintf("%q", raw) }), false},
	{"with a byte order mark", set(func(raw string) string { return "\xef\xbb\xbf" + raw }), false},
	{"with a line's end", set(func(raw string) string { return raw + "\n" }), false},
	{"cut in its header", set(func(raw string) string { return raw[:20] }), false},
	{"cut behind its stamp", set(func(raw string) string { return raw[:31] }), false},
	{"cut in its value", set(func(raw string) string { return raw[:len(raw)-1] }), false},
	{"stamp of the future", set(func(raw string) string { return "V429496729518446744073709551615" + raw[31:] }), false},
	{"stamp of the past", set(func(raw string) string { return "V000000000000000000000000000000" + raw[31:] }), false},
	{"stamp that is none", set(func(raw string) string { return "V999999999999999999999999999999" + raw[31:] }), false},
	{"made absent", set(func(raw string) string { return "T" + raw[1:42] }), false},
	{"future and garbage", set(func(string) string { return "V429496729518446744073709551615" + "garbage" }), false},
	{"APPEND", func(op *operator, key, _ string) { op.do("APPEND", key, "1") }, false},
	{"SETRANGE", func(op *operator, key, _ string) { op.do("SETRANGE", key, "100", "1") }, false},
	{"BITFIELD", func(op *operator, key, _ string) { op.do("BITFIELD", key, "INCRBY", "u1", "261", "1") }, false},
	{"RENAME of another over it", func(op *operator, key, spare string) { op.do("RENAME", spare, key) }, false},
	{"COPY of another over it", func(op *operator, key, spare string) { op.do("COPY", spare, key, "REPLACE") }, false},
	{"a list", retype("LPUSH", "1"), true},
	{"a hash", retype("HSET", "f", "1"), true},
	{"a stream", retype("XADD", "*", "f", "1"), true},
	{"DEL", func(op *operator, key, _ string) { op.do("DEL", key) }, true},
	{"RENAME away", func(op *operator, key, _ string) { op.do("RENAME", key, key+":gone") }, true},
	{"EXPIRE", func(op *operator, key, _ string) { op.do("PEXPIRE", key, "1") }, true},
	{"EXPIRE in the past", func(op *operator, key, _ string) { op.do("EXPIRE", key, "-1") }, true},
	{"MOVE", func(op *operator, key, _ string) { op.do("MOVE", key, "1") }, true},
	{"FLUSHDB", func(op *operator, _, _ string) { op.do("FLUSHDB") }, true},
}

func set(spoil func(raw string) string) func(*operator, string, string) {
	return func(op *operator, key, _ string) {
		raw, _ := op.do("GET", key).ToString()
		op.do("SET", key, spoil(raw))
	}
}

func retype(command string, args ...string) func(*operator, string, string) {
	return func(op *operator, key, _ string) {
		op.do("DEL", key)
		op.do(append([]string{command, key}, args...)...)
	}
}

func TestR37BadDataIsNeverAValueAndIsRepaired(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	for what, c := range map[string]*Cache{"plain": open(t, r.URL()), "sealed": openSealed(t, r.URL())} {
		t.Run(what, func(t *testing.T) {
			for _, d := range deeds {
				t.Run(d.what, func(t *testing.T) { suffers(t, c, op, d) })
			}
		})
	}
}

func suffers(t *testing.T, c *Cache, op *operator, d deed) {
	op.do("FLUSHALL")
	right, spare := value("x", 3, 421, `{"rate": 0.25}`), value("spare", 3, 999, `{"rate": 0.75}`)
	put(t, c, right)
	put(t, c, spare)
	eventually(t, "the right value", func() bool { return string(load(t, c, "x").Data) == string(right.Data) })
	d.do(op, keyOf("x"), keyOf("spare"))

	var bad *tiers.CorruptError
	eventually(t, "the deed to be seen", func() bool {
		got := load(t, c, "x")
		if got.Err == nil && (string(got.Data) != string(right.Data) || got.Stamp != right.Stamp) {
			t.Fatalf("a wrong value: %v %v %q", got.Kind, got.Stamp, got.Data)
		}
		if got.Err != nil && !errors.Is(got.Err, tiers.ErrMiss) {
			t.Fatalf("no miss: %v", got.Err)
		}
		errors.As(got.Err, &bad)
		return got.Err != nil
	})
	repair := tiers.Fill{Record: right}
	if !d.empty {
		if raw := op.get("x"); bad == nil || string(bad.Raw) != raw {
			t.Fatalf("damage %v, the bytes are %q", bad, raw)
		}
		repair.Replace = bad.Raw
	}
	if !fill(t, c, repair) {
		t.Fatal("not repaired")
	}
	eventually(t, "the repair to be seen", func() bool { return string(load(t, c, "x").Data) == string(right.Data) })
	if ttl, _ := op.do("PTTL", keyOf("x")).AsInt64(); ttl != -1 {
		t.Errorf("expires in %d ms", ttl)
	}
}

// Each bit of an entry, flipped where it stands.
func TestEveryBitFlippedOnTheServerIsSeen(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	for what, c := range map[string]*Cache{"plain": open(t, r.URL()), "sealed": openSealed(t, r.URL())} {
		op.do("FLUSHALL")
		right := value("x", 3, 421, `7`)
		put(t, c, right)
		raw := op.get("x")
		for i := range 8 * len(raw) {
			bad := []byte(raw)
			bad[i/8] ^= 1 << (i % 8)
			op.do("SET", keyOf("x"), string(bad))
			eventually(t, fmt.Sprintf("bit %d to be seen, %s", i, what), func() bool {
				got := load(t, c, "x")
				if got.Err == nil && (string(got.Data) != `7` || got.Stamp != right.Stamp) {
					t.Fatalf("%s, bit %d: %v %q", what, i, got.Stamp, got.Data)
				}
				corrupt, ok := errors.AsType[*tiers.CorruptError](got.Err)
				return ok && string(corrupt.Raw) == string(bad)
			})
		}
	}
}

// A value from the future that is whole is believed, until its bytes are named
// by who has asked the source: a poisoned entry, or one of a disk set back.
func TestAnEntryOfTheFutureIsReplacedByName(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	for i, future := range []tiers.Record{value("x", 1<<32-1, 1<<64-1, `"future"`), absent("y", 1<<32-1, 1<<64-1, false), absent("z", 1<<32-1, 1<<64-1, true)} {
		put(t, c, future)
		right := value(future.Name, 3, 421, `"right"`)
		refused := c.Fill(limit(t, patience), ns, []tiers.Fill{{Record: right}})[0]
		if refused.Stored || !refused.Ahead || refused.Err != nil {
			t.Errorf("%d: %+v, want ahead", i, refused)
		}
		found := load(t, c, future.Name)
		if !fill(t, c, tiers.Fill{Record: right, Replace: found.Raw}) {
			t.Fatalf("%d: not replaced", i)
		}
		eventually(t, "the right value", func() bool { return string(load(t, c, future.Name).Data) == `"right"` })
	}
}

// Whatever is done to the mark, nobody takes it for another one.
func TestBadDeedsToAMark(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	for what, c := range map[string]*Cache{"plain": open(t, r.URL()), "sealed": openSealed(t, r.URL())} {
		for _, d := range deeds {
			if strings.Contains(d.what, "cut") || d.what == "made absent" {
				continue // of an entry's form
			}
			t.Run(what+" "+d.what, func(t *testing.T) {
				op.do("FLUSHALL")
				elsewhere := markKey(defaultPrefix, spaceOf("elsewhere"))
				putMark(t, c, tiers.Mark{}, markOf(3, 7))
				if _, err := c.PutMark(limit(t, patience), "elsewhere", tiers.Mark{}, markOf(9, 9)); err != nil {
					t.Fatal(err)
				}
				d.do(op, markKeyOf(), elsewhere)
				eventually(t, "the deed to be seen", func() bool {
					m, err := c.Mark(limit(t, patience), ns)
					if err == nil && m != markOf(3, 7) || err != nil && !errors.Is(err, tiers.ErrMiss) {
						t.Fatalf("%+v, %v", m, err)
					}
					return err != nil
				})
				if putMark(t, c, markOf(3, 7), markOf(3, 8)) || !putMark(t, c, tiers.Mark{}, markOf(4, 1)) {
					t.Error("not taken for no mark")
				}
			})
		}
	}
}
