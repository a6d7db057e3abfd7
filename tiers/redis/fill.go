package redis

// Fills: the one way by which a record gets into Redis, and the script that
// keeps the stored stamp from ever falling.

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// setNewer stores an entry unless what stands there is as new. 1 stored, 0
// refused, 2 refused for a stamp that is newer, or the same with other bytes. A
// refused one writes nothing and so announces nothing.
//
//	KEYS[1] the entry's key
//	ARGV[1] the entry
//	ARGV[2] milliseconds to keep it, 0 without end
//	ARGV[3] 1: it says that no row was found, which any absent of its epoch says, too
//	ARGV[4] if given: the exact bytes that it replaces whatever their stamp
//
// Stamps are compared as text: Lua's numbers would lose digits. The key is
// read with pcall, because a key of another type counts as empty. No other
// error does: what cannot be read is not overwritten.
var setNewer = newScript(`
local held = redis.pcall('GETRANGE', KEYS[1], 0, 30)
if type(held) == 'table' and not string.find(held.err, 'WRONGTYPE', 1, true) then
  return held
end
if type(held) == 'string' and #held == 31 and string.find(held, '^[VT]%d+$')
   and string.sub(held, 2, 11) <= '4294967295' and string.sub(held, 12, 31) <= '18446744073709551615' then
  local asnew = string.sub(held, 2) >= string.sub(ARGV[1], 2, 31)
  if ARGV[3] == '1' and string.sub(held, 1, 11) == string.sub(ARGV[1], 1, 11) then
    asnew = true
  end
  if asnew and not (ARGV[4] and redis.call('GET', KEYS[1]) == ARGV[4]) then
    if string.sub(held, 2) == string.sub(ARGV[1], 2, 31) then
      local differs = string.sub(held, 1, 1) .. string.sub(ARGV[1], 1, 1) ~= 'TT' and redis.call('GET', KEYS[1]) ~= ARGV[1]
      return differs and 2 or 0
    end
    return string.sub(held, 2) > string.sub(ARGV[1], 2, 31) and 2 or 0
  end
end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
`)

// Answers of setNewer; 0 is neither.
const (
	stored = 1
	ahead  = 2
)

// Fill implements [tiers.Cache]. All fills go out in one write. A record that
// no entry can hold (too large, a bad name) is an error that is neither
// [tiers.ErrUnavailable] nor [tiers.ErrSetup], and concerns that fill alone.
// Ahead goes by the stamp that stands there, whatever follows it.
func (c *Cache) Fill(ctx context.Context, namespace string, fills []tiers.Fill) []tiers.FillResult {
	results := make([]tiers.FillResult, len(fills))
	sp := spaceOf(namespace)
	calls := make([]call, 0, len(fills))
	places := make([]int, 0, len(fills)) // of calls in results
	for i, f := range fills {
		args, err := fillArgs(c.set.seal, namespace, f)
		if err != nil {
			results[i].Err = fmt.Errorf("redis: fill %q: %w", f.Name, err)
			continue
		}
		calls = append(calls, call{entryKey(c.set.KeyPrefix, sp, f.Name), args})
		places = append(places, i)
	}
	if len(calls) == 0 {
		return results
	}
	var answers []reply
	var live *session
	err := c.ask(ctx, func(s *session) { live, answers = s, setNewer.runAll(s, calls) })
	for n, i := range places {
		failed := err
		if failed == nil {
			said, err := answers[n].integer()
			results[i].Stored = err == nil && said == stored
			results[i].Ahead = err == nil && said == ahead
			if err != nil {
				failed = live.explain(err)
			}
		}
		if failed != nil {
			results[i].Err = fmt.Errorf("redis: fill %q: %w", fills[i].Name, failed)
		}
	}
	return results
}

// A call is one run of a script.
type call struct {
	key  string
	args []string
}

func fillArgs(seal *envelope.Seal, namespace string, f tiers.Fill) ([]string, error) {
	if f.TTL < 0 {
		return nil, fmt.Errorf("a TTL of %v", f.TTL)
	}
	blob, err := seal.Encode(make([]byte, 0, seal.Overhead()+len(f.Data)), namespace, f.Record)
	if err != nil {
		return nil, err
	}
	px, noRow := "0", "0"
	if f.TTL > 0 {
		px = strconv.FormatInt(millis(f.TTL), 10)
	}
	if f.NoRow {
		noRow = "1"
	}
	args := []string{rueidis.BinaryString(blob), px, noRow}
	if f.Replace != nil {
		args = append(args, string(f.Replace))
	}
	return args, nil
}

// A script is text that a server runs as one step, and knows by its sum.
type script struct{ text, sum string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // the name Redis gives a script
	return script{text, hex.EncodeToString(sum[:])}
}

// runAll runs the script for all calls at once, by its sum; where a server
// has forgotten it, again by its text.
func (sc script) runAll(s *session, calls []call) []reply {
	keys := make([]string, len(calls))
	for i, r := range calls {
		keys[i] = r.key
	}
	answers := s.do(keys, func(b rueidis.Builder, i int) rueidis.Completed {
		return b.Evalsha().Sha1(sc.sum).Numkeys(1).Key(keys[i]).Arg(calls[i].args...).Build()
	})
	var again []string
	var places []int // of again in answers
	for i, a := range answers {
		if re, ok := rueidis.IsRedisErr(a.err); ok && re.IsNoScript() {
			again, places = append(again, keys[i]), append(places, i)
		}
	}
	if len(again) > 0 {
		for n, a := range s.do(again, func(b rueidis.Builder, i int) rueidis.Completed {
			return b.Eval().Script(sc.text).Numkeys(1).Key(again[i]).Arg(calls[places[i]].args...).Build()
		}) {
			answers[places[n]] = a
		}
	}
	return answers
}
