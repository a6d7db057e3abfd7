// For context: what does much more per read than to read.

package peers

import (
	"context"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/launchdarkly/go-sdk-common/v3/ldcontext"
	"github.com/launchdarkly/go-sdk-common/v3/ldvalue"
	ld "github.com/launchdarkly/go-server-sdk/v7"
	"github.com/launchdarkly/go-server-sdk/v7/ldcomponents"
	"github.com/launchdarkly/go-server-sdk/v7/testhelpers/ldtestdata"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"
	"github.com/spf13/viper"
)

// viaViper is viper with values that were set.
type viaViper struct {
	*truth
	v *viper.Viper
}

func openViper(_ context.Context, size int) (Store, error) {
	s := &viaViper{truth: newTruth(size), v: viper.New()}
	return s, fill(s, s.values)
}

func (s *viaViper) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.v.GetInt(key) })
}

func (s *viaViper) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.v.GetInt(key) })
}

// Set must not run beside a read.
func (s *viaViper) Set(_ int, key string, value int) error { s.v.Set(key, value); return nil }

func (s *viaViper) Invalidate(at int, key string) error { return s.Set(at, key, s.load(key)) }
func (s *viaViper) Close() error                        { return nil }

// viaLaunchDarkly evaluates flags without rules for one context. Nothing leaves
// the process: the data are test data, and there are no events.
type viaLaunchDarkly struct {
	*truth
	data   *ldtestdata.TestDataSource
	client *ld.LDClient
	who    ldcontext.Context
}

func openLaunchDarkly(_ context.Context, size int) (Store, error) {
	s := &viaLaunchDarkly{truth: newTruth(size), data: ldtestdata.DataSource(), who: ldcontext.New("tenant-42")}
	if err := fill(s, s.values); err != nil {
		return nil, err
	}
	var err error
	s.client, err = ld.MakeCustomClient("no key", ld.Config{
		DataSource: s.data, Events: ldcomponents.NoEvents(), Logging: ldcomponents.NoLogging(), DiagnosticOptOut: true,
	}, 10*time.Second)
	return s, err
}

func (s *viaLaunchDarkly) get(key string) int {
	v, err := s.client.IntVariation(key, s.who, -1)
	if err != nil {
		panic(err) // no flag of ours
	}
	return v
}

func (s *viaLaunchDarkly) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaLaunchDarkly) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

func (s *viaLaunchDarkly) Set(_ int, key string, value int) error {
	s.data.Update(s.data.Flag(key).ValueForAll(ldvalue.Int(value)))
	return nil
}

func (s *viaLaunchDarkly) Invalidate(at int, key string) error { return s.Set(at, key, s.load(key)) }
func (s *viaLaunchDarkly) Close() error                        { return s.client.Close() }

// viaOpenFeature asks OpenFeature's provider in memory.
type viaOpenFeature struct {
	*truth
	provider *memprovider.InMemoryProvider
	flags    map[string]memprovider.InMemoryFlag // of who writes
	client   *openfeature.Client
	who      openfeature.EvaluationContext
}

var domains atomic.Int64 // providers are registered process-wide, each under a domain

func openOpenFeature(ctx context.Context, size int) (Store, error) {
	s := &viaOpenFeature{truth: newTruth(size), flags: map[string]memprovider.InMemoryFlag{}, who: openfeature.NewEvaluationContext("tenant-42", nil)}
	for i, v := range s.values {
		s.flags[Key(i)] = flag(Key(i), v)
	}
	s.provider = memprovider.NewInMemoryProvider(s.flags)
	domain := "peers-" + strconv.FormatInt(domains.Add(1), 10)
	if err := openfeature.SetNamedProviderWithContextAndWait(ctx, domain, s.provider); err != nil {
		return nil, err
	}
	s.client = openfeature.NewClient(domain)
	return s, nil
}

func flag(key string, value int) memprovider.InMemoryFlag {
	return memprovider.InMemoryFlag{
		Key: key, State: memprovider.Enabled, DefaultVariant: "it", Variants: map[string]any{"it": value},
	}
}

func (s *viaOpenFeature) get(key string) int {
	v, err := s.client.IntValue(context.Background(), key, -1, s.who)
	if err != nil {
		panic(err) // no flag of ours
	}
	return int(v)
}

func (s *viaOpenFeature) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaOpenFeature) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

// Set replaces all flags: the provider knows no other way.
func (s *viaOpenFeature) Set(_ int, key string, value int) error {
	s.flags = maps.Clone(s.flags)
	s.flags[key] = flag(key, value)
	s.provider.UpdateFlags(s.flags)
	return nil
}

func (s *viaOpenFeature) Invalidate(at int, key string) error { return s.Set(at, key, s.load(key)) }

// Close forgets every provider of the process.
func (s *viaOpenFeature) Close() error { openfeature.Shutdown(); return nil }
