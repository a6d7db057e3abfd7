package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

func TestFillStoresOnlyWhatIsNewer(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	stored := value("x", 2, 10, `"held"`)
	cases := []struct {
		what  string
		held  tiers.Record
		offer tiers.Record
		want  bool
	}{
		{"newer", stored, value("x", 2, 11, `1`), true},
		{"equal", stored, value("x", 2, 10, `1`), false},
		{"older", stored, value("x", 2, 9, `1`), false},
		{"more digits", value("x", 2, 9, `1`), value("x", 2, 10, `2`), true},
		{"higher epoch, lower revision", stored, value("x", 3, 1, `1`), true},
		{"lower epoch, higher revision", stored, value("x", 1, 99, `1`), false},
		{"newer delete", stored, absent("x", 2, 11, false), true},
		{"older delete", stored, absent("x", 2, 9, false), false},
		{"newer no row over a value", stored, absent("x", 2, 11, true), true},
		{"newer no row over no row", absent("x", 2, 10, true), absent("x", 2, 11, true), false},
		{"newer no row over a delete", absent("x", 2, 10, false), absent("x", 2, 11, true), false},
		{"no row over no row of an older epoch", absent("x", 2, 10, true), absent("x", 3, 1, true), true},
		{"newer delete over no row", absent("x", 2, 10, true), absent("x", 2, 11, false), true},
		{"older value over no row", absent("x", 2, 10, true), value("x", 2, 9, `1`), false},
		{"largest revisions", value("x", 2, 1<<64-2, `1`), value("x", 2, 1<<64-1, `2`), true},
		{"largest revisions, reversed", value("x", 2, 1<<64-1, `1`), value("x", 2, 1<<64-2, `2`), false},
	}
	for i, k := range cases {
		t.Run(k.what, func(t *testing.T) {
			name := fmt.Sprintf("newer-%d", i)
			k.held.Name, k.offer.Name = name, name
			put(t, c, k.held)
			if got := fill(t, c, tiers.Fill{Record: k.offer}); got != k.want {
				t.Fatalf("stored is %v", got)
			}
			want := k.held
			if k.want {
				want = k.offer
			}
			got := load(t, c, name)
			if got.Err != nil || got.Stamp != want.Stamp || got.Kind != want.Kind || got.NoRow != want.NoRow || string(got.Data) != string(want.Data) {
				t.Errorf("holds %v %v, %v", got.Kind, got.Stamp, got.Err)
			}
		})
	}
}

func TestFillReplacesExactlyTheBytesNamed(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	put(t, c, value("poisoned", 9, 9, `"poison"`))
	bytes := []byte(op.get("poisoned"))

	older := value("poisoned", 1, 1, `"right"`)
	if fill(t, c, tiers.Fill{Record: older, Replace: append(bytes[:len(bytes):len(bytes)], ' ')}) {
		t.Error("stored over other bytes than the ones named")
	}
	if fill(t, c, tiers.Fill{Record: older, Replace: []byte{}}) {
		t.Error("stored over other bytes than none")
	}
	if !fill(t, c, tiers.Fill{Record: older, Replace: bytes}) {
		t.Error("not stored over the bytes named")
	}
	if got := load(t, c, "poisoned"); got.Stamp != older.Stamp {
		t.Errorf("holds %v", got.Stamp)
	}
	if fill(t, c, tiers.Fill{Record: value("poisoned", 0, 1, `1`), Replace: bytes}) {
		t.Error("stored again after the bytes had gone")
	}
}

// A header that is no stamp counts as empty: digits alone do not make one.
func TestFillReplacesAHeaderThatIsNoStamp(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	for _, header := range []string{"V9999999999" + "00000000000000000001", "V0000000001" + "99999999999999999999"} {
		op.do("SET", keyOf("x"), header+"11-00000000")
		if !fill(t, c, tiers.Fill{Record: value("x", 1, 1, `1`)}) {
			t.Errorf("refused for %s", header)
		}
	}
}

