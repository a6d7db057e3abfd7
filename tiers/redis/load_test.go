package redis

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

func TestLoadKeepsOrderAndOutcomesApart(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	put(t, c, value("a", 1, 1, `"a"`))
	put(t, c, absent("gone", 1, 2, false))
	put(t, c, absent("never", 1, 3, true))
	for _, round := range []string{"once", "again"} {
		before := time.Now()
		got := c.Load(limit(t, patience), ns, []string{"miss", "gone", "a", "", "never"})
		after := time.Now()
		if !errors.Is(got[0].Err, tiers.ErrMiss) || got[0].Name != "miss" {
			t.Errorf("%s: miss: %v", round, got[0].Err)
		}
		if got[1].Err != nil || got[1].Kind != tiers.Absent || got[1].NoRow || got[1].Data != nil {
			t.Errorf("%s: gone: %+v", round, got[1].Err)
		}
		if got[2].Err != nil || got[2].Kind != tiers.Value || string(got[2].Data) != `"a"` {
			t.Errorf("%s: a: %v", round, got[2].Err)
		}
		if got[3].Err == nil || errors.Is(got[3].Err, tiers.ErrMiss) {
			t.Errorf("%s: no name: %v", round, got[3].Err)
		}
		if got[4].Err != nil || !got[4].NoRow {
			t.Errorf("%s: never: %v", round, got[4].Err)
		}
		for _, res := range got {
			if res.Err == nil && (res.AsOf.After(after) || res.AsOf.Before(before)) {
				t.Errorf("%s: %q as of %v", round, res.Name, res.AsOf.Sub(before))
			}
		}
	}
}

// What was read on a connection that has ended is not tracked.
func TestAnAnswerOfAnEndedSessionIsNone(t *testing.T) {
	r := private(t)
	c := ready(t, open(t, r.URL()))
	put(t, c, value("x", 1, 1, `1`))
	s, _ := c.hub.session(t.Context())
	c.hub.down(errDialed)
	for _, name := range []string{"x", "unread"} {
		if err := c.read(s, []string{keyOf(name)}).result(ns, name, 0).Err; !errors.Is(err, tiers.ErrUnavailable) {
			t.Errorf("a session that has ended gave %v", err)
		}
	}
}

func TestLoadOfAThousandNames(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	var names []string
	var fills []tiers.Fill
	for i := range 1000 {
		names = append(names, fmt.Sprintf("many-%d", i))
		fills = append(fills, tiers.Fill{Record: value(names[i], 1, uint64(i+1), fmt.Sprint(i))})
	}
	for _, res := range c.Load(limit(t, patience), ns, names) {
		if !errors.Is(res.Err, tiers.ErrMiss) {
			t.Fatal(res.Err)
		}
	}
	for i, res := range c.Fill(limit(t, patience), ns, fills) {
		if res.Err != nil || !res.Stored {
			t.Fatalf("%s: stored %v, %v", names[i], res.Stored, res.Err)
		}
	}
	for _, name := range names {
		l.after(t, 0, "a push for "+name, changed(name))
	}
	for i, res := range c.Load(limit(t, patience), ns, names) {
		if res.Err != nil || string(res.Data) != fmt.Sprint(i) {
			t.Fatalf("%s: %v", names[i], res.Err)
		}
	}
}

