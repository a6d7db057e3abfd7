// Redis' own client-side caching: rueidis holds replies in the process, and
// Redis tells it of changes.

package peers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/servers"
)

// viaRueidis reads by DoCache, from a private redis-server.
type viaRueidis struct {
	truth  *truth
	server *servers.RedisServer
	client rueidis.Client
	other  rueidis.Client // who changes what client holds
	misses atomic.Int64
}

// redisChunk is how many commands are sent at once.
const redisChunk = 1000

// rueidisEntry is more than what rueidis takes per key, by its own account.
const rueidisEntry = 2048

func openRueidis(ctx context.Context, size int) (_ Store, err error) {
	s := &viaRueidis{truth: newTruth(size)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.server, err = servers.StartRedis(ctx, servers.Options{Settings: []string{"tracking-table-max-keys=0"}}); err != nil {
		return nil, err
	}
	if s.client, err = s.dial(rueidisEntry * room(size)); err != nil {
		return nil, err
	}
	if s.other, err = s.dial(0); err != nil {
		return nil, err
	}
	for at := 0; at < size; at += redisChunk {
		if err := s.fill(ctx, at, min(at+redisChunk, size)); err != nil {
			return nil, fmt.Errorf("fill redis: %w", err)
		}
	}
	return s, nil
}

func (s *viaRueidis) dial(bytes int) (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.server.Addr()}, CacheSizeEachConn: bytes,
		PipelineMultiplex: -1, // one connection, and so one cache
	})
}

// fill writes keys from at to end, and reads them once.
func (s *viaRueidis) fill(ctx context.Context, at, end int) error {
	var writes rueidis.Commands
	var reads []rueidis.CacheableTTL
	for i := at; i < end; i++ {
		writes = append(writes, s.client.B().Set().Key(Key(i)).Value(strconv.Itoa(s.truth.values[i])).Build())
		reads = append(reads, rueidis.CT(s.client.B().Get().Key(Key(i)).Cache(), ttl))
	}
	for _, r := range s.other.DoMulti(ctx, writes...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	for _, r := range s.client.DoMultiCache(ctx, reads...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

func (s *viaRueidis) get(key string) int {
	r := s.client.DoCache(context.Background(), s.client.B().Get().Key(key).Cache(), ttl)
	v, err := r.AsInt64()
	if err != nil {
		panic(err) // the server has ended
	}
	if !r.IsCacheHit() {
		s.misses.Add(1)
	}
	return int(v)
}

func (s *viaRueidis) Sum(ask Ask) int {
	return sum(ask, func(key string) int { return s.get(key) })
}

func (s *viaRueidis) Walk(keys []string, at, n int) int {
	return walk(keys, at, n, func(key string) int { return s.get(key) })
}

// Set returns when Redis has the value; the push is then under way.
func (s *viaRueidis) Set(_ int, key string, value int) error {
	return s.other.Do(context.Background(), s.other.B().Set().Key(key).Value(strconv.Itoa(value)).Build()).Error()
}

func (s *viaRueidis) Invalidate(at int, key string) error { return s.Set(at, key, s.truth.value(key)) }
func (s *viaRueidis) Misses() int                         { return int(s.misses.Load()) }

// ServerBytes returns what the server holds.
func (s *viaRueidis) ServerBytes(ctx context.Context) (int, error) {
	text, err := s.other.Do(ctx, s.other.B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if figure, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.Atoi(figure)
		}
	}
	return 0, errors.New("redis does not say what memory it uses")
}

func (s *viaRueidis) Close() error {
	for _, c := range []rueidis.Client{s.client, s.other} {
		if c != nil {
			c.Close()
		}
	}
	if s.server == nil {
		return nil
	}
	return s.server.Stop()
}
