package fastopt

import (
	"cmp"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// The configuration of a manager: what there is to choose, what it is when
// nothing was chosen, and what contradicts itself.

// Config says where options come from. The zero value is valid: without tiers
// every option reads its default.
type Config struct {
	// Namespace separates services that share tiers: valid UTF-8 without NUL,
	// 1 to 400 bytes. "": "default".
	Namespace string
	// Cache is shared by processes and pushes changes. nil: none, and the
	// source is followed directly. A cache that is a tiers.Marker says whose
	// copy it is: that of another database makes Open fail with tiers.ErrSetup; if
	// it becomes so later, or this database is a copy (a restored backup) of the
	// one that feeds it, it is not used, Ready says so, and the source is asked.
	Cache tiers.Cache
	// Source is the truth. nil: read-only, from the cache alone, which is then
	// believed whether anybody feeds it or not.
	Source tiers.Source

	// Relay says whether this process may be the one that carries changes made
	// past the library (plain SQL), or left by a killed writer, into the cache,
	// and tells all others once a second that the cache is fed. Some process of
	// each namespace must: while none has for 3 s, every process asks the source
	// for each option once in its TTL (Stats.CacheFed); after a failover of the
	// source no write reaches the cache before one has (Receipt.Cached). A process
	// that stands for it holds a connection of the source. One whose role may only
	// read does not stand.
	Relay RelayMode

	// TTL and Grace are for options that name none. 0: DefaultTTL, DefaultGrace.
	// Both are at most a year; every TTL, also a Spec's, must exceed LeaseTime +
	// LoadTimeout; Grace may be NoGrace or Forever.
	TTL   time.Duration
	Grace time.Duration

	// Timeouts of one call, at most a minute. 0: 50 ms, 250 ms, 750 ms. A Set
	// ends within WriteTimeout + CacheTimeout.
	CacheTimeout  time.Duration
	SourceTimeout time.Duration
	WriteTimeout  time.Duration
	// LoadTimeout is how long a Load waits at most, at most a minute; its
	// context may only shorten that. What it waited for goes on without it. 0:
	// CacheTimeout + SourceTimeout. It must be less than LeaseTime.
	LoadTimeout time.Duration
	// WaitStale is for options that name none: how long a Load waits for a fresh
	// value when it has a stale one. 0: DefaultWaitStale; NoWait: not at all.
	// At most a minute, of which no more counts than LoadTimeout.
	WaitStale time.Duration
	// LeaseTime is for how long one process of a fleet has the right to ask the
	// source for a key that the cache lacks, while others wait for its fill; at
	// most a minute. 0: SourceTimeout + 3 × CacheTimeout. LeaseTime +
	// LoadTimeout, the longest that an answer may be under way, must be less than
	// every TTL.
	LeaseTime time.Duration
	// StartTimeout is how long Open waits for the first complete load, at most
	// a minute. 0: 5 s.
	StartTimeout time.Duration
	// RequireLoaded makes Open fail with ErrUnavailable if the first load is not
	// complete by StartTimeout. Else it starts degraded: options read what the
	// snapshot says, or their defaults, until a tier answers, and Ready says why.
	RequireLoaded bool

	// Budgets of requests to the source, in front of which they wait, gathered
	// into fewer: for registered options, and for members of families, so that
	// a flood of keys nobody knows delays no option. Zero fields of OptionBudget: 5
	// per second, a burst of 20 or what loads all options twice, 2 at once; of
	// FamilyBudget: 20 per second, a burst of 40, 2 at once. N processes that find
	// the cache dead send the source at most N × Rate requests per second, after
	// N × Burst at first; probes of a source that fails, at most two a second, come
	// beside that. Without a Cache what is announced is read by the budget, too:
	// more changes than Rate per second are seen together, within 1/Rate.
	OptionBudget Budget
	FamilyBudget Budget

	// Snapshot is the path of a file of last known good values, for a start
	// while no tier answers: options then read it as Stale, for as long as they
	// would have been usable without the restart (TTL + Grace after they were
	// last confirmed, by the wall clock). It is written, mode 0600, within a second of
	// each change, and again while values are confirmed. One process at a time may
	// use it. "": none. ErrSnapshot: it cannot be used; Open fails.
	Snapshot string
	// SnapshotKey, of 32 bytes, encrypts the snapshot (AES-256-GCM). Without it
	// the values of secret options are not in it. nil: none.
	SnapshotKey []byte

	// MaxValue is the largest encoded value, in bytes. 0: 64 KiB. At most 1 MiB.
	MaxValue int

	// CountReads has Stats.Reads tell how often options were read by name
	// (Manager.Get, Lookup) and members by Family.Get; such a read costs about 3 ns
	// more then. Option.Get is not counted: in a tight loop it would cost 1.25 times
	// as much by the question alone whether to count.
	CountReads bool

	// Logger hears of changes of state, one line each. nil: silence.
	Logger *slog.Logger
	// Jitter returns numbers in [0, 1) and may be called by several goroutines
	// at once. nil: math/rand/v2.
	Jitter func() float64
}

// A Budget bounds requests to the source, each for up to 500 names. A zero field
// stands for the default's.
type Budget struct {
	Rate   float64 // per second, over any longer time; 0.1 to 10,000
	Burst  int     // at once, after a quiet time; 1 to 10,000
	AtOnce int     // under way at the same time; 1 to 64
}

// The budgets of one process where the Config names none. The burst for options
// is raised to what loads all of them twice.
var (
	optionBudget = Budget{Rate: 5, Burst: 20, AtOnce: 2}
	familyBudget = Budget{Rate: 20, Burst: 40, AtOnce: 2}
)

const maxValue = 64 << 10 // default of Config.MaxValue

// withDefaults returns c complete, or what is wrong with it.
func (c Config) withDefaults() (_ Config, err error) {
	if c, err = c.withTimes(); err != nil {
		return c, err
	}
	if c.OptionBudget, err = c.OptionBudget.or("OptionBudget", optionBudget); err != nil {
		return c, err
	}
	if c.FamilyBudget, err = c.FamilyBudget.or("FamilyBudget", familyBudget); err != nil {
		return c, err
	}
	if n := len(c.SnapshotKey); n != 0 && n != 32 {
		return c, because(ErrConfig, "SnapshotKey has %d bytes: must be 32, or none", n)
	}
	if c.Relay > Never {
		return c, because(ErrConfig, "Relay %d: must be Auto or Never", c.Relay)
	}
	if c.MaxValue == 0 {
		c.MaxValue = maxValue
	}
	if c.MaxValue < 0 || c.MaxValue > tiers.MaxData {
		return c, because(ErrConfig, "MaxValue %d: must be 0 to %d", c.MaxValue, tiers.MaxData)
	}
	if c.Namespace == "" {
		c.Namespace = "default"
	}
	if err := tiers.CheckName(c.Namespace); err != nil {
		return c, because(ErrConfig, "Namespace: %v", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	return c, nil
}

// withTimes returns c with all its times, or what is wrong with them.
func (c Config) withTimes() (Config, error) {
	if err := checkTimes(c.TTL, c.Grace); err != nil {
		return c, because(ErrConfig, "%v", err)
	}
	if err := checkWait(c.WaitStale); err != nil {
		return c, because(ErrConfig, "%v", err)
	}
	set := func(p *time.Duration, d time.Duration) { *p = cmp.Or(*p, d) }
	set(&c.TTL, DefaultTTL)
	set(&c.Grace, DefaultGrace)
	set(&c.WaitStale, DefaultWaitStale)
	set(&c.CacheTimeout, 50*time.Millisecond)
	set(&c.SourceTimeout, 250*time.Millisecond)
	set(&c.WriteTimeout, 750*time.Millisecond)
	set(&c.StartTimeout, 5*time.Second)
	for _, t := range []struct {
		name string
		d    time.Duration
	}{
		{"CacheTimeout", c.CacheTimeout}, {"SourceTimeout", c.SourceTimeout}, {"WriteTimeout", c.WriteTimeout},
		{"LoadTimeout", c.LoadTimeout}, {"LeaseTime", c.LeaseTime}, {"StartTimeout", c.StartTimeout},
	} {
		if t.d < 0 || t.d > time.Minute {
			return c, because(ErrConfig, "%s %v: must be 0 to %v", t.name, t.d, time.Minute)
		}
	}
	set(&c.LoadTimeout, c.CacheTimeout+c.SourceTimeout)
	set(&c.LeaseTime, c.SourceTimeout+3*c.CacheTimeout)
	if c.LoadTimeout >= c.LeaseTime {
		return c, because(ErrConfig, "LoadTimeout %v must be less than LeaseTime %v", c.LoadTimeout, c.LeaseTime)
	}
	_, err := c.livesOf(&decl{})
	return c, err
}

// livesOf resolves the times of an option.
func (c Config) livesOf(d *decl) (lives, error) {
	ttl, grace, wait := cmp.Or(d.ttl, c.TTL), cmp.Or(d.grace, c.Grace), cmp.Or(d.waitStale, c.WaitStale)
	if flight := c.LeaseTime + c.LoadTimeout; ttl <= flight {
		return lives{}, because(ErrConfig, "TTL %v must exceed LeaseTime %v + LoadTimeout %v", ttl, c.LeaseTime, c.LoadTimeout)
	}
	l := lives{ttl: int64(ttl)}
	switch grace {
	case NoGrace:
		l.usable = int64(ttl)
	case Forever:
		l.usable = int64(Forever)
	default:
		l.usable = int64(ttl + grace)
	}
	if wait != NoWait {
		l.patience = min(wait, c.LoadTimeout)
	}
	return l, nil
}

// or completes b, the Config's of that name, by what o says.
func (b Budget) or(name string, o Budget) (Budget, error) {
	b.Rate, b.Burst, b.AtOnce = cmp.Or(b.Rate, o.Rate), cmp.Or(b.Burst, o.Burst), cmp.Or(b.AtOnce, o.AtOnce)
	switch {
	case !(b.Rate >= 0.1 && b.Rate <= 10_000): // NaN is neither
		return b, because(ErrConfig, "%s.Rate %v: must be 0.1 to 10,000 per second", name, b.Rate)
	case b.Burst < 1 || b.Burst > 10_000:
		return b, because(ErrConfig, "%s.Burst %d: must be 1 to 10,000", name, b.Burst)
	case b.AtOnce < 1 || b.AtOnce > 64:
		return b, because(ErrConfig, "%s.AtOnce %d: must be 1 to 64", name, b.AtOnce)
	}
	return b, nil
}
