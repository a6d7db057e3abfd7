package fastopt_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// What Open refuses: a Config that contradicts itself, said with the numbers,
// before any tier is asked.

func TestConfigsThatContradictThemselvesAreRefused(t *testing.T) {
	const ms, min = time.Millisecond, time.Minute
	for text, change := range map[string]func(*fastopt.Config){
		"Namespace: ":                                                           func(c *fastopt.Config) { c.Namespace = "\xff" },
		"Relay 2: must be Auto or Never":                                        func(c *fastopt.Config) { c.Relay = 2 },
		"TTL -1ns: must be 0 to 8760h0m0s":                                      func(c *fastopt.Config) { c.TTL = -1 },
		"TTL 8760h0m0.000000001s: must be 0 to":                                 func(c *fastopt.Config) { c.TTL = 365*24*time.Hour + 1 },
		"grace -1ns: must be 0 to 8760h0m0s, NoGrace or Forever":                func(c *fastopt.Config) { c.Grace = -1 },
		"CacheTimeout -1ns: must be 0 to 1m0s":                                  func(c *fastopt.Config) { c.CacheTimeout = -1 },
		"SourceTimeout 1m0.000000001s: must be 0 to 1m0s":                       func(c *fastopt.Config) { c.SourceTimeout = min + 1 },
		"WriteTimeout 1h0m0s: must be 0 to 1m0s":                                func(c *fastopt.Config) { c.WriteTimeout = time.Hour },
		"LoadTimeout -1ns: must be 0 to 1m0s":                                   func(c *fastopt.Config) { c.LoadTimeout = -1 },
		"LeaseTime 1m0.000000001s: must be 0 to 1m0s":                           func(c *fastopt.Config) { c.LeaseTime = min + 1 },
		"StartTimeout -1ns: must be 0 to 1m0s":                                  func(c *fastopt.Config) { c.StartTimeout = -1 },
		"WaitStale -1ns: must be 0 to 1m0s, or NoWait":                          func(c *fastopt.Config) { c.WaitStale = -1 },
		"WaitStale 2m0s: must be 0 to 1m0s, or NoWait":                          func(c *fastopt.Config) { c.WaitStale = 2 * min },
		"LoadTimeout 400ms must be less than LeaseTime 400ms":                   func(c *fastopt.Config) { c.LoadTimeout = 400 * ms },
		"LoadTimeout 300ms must be less than LeaseTime 300ms":                   func(c *fastopt.Config) { c.LeaseTime = 300 * ms },
		"TTL 700ms must exceed LeaseTime 400ms + LoadTimeout 300ms":             func(c *fastopt.Config) { c.TTL = 700 * ms },
		"TTL 10s must exceed LeaseTime 9.7s + LoadTimeout 300ms":                func(c *fastopt.Config) { c.LeaseTime = 9700 * ms },
		"TTL 10s must exceed LeaseTime 3m0.25s + LoadTimeout 1m0.25s":           func(c *fastopt.Config) { c.CacheTimeout = min },
		"OptionBudget.Rate 0.05: must be 0.1 to 10,000 per second":              func(c *fastopt.Config) { c.OptionBudget.Rate = 0.05 },
		"OptionBudget.Rate NaN: must be 0.1 to 10,000 per second":               func(c *fastopt.Config) { c.OptionBudget.Rate = math.NaN() },
		"OptionBudget.Burst -1: must be 1 to 10,000":                            func(c *fastopt.Config) { c.OptionBudget.Burst = -1 },
		"OptionBudget.AtOnce 65: must be 1 to 64":                               func(c *fastopt.Config) { c.OptionBudget.AtOnce = 65 },
		"FamilyBudget.Rate 10001: must be":                                      func(c *fastopt.Config) { c.FamilyBudget.Rate = 10_001 },
		"FamilyBudget.Burst 10001: must be 1 to 10,000":                         func(c *fastopt.Config) { c.FamilyBudget.Burst = 10_001 },
		"FamilyBudget.AtOnce -1: must be 1 to 64":                               func(c *fastopt.Config) { c.FamilyBudget.AtOnce = -1 },
		"SnapshotKey has 16 bytes: must be 32, or none":                         func(c *fastopt.Config) { c.SnapshotKey = make([]byte, 16) },
		"MaxValue -1: must be 0 to 1048576":                                     func(c *fastopt.Config) { c.MaxValue = -1 },
		"MaxValue 1048577: must be 0 to 1048576":                                func(c *fastopt.Config) { c.MaxValue = 1<<20 + 1 },
		`"own.ttl": wrong config: TTL 800ms must exceed LeaseTime 600ms + Load`: func(c *fastopt.Config) { c.LeaseTime = 600 * ms },
		`"members": wrong config: TTL 750ms must exceed LeaseTime 460ms + Load`: func(c *fastopt.Config) { c.LeaseTime = 460 * ms },
	} {
		var r fastopt.Registry
		fastopt.New(&r, "a", 1)
		fastopt.Declare(&r, fastopt.Spec[int]{Name: "own.ttl", TTL: 800 * ms})
		if text[:9] == `"members"` {
			fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "members", TTL: 750 * ms, MaxEntries: 1000})
		}
		cfg := fastopt.Config{Source: untouched{t}, Cache: untouched{t}}
		change(&cfg)
		refused(t, text, cfg, &r)
		if text[0] != '"' {
			refused(t, text, cfg) // with nothing declared, too
		}
		if cfg, err := fastopt.Open(context.Background(), fastopt.Config{}, &r); err != nil {
			t.Errorf("%s: the registry was not given back: %v", text, err)
		} else {
			must(t, cfg.Close())
		}
	}
}

