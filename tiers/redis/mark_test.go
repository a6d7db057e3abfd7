package redis

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

func markOf(epoch uint32, fed uint64) tiers.Mark {
	return tiers.Mark{Identity: tiers.Identity{Lineage: "5e3c", System: "7421", Timeline: 2, Database: "16384", Epoch: epoch}, Fed: fed}
}

func putMark(t *testing.T, c *Cache, old, next tiers.Mark) bool {
	t.Helper()
	stored, err := c.PutMark(limit(t, patience), ns, old, next)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func markKeyOf() string { return markKey(defaultPrefix, spaceOf(ns)) }

// Every step of the mark would else be a push to every process, once a second.
func TestReadingAMarkTracksNothing(t *testing.T) {
	r := private(t)
	c, op := ready(t, open(t, r.URL())), operate(t, r.Addr())
	tracked := func() string {
		info, _ := op.do("INFO", "stats").ToString()
		_, rest, _ := strings.Cut(info, "tracking_total_keys:")
		n, _, _ := strings.Cut(rest, "\r")
		return n
	}
	last := tiers.Mark{}
	for fed := range uint64(50) {
		putMark(t, c, last, markOf(3, fed+1))
		last = markOf(3, fed+1)
		if got, err := c.Mark(limit(t, patience), ns); err != nil || got != last {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if n := tracked(); n != "0" {
		t.Errorf("the server tracks %s keys", n)
	}
	load(t, c, "x")
	if n := tracked(); n != "1" {
		t.Errorf("the server tracks %s keys after a load", n)
	}
}

// Whatever stands there and is no mark is none, and replaced by whoever says so.
func TestBytesThatAreNoMarkCountAsNone(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	good, err := (*envelope.Seal)(nil).EncodeMark(nil, ns, markOf(3, 7))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := (*envelope.Seal)(nil).EncodeMark(nil, "other", markOf(3, 7))
	flipped := []byte(string(good))
	flipped[len(flipped)-3] ^= 1
	for what, raw := range map[string]string{
		"empty": "", "garbage": "\x00\xffnonsense", "truncated": string(good[:len(good)-1]), "flipped bit": string(flipped),
		"of another namespace": string(other), "an entry": "V00000000010000000000000000000111-00000000", "huge": strings.Repeat("M", 1<<20),
	} {
		t.Run(what, func(t *testing.T) {
			op.do("SET", markKeyOf(), raw)
			_, err := c.Mark(limit(t, patience), ns)
			if bad, ok := errors.AsType[*tiers.CorruptError](err); !ok || string(bad.Raw) != raw {
				t.Fatalf("got %v", err)
			}
			if putMark(t, c, markOf(3, 7), markOf(3, 8)) {
				t.Error("stored over a mark that does not stand there")
			}
			if !putMark(t, c, tiers.Mark{}, markOf(4, 1)) {
				t.Fatal("not replaced")
			}
			if got, err := c.Mark(limit(t, patience), ns); err != nil || got != markOf(4, 1) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestAKeyOfAnotherTypeIsNoMark(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	op.do("LPUSH", markKeyOf(), "1")
	if _, err := c.Mark(limit(t, patience), ns); !errors.Is(err, tiers.ErrMiss) {
		t.Errorf("got %v", err)
	}
	if putMark(t, c, markOf(1, 1), markOf(1, 2)) {
		t.Error("stored over a mark that does not stand there")
	}
	if !putMark(t, c, tiers.Mark{}, markOf(1, 1)) {
		t.Error("not replaced")
	}
}

// Who cannot read a mark must not take a cache over.
func TestAMarkOfANewerVersionIsLeftAlone(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	op.do("SET", markKeyOf(), "M99 a later format")
	if _, err := c.Mark(limit(t, patience), ns); !errors.Is(err, tiers.ErrForeign) || errors.Is(err, tiers.ErrMiss) {
		t.Errorf("mark: %v", err)
	}
	if stored, err := c.PutMark(limit(t, patience), ns, tiers.Mark{}, markOf(1, 1)); stored || !errors.Is(err, tiers.ErrForeign) {
		t.Errorf("put: %v, %v", stored, err)
	}
}

// A mark that somebody lets expire goes on once it is fed.
func TestAStepOfTheMarkEndsItsExpiry(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	putMark(t, c, tiers.Mark{}, markOf(1, 1))
	op.do("EXPIRE", markKeyOf(), "1000")
	putMark(t, c, markOf(1, 1), markOf(1, 2))
	if ttl, _ := op.do("TTL", markKeyOf()).AsInt64(); ttl != -1 {
		t.Errorf("expires in %d s", ttl)
	}
	op.do("PEXPIRE", markKeyOf(), "1")
	eventually(t, "the mark to be gone", func() bool {
		_, err := c.Mark(limit(t, patience), ns)
		return errors.Is(err, tiers.ErrMiss)
	})
	if putMark(t, c, markOf(1, 2), markOf(1, 3)) {
		t.Error("stored over a mark that is gone")
	}
}

// Bytes that change while they are found to be no mark are looked at again.
func TestPutMarkEndsWhileAnotherWritesNonsense(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	op.do("SET", markKeyOf(), "0")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; t.Context().Err() == nil && i < 2000; i++ {
			op.client.Do(t.Context(), op.client.B().Arbitrary("APPEND", markKeyOf(), "x").Build())
		}
	}()
	for range 20 {
		start := time.Now()
		stored, err := c.PutMark(limit(t, patience), ns, tiers.Mark{}, markOf(1, 1))
		if err != nil || time.Since(start) > patience/2 {
			t.Fatalf("stored %v, %v after %v", stored, err, time.Since(start))
		}
	}
	<-done
}

func TestPutMarkSaysWhatIsNoMark(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	long := markOf(1, 1)
	long.Database = strings.Repeat("x", tiers.MaxName+1)
	for what, m := range map[string]tiers.Mark{"zero mark": {}, "Database": long} {
		stored, err := c.PutMark(limit(t, patience), ns, tiers.Mark{}, m)
		if stored || err == nil || errors.Is(err, tiers.ErrUnavailable) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v, %v", what, stored, err)
		}
	}
}

func TestTheDocumentedRightsSufficeForMarks(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	op.do(rights(t)...)
	c := open(t, "redis://fastopt:"+canary+"@"+r.Addr())
	if !putMark(t, c, tiers.Mark{}, markOf(1, 1)) || !putMark(t, c, markOf(1, 1), markOf(1, 2)) {
		t.Error("not stored")
	}
	if got, err := c.Mark(limit(t, patience), ns); err != nil || got != markOf(1, 2) {
		t.Errorf("%+v, %v", got, err)
	}
	// What may not be read must not count as no mark.
	held, _ := op.do("GET", markKeyOf()).ToString()
	op.do("ACL", "SETUSER", "fastopt", "-get")
	if stored, err := c.PutMark(limit(t, patience), ns, tiers.Mark{}, markOf(9, 9)); stored || !errors.Is(err, tiers.ErrSetup) {
		t.Errorf("put without the right to read: %v, %v", stored, err)
	}
	if _, err := c.Mark(limit(t, patience), ns); !errors.Is(err, tiers.ErrSetup) {
		t.Errorf("mark without the right to read: %v", err)
	}
	if now, _ := op.do("GET", markKeyOf()).ToString(); now != held {
		t.Errorf("overwritten: %q", now)
	}
}
