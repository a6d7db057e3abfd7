package redis

// Loads: one batch of reads, answered by the server or from the local copies
// that the client keeps of what it has read. What makes an answer worth having
// is its AsOf: for a copy, only what the last heartbeat vouches for.

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

const (
	// keepLocal bounds the memory of local copies. How fresh they are is told
	// by heartbeats and pushes, never by this.
	keepLocal = time.Hour

	// oldest is the age at which a local copy, or the answer of a heartbeat
	// that vouches for it, is believed no more.
	oldest = time.Second
)

// Load implements [tiers.Cache]. A name that was loaded before and has not
// changed is answered from a local copy, without a command; its AsOf is the
// sending of the last answered heartbeat, and older than a second it is an
// error that is [tiers.ErrUnavailable].
func (c *Cache) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	results := make([]tiers.Result, len(names))
	sp := spaceOf(namespace)
	keys := make([]string, 0, len(names))
	places := make([]int, 0, len(names)) // of keys in results
	for i, name := range names {
		results[i].Name = name
		if err := checkPlace(namespace, name); err != nil {
			results[i].Err = fmt.Errorf("redis: load %q: %w", name, err)
			continue
		}
		keys = append(keys, entryKey(c.conf.KeyPrefix, sp, name))
		places = append(places, i)
	}
	if len(keys) == 0 {
		return results
	}
	var got reading
	err := c.ask(ctx, func(s *session) { got = c.read(s, keys) })
	for n, i := range places {
		if err == nil {
			results[i] = got.result(namespace, names[i], n)
		} else {
			results[i].Err = fmt.Errorf("redis: load %q: %w", names[i], err)
		}
	}
	return results
}

// A reading is what one batch of reads gave.
type reading struct {
	answers []rueidis.RedisResult
	sent    time.Time // before the batch was sent
	vouched time.Time // the last answered heartbeat by then
	seal    *envelope.Seal
	ended   bool // the session ended meanwhile: pushes for these names may be lost already
}

func (c *Cache) read(s *session, keys []string) reading {
	gets := make([]rueidis.CacheableTTL, len(keys))
	for i, key := range keys {
		// The short form of client-side caching: two commands per key instead
		// of five. It gives up the server's expiry as a bound of the copy's,
		// which only ends entries that have not changed.
		gets[i] = rueidis.CT(s.client.B().Get().Key(key).Cache().ToStaticTTL(), keepLocal)
	}
	r := reading{seal: c.conf.seal, vouched: *s.answered.Load(), sent: time.Now()}
	r.answers = s.client.DoMultiCache(context.Background(), gets...)
	r.ended = !c.hub.lives(s)
	return r
}

// result is the outcome of the n-th read of r, which was for name.
func (r reading) result(namespace, name string, n int) tiers.Result {
	fail := func(err error) tiers.Result {
		return tiers.Result{Record: tiers.Record{Name: name}, Err: fmt.Errorf("redis: load %q: %w", name, err)}
	}
	answer := r.answers[n]
	asOf := r.sent
	if answer.IsCacheHit() {
		asOf = r.vouched
	}
	raw, err := answer.AsBytes()
	switch {
	case r.ended:
		return fail(fmt.Errorf("%w: the connection ended", tiers.ErrUnavailable))
	case answer.IsCacheHit() && time.Since(asOf) > oldest:
		return fail(fmt.Errorf("%w: no heartbeat answered for %v", tiers.ErrUnavailable, oldest))
	case rueidis.IsRedisNil(err):
		return fail(tiers.ErrMiss)
	case wrongType(err):
		return fail(&tiers.CorruptError{Reason: "a key of another type"})
	case err != nil:
		return fail(explain(err))
	}
	rec, err := r.seal.Decode(namespace, name, raw)
	if err != nil {
		return fail(err)
	}
	rec.Raw, rec.AsOf = raw, asOf
	return tiers.Result{Record: rec}
}

func wrongType(err error) bool {
	re, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(re.Error(), "WRONGTYPE")
}