// The least and the greatest that may be said.
func TestConfigsAtTheEdgeAreTaken(t *testing.T) {
	const ms, min = time.Millisecond, time.Minute
	for what, cfg := range map[string]fastopt.Config{
		"nothing":          {},
		"a year":           {TTL: 365 * 24 * time.Hour, Grace: 365 * 24 * time.Hour},
		"NoGrace":          {Grace: fastopt.NoGrace},
		"Forever":          {Grace: fastopt.Forever},
		"NoWait":           {WaitStale: fastopt.NoWait},
		"a minute's wait":  {WaitStale: min},
		"TTL above a load": {TTL: 700*ms + 1},
		"all times":        {LoadTimeout: 59 * time.Second, LeaseTime: min, TTL: 2 * min, CacheTimeout: min, SourceTimeout: min, WriteTimeout: min, StartTimeout: min},
		"least budget":     {OptionBudget: fastopt.Budget{Rate: 0.1, Burst: 1, AtOnce: 1}},
		"greatest budget":  {FamilyBudget: fastopt.Budget{Rate: 10_000, Burst: 10_000, AtOnce: 64}},
		"a key":            {SnapshotKey: make([]byte, 32)},
		"MaxValue":         {MaxValue: 1 << 20},
	} {
		m, err := fastopt.Open(context.Background(), cfg)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		must(t, m.Close())
	}
}

func TestRegistriesThatCannotBeOpenedAreRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var r, same, family fastopt.Registry
		fastopt.New(&r, "a", 1)
		fastopt.New(&same, "a", 1)
		fastopt.DeclareFamily(&family, fastopt.FamilySpec[int]{Prefix: "a", MaxEntries: 1000})
		none := fastopt.Config{Source: untouched{t}, Cache: untouched{t}}
		refused(t, `option "a" is declared in two registries`, none, &r, &same)
		refused(t, `family "a" is declared in two registries`, none, &r, &family)
		refused(t, "is in an open manager already", none, &r, &r)
		m := w.open(w.config(), &r) // every failure gave the registry back
		refused(t, "is in an open manager already", none, &r)
		if p := panicOf(func() { fastopt.New(&r, "late", 1) }); p == nil {
			t.Error("declaring after Open did not panic")
		}
		must(t, m.Close())
		w.open(w.config(), &r)
	})
}

func TestWrongWaitsOfASpecAreRefused(t *testing.T) {
	for _, wait := range []time.Duration{-1, time.Minute + 1, fastopt.Forever} {
		var r fastopt.Registry
		_, err := fastopt.TryDeclare(&r, fastopt.Spec[int]{Name: "x", WaitStale: wait})
		if !errors.Is(err, fastopt.ErrDeclaration) || !contains(err, wait.String()) || !contains(err, "NoWait") {
			t.Errorf("%v: %v", wait, err)
		}
		_, err = fastopt.TryDeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "x", WaitStale: wait, MaxEntries: 1000})
		if !errors.Is(err, fastopt.ErrDeclaration) {
			t.Errorf("family, %v: %v", wait, err)
		}
	}
}

func refused(t *testing.T, text string, cfg fastopt.Config, rs ...*fastopt.Registry) {
	t.Helper()
	m, err := fastopt.Open(context.Background(), cfg, rs...)
	if err == nil {
		m.Close()
	}
	if !errors.Is(err, fastopt.ErrConfig) || !contains(err, text) {
		t.Errorf("%s: %v", text, err)
	}
}

// untouched is a Source and a Cache that nobody is to ask.
type untouched struct{ t *testing.T }

func (u untouched) touched() error {
	u.t.Error("a tier was asked")
	return tiers.ErrUnavailable
}

func (u untouched) Identity(context.Context) (tiers.Identity, error) {
	return tiers.Identity{}, u.touched()
}

func (u untouched) Load(_ context.Context, _ string, names []string) []tiers.Result {
	u.touched()
	return make([]tiers.Result, len(names))
}

func (u untouched) Write(context.Context, string, []tiers.Write) (tiers.Stamp, error) {
	return tiers.Stamp{}, u.touched()
}

func (u untouched) Scan(context.Context, string) iter.Seq2[tiers.Record, error] {
	u.touched()
	return func(func(tiers.Record, error) bool) {}
}

func (u untouched) Changes(context.Context, string, tiers.Stamp) (tiers.Changes, error) {
	return tiers.Changes{}, u.touched()
}

func (u untouched) Watch(context.Context, string, func(tiers.Event)) error { return u.touched() }

func (u untouched) Fill(_ context.Context, _ string, fills []tiers.Fill) []tiers.FillResult {
	u.touched()
	return make([]tiers.FillResult, len(fills))
}

func (u untouched) Lease(context.Context, string, []string, time.Duration) ([]bool, error) {
	return nil, u.touched()
}
