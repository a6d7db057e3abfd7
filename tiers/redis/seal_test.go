package redis

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

const secret = canary + "-and-more-of-it"

func openSealed(t *testing.T, url string) *Cache {
	t.Helper()
	c, err := Open(Config{URL: url, MACKey: []byte(secret)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSealedCacheKeepsTheContract(t *testing.T) {
	t.Parallel()
	r := servers.Redis(t)
	c := corruptible{openSealed(t, r.URL()), operate(t, r.Addr())}
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return c })
}

// Whatever form a config is printed in, nobody learns URL or key.
func TestAConfigTellsNeitherPasswordNorKey(t *testing.T) {
	conf := Config{URL: "redis://u:" + canary + "@localhost?master_set=m", SentinelPassword: canary, KeyPrefix: "mine", MACKey: []byte(secret)}
	set, err := conf.check()
	if err != nil {
		t.Fatal(err)
	}
	opened := set.Config
	if opened.MACKey != nil {
		t.Error("the key is kept beside the seal")
	}
	cache, err := Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	var said strings.Builder
	fmt.Fprintf(&said, "%v %+v %#v %d\n", cache, cache, cache, cache)
	for _, c := range []Config{conf, opened} {
		holder := struct{ Inner *Config }{&c}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o"} {
			fmt.Fprintf(&said, verb+verb+verb+verb+"\n", c, &c, []Config{c}, holder.Inner)
		}
		fmt.Fprintln(&said, c.String(), c.LogValue())
		for _, h := range []slog.Handler{slog.NewTextHandler(&said, nil), slog.NewJSONHandler(&said, nil)} {
			slog.New(h).Info("opened", "conf", c, "at", &c)
		}
		if text := c.String(); !strings.Contains(text, `"mine"`) || !strings.Contains(text, "MACKey:(set)") {
			t.Errorf("it says too little: %s", text)
		}
	}
	for _, text := range []string{"%s", "%x", "%X", "%d", "%o", "%#v"} {
		if secretText := strings.Trim(fmt.Sprintf(text, []byte(canary)), "[]"); strings.Contains(said.String(), secretText) {
			t.Errorf("as %s:\n%s", text, said.String())
		}
	}
}

// Processes get the key one after another. Those with it replace what those
// without it write; these leave alone what they cannot read, and nobody reads a wrong value.
func TestAFleetTakesAKeyOneByOne(t *testing.T) {
	r := private(t)
	plain, sealed := open(t, r.URL()), openSealed(t, r.URL())
	put(t, plain, value("x", 1, 1, `"plain"`))

	var bad *tiers.CorruptError
	if err := load(t, sealed, "x").Err; !errors.As(err, &bad) || len(bad.Raw) == 0 {
		t.Fatalf("unsealed, with a key: %v", err)
	}
	if !fill(t, sealed, tiers.Fill{Record: value("x", 1, 1, `"sealed"`), Replace: bad.Raw}) {
		t.Fatal("not replaced")
	}
	eventually(t, "the seal to be foreign", func() bool { return errors.Is(load(t, plain, "x").Err, tiers.ErrForeign) })
	if err := load(t, plain, "x").Err; strings.Contains(err.Error(), canary) {
		t.Errorf("the error tells a secret: %v", err)
	}
	if fill(t, plain, tiers.Fill{Record: value("x", 1, 1, `"plain"`)}) {
		t.Error("what is as new replaced what it cannot read")
	}
	eventually(t, "the sealed value", func() bool { return string(load(t, sealed, "x").Data) == `"sealed"` })
	put(t, plain, value("x", 1, 2, `"newer"`)) // a newer write is never kept out
	eventually(t, "the newer value to be unsealed", func() bool { return errors.As(load(t, sealed, "x").Err, &bad) })

	putMark(t, plain, tiers.Mark{}, markOf(1, 1))
	if _, err := sealed.Mark(limit(t, patience), ns); !errors.As(err, &bad) {
		t.Errorf("unsealed mark, with a key: %v", err)
	}
	if !putMark(t, sealed, tiers.Mark{}, markOf(1, 2)) {
		t.Error("an unsealed mark was not replaced")
	}
	if _, err := plain.Mark(limit(t, patience), ns); !errors.Is(err, tiers.ErrForeign) {
		t.Errorf("sealed mark, without a key: %v", err)
	}
	if stored, err := plain.PutMark(limit(t, patience), ns, tiers.Mark{}, markOf(1, 3)); stored || !errors.Is(err, tiers.ErrForeign) {
		t.Errorf("a sealed mark was replaced without the key: %v, %v", stored, err)
	}
}

// What somebody writes who has no key is a miss, and no value of theirs.
func TestNobodySetsAnOptionWithoutTheKey(t *testing.T) {
	r := private(t)
	c, op := openSealed(t, r.URL()), operate(t, r.Addr())
	put(t, c, value("x", 1, 1, `"right"`))
	put(t, c, value("y", 1, 9, `"evil"`))
	own, sealed := op.get("y"), op.get("x")
	other, err := Open(Config{URL: r.URL(), MACKey: []byte(secret + "x")})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	put(t, other, value("z", 1, 1, `"evil"`))
	unsealed := open(t, r.URL())
	put(t, unsealed, value("w", 1, 1, `"evil"`))
	for what, raw := range map[string]string{
		"another entry":  own,
		"another stamp":  "V00000000010000000000000000000222-" + sealed[34:],
		"another value":  strings.Replace(sealed, "right", "wrong", 1),
		"another key":    op.get("z"),
		"no key":         op.get("w"),
		"no key, raised": strings.Replace(op.get("w"), "11-", "22-", 1),
	} {
		t.Run(what, func(t *testing.T) {
			op.do("SET", keyOf("x"), raw)
			var bad *tiers.CorruptError
			eventually(t, "the forgery to be seen", func() bool { return errors.As(load(t, c, "x").Err, &bad) })
			if !bytes.Equal(bad.Raw, []byte(raw)) {
				t.Errorf("Raw is %q", bad.Raw)
			}
			if !fill(t, c, tiers.Fill{Record: value("x", 1, 1, `"right"`), Replace: bad.Raw}) {
				t.Error("not replaced")
			}
			eventually(t, "the right value", func() bool { return string(load(t, c, "x").Data) == `"right"` })
		})
	}
}

// The key is copied: a caller may wipe it.
func TestOpenKeepsACopyOfTheKey(t *testing.T) {
	r := private(t)
	key := []byte(secret)
	c, err := Open(Config{URL: r.URL(), MACKey: key, Heartbeat: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	clear(key)
	put(t, c, value("x", 1, 1, `1`))
	if got := load(t, openSealed(t, r.URL()), "x"); got.Err != nil {
		t.Error(got.Err)
	}
}
