package redis

// Loads: one batch of reads, each answered by the server that owns the key. What
// makes an answer worth having is its AsOf: the sending of the request.

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// Load implements [tiers.Cache]. It asks the servers, always: what need not be
// read again is known by the events of Watch.
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
		keys = append(keys, entryKey(c.set.KeyPrefix, sp, name))
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
	session *session
	replies []reply
	sent    time.Time // before the batch was sent
	seal    *envelope.Seal
	ended   bool // the session ended meanwhile: pushes for these names may be lost already
}

func (c *Cache) read(s *session, keys []string) reading {
	r := reading{session: s, seal: c.set.seal, sent: time.Now()}
	r.replies = s.read(keys)
	r.ended = !c.hub.lives(s)
	return r
}

// result is the outcome of the n-th read of r, which was for name.
func (r reading) result(namespace, name string, n int) tiers.Result {
	fail := func(err error) tiers.Result {
		return tiers.Result{Record: tiers.Record{Name: name}, Err: fmt.Errorf("redis: load %q: %w", name, err)}
	}
	raw, err := r.replies[n].bytes()
	switch {
	case r.ended:
		return fail(fmt.Errorf("%w: the connection ended", tiers.ErrUnavailable))
	case rueidis.IsRedisNil(err):
		return fail(tiers.ErrMiss)
	case wrongType(err):
		return fail(&tiers.CorruptError{Reason: "a key of another type"})
	case err != nil:
		return fail(r.session.explain(err))
	}
	rec, err := r.seal.Decode(namespace, name, raw)
	if err != nil {
		return fail(err)
	}
	rec.Raw, rec.AsOf = raw, r.sent
	return tiers.Result{Record: rec}
}

func wrongType(err error) bool {
	re, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(re.Error(), "WRONGTYPE")
}
