// The library's own ways of reading: by handle, by name, and a member of a family.

package peers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// A computed source has a row for every key without keeping any of them, so that
// what a process holds is what the library holds. It keeps what is written.
type computed struct {
	*memory.Source
	*truth
	prefix string // of names, before the key
	seed   tiers.Stamp
}

const namespace = "peers"

func newComputed(ctx context.Context, size int, prefix string) (*computed, error) {
	s := &computed{Source: memory.NewSource(), truth: newTruth(size), prefix: prefix}
	// The rows that are computed are of the first commit.
	seed, err := s.Write(ctx, namespace, []tiers.Write{{Name: "seed", Data: []byte("0")}})
	s.seed = seed
	return s, err
}

// Load is tiers.Source's.
func (s *computed) Load(ctx context.Context, space string, names []string) []tiers.Result {
	s.asked.Add(int64(len(names)))
	found := s.Source.Load(ctx, space, names)
	for i, r := range found {
		if r.Err == nil && r.Kind == tiers.Absent {
			data := strconv.AppendInt(nil, int64(s.value(strings.TrimPrefix(r.Name, s.prefix))), 10)
			found[i].Record = tiers.Record{Name: r.Name, Kind: tiers.Value, Data: data, Stamp: s.seed, AsOf: r.AsOf}
		}
	}
	return found
}

// change is a write by somebody else: the library hears of it, and reads it again.
func (s *computed) change(key string) error {
	data := strconv.AppendInt(nil, int64(s.value(key)), 10)
	_, err := s.Write(context.Background(), namespace, []tiers.Write{{Name: s.prefix + key, Data: data}})
	return err
}

// managed is a manager over a computed source.
type managed struct {
	source *computed
	m      *fastopt.Manager
	loaded int // requests for values before the first read
}

// plenty is no budget at all: what is measured is not how long the library spares
// a database.
var plenty = fastopt.Budget{Rate: 10_000, Burst: 10_000, AtOnce: 64}

func manage(ctx context.Context, source *computed, r *fastopt.Registry) (managed, error) {
	m, err := fastopt.Open(ctx, fastopt.Config{
		Namespace: namespace, Source: source, TTL: ttl, Grace: ttl, OptionBudget: plenty, FamilyBudget: plenty,
		StartTimeout: time.Minute, RequireLoaded: true, SourceTimeout: time.Minute,
		LoadTimeout: 10 * time.Second, LeaseTime: 20 * time.Second,
	}, r)
	return managed{source: source, m: m, loaded: source.truth.Misses()}, err
}

// Misses is Store's.
func (s *managed) Misses() int { return s.source.truth.Misses() - s.loaded }

// Close is Store's.
func (s *managed) Close() error { return s.m.Close() }

// handles are registered options, read through their handles.
type handles struct {
	managed
	options []*fastopt.Option[int]
	request [RequestSize]*fastopt.Option[int]
}

func openHandles(ctx context.Context, size int) (*handles, error) {
	source, err := newComputed(ctx, size, "")
	if err != nil {
		return nil, err
	}
	var r fastopt.Registry
	s := &handles{options: make([]*fastopt.Option[int], size)}
	for i := range s.options {
		s.options[i] = fastopt.New(&r, Key(i), -1)
	}
	for i := range s.request {
		s.request[i] = s.options[i%size]
	}
	s.managed, err = manage(ctx, source, &r)
	return s, err
}

func openOptions(ctx context.Context, size int) (Store, error) { return openHandles(ctx, size) }

// Sum is Store's.
func (s *handles) Sum(ask Ask) (total int) {
	options := s.options
	for _, i := range ask.At {
		total += options[i].Get()
	}
	return total
}

// Walk is Store's.
func (s *handles) Walk(_ []string, at, n int) int {
	options := s.options
	for range n {
		at = options[at].Get()
	}
	return at
}

// Requests is Requester's.
func (s *handles) Requests(n int) (total int) {
	for range n {
		for _, o := range &s.request {
			total += o.Get()
		}
	}
	return total
}

// Set is Store's: to the source, and then published.
func (s *handles) Set(at int, _ string, value int) error {
	_, err := s.options[at].Set(context.Background(), value)
	return err
}

// Invalidate is Store's.
func (s *handles) Invalidate(_ int, key string) error { return s.source.change(key) }

// byName are the same options, read by name.
type byName struct {
	Store
	m *fastopt.Manager
}

func openNames(ctx context.Context, size int) (Store, error) {
	s, err := openHandles(ctx, size)
	if err != nil {
		return nil, err
	}
	return byName{s, s.m}, nil
}

func (s byName) get(key string) int {
	v, err := s.m.Get(key)
	if err != nil {
		panic(err) // no key of ours
	}
	return v.(int)
}

func (s byName) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s byName) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

// typed are the same options, read by name and type.
type typed struct {
	Store
	m *fastopt.Manager
}

func openTyped(ctx context.Context, size int) (Store, error) {
	s, err := openHandles(ctx, size)
	if err != nil {
		return nil, err
	}
	return typed{s, s.m}, nil
}

func (s typed) get(key string) int {
	v, err := fastopt.Lookup[int](s.m, key)
	if err != nil {
		panic(err) // no key of ours
	}
	return v
}

func (s typed) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s typed) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

// members are those of a family.
type members struct {
	managed
	family *fastopt.Family[int]
}

const familyPrefix = "peers"

// loadChunk is how many members are loaded at once.
const loadChunk = 10_000

func openFamily(ctx context.Context, size int) (Store, error) {
	source, err := newComputed(ctx, size, familyPrefix+"/")
	if err != nil {
		return nil, err
	}
	var r fastopt.Registry
	s := &members{family: fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: familyPrefix, Default: -1, MaxEntries: room(size)})}
	if s.managed, err = manage(ctx, source, &r); err != nil {
		return nil, err
	}
	for at := 0; at < size; at += loadChunk {
		names := make([]string, min(loadChunk, size-at))
		for i := range names {
			names[i] = familyPrefix + "/" + Key(at+i)
		}
		readings, err := s.m.Load(ctx, names...)
		if err != nil {
			return nil, err
		}
		for name, r := range readings {
			if r.State != fastopt.Fresh {
				return nil, fmt.Errorf("%s is %v: %w", name, r.State, r.Err)
			}
		}
	}
	s.loaded = source.truth.Misses()
	return s, nil
}

// Sum is Store's.
func (s *members) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.family.Get(key) })
}

// Walk is Store's.
func (s *members) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.family.Get(key) })
}

// Set is Store's: to the source, and then published.
func (s *members) Set(_ int, key string, value int) error {
	_, err := s.family.Set(context.Background(), key, value)
	return err
}

// Invalidate is Store's.
func (s *members) Invalidate(_ int, key string) error { return s.source.change(key) }