// Bytes that are no entry are a miss; a fill that names them repairs the key,
// whatever stamp they seem to carry.
func TestDamagedEntriesAreMissesAndRepaired(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	good, err := envelope.Encode(nil, ns, value("damaged", 4000000000, 1<<63, `"future"`))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := envelope.Encode(nil, ns, value("other", 4000000000, 1<<63, `"future"`))
	flipped := []byte(string(good))
	flipped[len(flipped)-3] ^= 1
	for what, raw := range map[string][]byte{
		"empty":        {},
		"garbage":      []byte("\x00\xffnonsense"),
		"truncated":    good[:len(good)-4],
		"header alone": good[:envelope.Stamped],
		"flipped bit":  flipped,
		"other name":   other,
		"huge":         append(append([]byte{}, good...), make([]byte, 2*tiers.MaxData)...),
	} {
		t.Run(what, func(t *testing.T) {
			op.do("SET", keyOf("damaged"), string(raw))
			var bad *tiers.CorruptError
			eventually(t, "the damage to be seen", func() bool {
				var ok bool
				bad, ok = errors.AsType[*tiers.CorruptError](load(t, c, "damaged").Err)
				return ok && string(bad.Raw) == string(raw)
			})
			right := value("damaged", 1, 1, `"right"`)
			if !fill(t, c, tiers.Fill{Record: right, Replace: bad.Raw}) {
				t.Fatal("not repaired")
			}
			eventually(t, "the repair to be seen", func() bool { return load(t, c, "damaged").Stamp == right.Stamp })
		})
	}
}

func TestAKeyOfAnotherTypeIsCorruptAndReplaced(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	for _, make := range [][]string{{"LPUSH", keyOf("typed"), "1"}, {"HSET", keyOf("typed"), "f", "1"}} {
		op.do("DEL", keyOf("typed"))
		op.do(make...)
		eventually(t, "the wrong type to be seen", func() bool {
			bad, ok := errors.AsType[*tiers.CorruptError](load(t, c, "typed").Err)
			return ok && bad.Raw == nil
		})
		put(t, c, value("typed", 1, 1, `1`))
		eventually(t, "the repair to be seen", func() bool { return load(t, c, "typed").Err == nil })
	}
}

func TestR40AnEntryOfANewerVersionIsForeign(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	op.do("SET", keyOf("foreign"), "V000000000100000000000000000001"+"99"+"a later format")
	if err := load(t, c, "foreign").Err; !errors.Is(err, tiers.ErrForeign) || errors.Is(err, tiers.ErrMiss) {
		t.Errorf("got %v", err)
	}
}

func TestLeaseIsHeldByOneAtATime(t *testing.T) {
	r := private(t)
	a, b := open(t, r.URL()), open(t, r.URL())
	ctx := limit(t, patience)
	held, err := a.Lease(ctx, ns, []string{"x"}, time.Hour)
	if err != nil || !held[0] {
		t.Fatalf("first: %v, %v", held, err)
	}
	if held, err = b.Lease(ctx, ns, []string{"x", "z"}, time.Hour); err != nil || held[0] || !held[1] {
		t.Errorf("second: %v, %v", held, err)
	}
	if held, err = b.Lease(ctx, ns, []string{"y"}, time.Nanosecond); err != nil || !held[0] {
		t.Errorf("other name: %v, %v", held, err)
	}
	eventually(t, "the short lease to end", func() bool {
		held, err := a.Lease(ctx, ns, []string{"y"}, time.Hour)
		return err == nil && held[0]
	})
	if _, err = a.Lease(ctx, ns, []string{"x"}, 0); err == nil || errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("a lease of 0: %v", err)
	}
	put(t, a, value("x", 1, 1, `1`)) // a lease does not stand in the entry's place
}

func TestAnEndedContextIsNoCall(t *testing.T) {
	r := private(t)
	c := ready(t, open(t, r.URL()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Load(ctx, ns, []string{"x"})[0].Err; !errors.Is(err, context.Canceled) || !errors.Is(err, tiers.ErrUnavailable) {
		t.Errorf("load: %v", err)
	}
	if err := c.Fill(ctx, ns, []tiers.Fill{{Record: value("x", 1, 1, `1`)}})[0].Err; !errors.Is(err, context.Canceled) {
		t.Errorf("fill: %v", err)
	}
	if _, err := c.Lease(ctx, ns, []string{"x"}, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("lease: %v", err)
	}
	if err := c.Watch(ctx, ns, func(tiers.Event) { t.Error("heard something") }); !errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v", err)
	}
	if load(t, c, "x").Err == nil {
		t.Error("the fill was sent")
	}
}
