package redis

// The mark of a namespace: read from the server each time, and changed by one
// script that compares it to the byte.

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/tiers"
)

var _ tiers.Marker = (*Cache)(nil)

// swapMark stores a mark if exactly the bytes named stand there. 1 stored;
// else what stands there, nil if nothing or a key of another type does.
//
//	KEYS[1] the mark's key
//	ARGV[1] the mark
//	ARGV[2] the bytes it replaces; if not given, it replaces nothing
var swapMark = newScript(`
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then
  if not string.find(held.err, 'WRONGTYPE', 1, true) then
    return held
  end
  held = false
end
if (held or nil) ~= ARGV[2] then
  return held
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
`)

// Mark implements [tiers.Marker]. It asks the server each time, by a read that is not
// tracked. A mark that is sealed or of a newer version is an error that is
// [tiers.ErrForeign]; a key of another type is a [*tiers.CorruptError] without Raw.
func (c *Cache) Mark(ctx context.Context, namespace string) (tiers.Mark, error) {
	fail := func(err error) (tiers.Mark, error) { return tiers.Mark{}, fmt.Errorf("redis: mark: %w", err) }
	if err := tiers.CheckName(namespace); err != nil {
		return fail(fmt.Errorf("namespace: %w", err))
	}
	key := markKey(c.set.KeyPrefix, spaceOf(namespace))
	var answer reply
	var live *session
	if err := c.ask(ctx, func(s *session) { live, answer = s, s.peek(key) }); err != nil {
		return fail(err)
	}
	raw, err := answer.bytes()
	switch {
	case rueidis.IsRedisNil(err):
		return fail(tiers.ErrMiss)
	case wrongType(err):
		return fail(&tiers.CorruptError{Reason: "a key of another type"})
	case err != nil:
		return fail(live.explain(err))
	}
	m, err := c.set.seal.DecodeMark(namespace, raw)
	if err != nil {
		return fail(err)
	}
	return m, nil
}

// swaps bounds how often PutMark tries to replace bytes that are no mark, and
// that somebody changes meanwhile.
const swaps = 3

// PutMark implements [tiers.Marker]. A key of another type counts as no mark. What is
// [tiers.ErrForeign] to Mark is replaced by nobody who cannot read it: an error.
// A call that times out may still be carried out; Mark tells. Texts of an
// identity may have [tiers.MaxName] bytes, and next may not be zero.
func (c *Cache) PutMark(ctx context.Context, namespace string, old, next tiers.Mark) (stored bool, err error) {
	fail := func(err error) (bool, error) { return false, fmt.Errorf("redis: put mark: %w", err) }
	text, err := c.set.seal.EncodeMark(nil, namespace, next)
	if err != nil {
		return fail(err)
	}
	args := []string{string(text)}
	if old != (tiers.Mark{}) {
		text, err := c.set.seal.EncodeMark(nil, namespace, old)
		if err != nil {
			return fail(err)
		}
		args = append(args, string(text))
	}
	for range swaps {
		stored, held, err := c.swap(ctx, namespace, args)
		if err != nil {
			return fail(err)
		}
		if stored || held == nil || old != (tiers.Mark{}) {
			return stored, nil
		}
		_, err = c.set.seal.DecodeMark(namespace, held)
		switch {
		case err == nil:
			return false, nil
		case !errors.Is(err, tiers.ErrMiss):
			return fail(err)
		}
		args = []string{args[0], string(held)}
	}
	return false, nil
}

// swap runs the script once. held is what stands there, if nothing was stored.
func (c *Cache) swap(ctx context.Context, namespace string, args []string) (stored bool, held []byte, err error) {
	run := call{markKey(c.set.KeyPrefix, spaceOf(namespace)), args}
	var answers []reply
	var live *session
	if err := c.ask(ctx, func(s *session) { live, answers = s, swapMark.runAll(s, []call{run}) }); err != nil {
		return false, nil, err
	}
	answer := answers[0]
	switch {
	case rueidis.IsRedisNil(answer.err):
		return false, nil, nil
	case answer.err != nil:
		return false, nil, live.explain(answer.err)
	case answer.msg.IsInt64():
		return true, nil, nil
	}
	held, err = answer.bytes()
	if err != nil {
		return false, nil, live.explain(err)
	}
	return false, held, nil
}