func TestFillSetsAndDropsTheExpiry(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	fill(t, c, tiers.Fill{Record: value("ttl", 1, 1, `1`), TTL: time.Hour})
	if ms, _ := op.do("PTTL", keyOf("ttl")).AsInt64(); ms < 3_500_000 || ms > 3_600_000 {
		t.Errorf("expires in %d ms", ms)
	}
	fill(t, c, tiers.Fill{Record: value("ttl", 1, 2, `1`)})
	if ms, _ := op.do("PTTL", keyOf("ttl")).AsInt64(); ms != -1 {
		t.Errorf("expires in %d ms, not never", ms)
	}
	if !fill(t, c, tiers.Fill{Record: value("ttl", 1, 3, `1`), TTL: time.Nanosecond}) {
		t.Error("a time below a millisecond is refused")
	}
}

func TestFillGoesOnAfterTheServerForgotTheScript(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	for round := range uint64(3) {
		op.do("SCRIPT", "FLUSH")
		var fills []tiers.Fill
		for i := range 50 {
			fills = append(fills, tiers.Fill{Record: value(fmt.Sprintf("script-%d", i), 1, round+1, `1`)})
		}
		for i, res := range c.Fill(limit(t, patience), ns, fills) {
			if res.Err != nil || !res.Stored {
				t.Fatalf("round %d, fill %d: stored %v, %v", round, i, res.Stored, res.Err)
			}
		}
	}
}

func TestFillFailsPerRecord(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	fills := []tiers.Fill{
		{Record: value("good-1", 1, 1, `1`)},
		{Record: value("", 1, 1, `1`)},
		{Record: tiers.Record{Name: "large", Kind: tiers.Value, Oversize: 2 << 20}},
		{Record: value("negative", 1, 1, `1`), TTL: -1},
		{Record: value("good-2", 1, 1, `1`)},
	}
	for i, res := range c.Fill(limit(t, patience), ns, fills) {
		if good := strings.HasPrefix(fills[i].Name, "good"); good != (res.Err == nil) || good != res.Stored {
			t.Errorf("%q: stored %v, %v", fills[i].Name, res.Stored, res.Err)
		}
		if errors.Is(res.Err, tiers.ErrUnavailable) {
			t.Errorf("%q: %v blames the server", fills[i].Name, res.Err)
		}
	}
}

func TestLargestRecordFits(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	data := `"` + strings.Repeat("x", tiers.MaxData-2) + `"`
	put(t, c, value("large", 1, 1, data))
	if got := load(t, c, "large"); got.Err != nil || string(got.Data) != data {
		t.Errorf("%d bytes came back, %v", len(got.Data), got.Err)
	}
}

// The server repeats the arguments of a command that it does not know.
func TestErrorsOfTheServerNeverTellAValue(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	said := op.client.Do(limit(t, patience), op.client.B().Arbitrary("EVALSHB").Args("sum", canary).Build()).Error()
	if said == nil || !strings.Contains(said.Error(), canary) {
		t.Fatalf("the server said %v", said)
	}
	err := explain(said)
	if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "EVALSHB") {
		t.Errorf("got %v", err)
	}
	if strings.Contains(fmt.Sprintf("%+v", err), canary) {
		t.Error("the error tells the value")
	}
}

func TestFillSaysWhyTheServerRefused(t *testing.T) {
	r := private(t, "maxmemory=1mb", "maxmemory-policy=noeviction")
	c, op := open(t, r.URL()), operate(t, r.Addr())
	refused := func(what, says string) {
		t.Helper()
		res := c.Fill(limit(t, patience), ns, []tiers.Fill{{Record: value("x", 1, 1, `1`)}})[0]
		if !errors.Is(res.Err, tiers.ErrUnavailable) || !strings.Contains(res.Err.Error(), says) || res.Stored {
			t.Errorf("%s: stored %v, %v", what, res.Stored, res.Err)
		}
	}
	refused("memory full", "OOM")
	op.do("CONFIG", "SET", "maxmemory", "0")
	op.do("REPLICAOF", "127.0.0.1", "1")
	refused("replica", "READONLY")
	op.do("REPLICAOF", "NO", "ONE")
	put(t, c, value("x", 1, 1, `1`))
}
