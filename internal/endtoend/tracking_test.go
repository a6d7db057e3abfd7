package endtoend

import (
	"strconv"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers/memory"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// More members are read than Redis tracks (tracking-table-max-keys): for each that
// is read it forgets another, and says of that that it may have changed. That is no
// loop: reloads that bring nothing new spend from a bucket, and when it is empty,
// members are renewed when their TTL ends.
func TestMoreMembersThanRedisTracksStartNoLoop(t *testing.T) {
	noGoroutineLeft(t)
	const members, tracked, ttl = 1000, 100, 30 * time.Second
	server := servers.PrivateRedis(t, servers.Options{Settings: []string{"tracking-table-max-keys=" + strconv.Itoa(tracked)}})
	cache, err := redis.Open(redis.Config{URL: server.URL()})
	must(t, err)
	t.Cleanup(cache.Close)
	var r fastopt.Registry
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "limit", MaxEntries: 2 * members, TTL: ttl})
	m, err := fastopt.Open(ctx, fastopt.Config{Namespace: "shop", Cache: cache, Source: memory.NewSource()}, &r)
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	keys, names, values := make([]string, members), make([]string, members), map[string]any{}
	for i := range keys {
		keys[i] = strconv.Itoa(i)
		names[i] = "limit/" + keys[i]
		values[names[i]] = i
		if len(values) == 500 {
			_, err := m.SetAll(ctx, values)
			must(t, err)
			clear(values)
		}
	}
	_, err = m.Load(ctx, names...)
	must(t, err)
	readAll := func() {
		for i, key := range keys {
			if v := f.Get(key); v != i {
				t.Fatalf("%s reads %d", key, v)
			}
		}
	}
	within(t, 20*time.Second, "the loop that the bucket is to end", func() bool { readAll(); return m.Stats().Families[0].Fruitless >= 2000 })
	before, start := m.Stats().CacheHits, time.Now()
	for time.Since(start) < 2*time.Second {
		readAll()
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start).Seconds()
	// What is under way when the bucket is empty is loaded all the same.
	n, most := m.Stats().CacheHits-before, 2*members+took*(100+members/ttl.Seconds())
	if t.Logf("%d loads in %.1f s, at most %.0f", n, took, most); float64(n) > most {
		t.Errorf("%d loads in %.1f s, want at most %.0f: reloads cause each other", n, took, most)
	}
}
