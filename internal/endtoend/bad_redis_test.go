package endtoend

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// What others do to our keys in Redis while whole processes run: no wrong value is
// read, none is lost, nothing panics, and Redis is right again by itself.

// eval is a deed by a script, which gets our key and that of another entry.
func eval(script string) func(*world) error {
	return func(w *world) error { return w.redisDo("EVAL", script, "2", redisKey, spareKey) }
}

const (
	redisKey = "fastopt:shop:n"
	spareKey = "fastopt:shop:limit/spare"
)

var deeds = map[string]func(*world) error{
	"garbage":              eval(`redis.call('SET', KEYS[1], '\0\255nonsense')`),
	"nothing":              eval(`redis.call('SET', KEYS[1], '')`),
	"another program's":    eval(`redis.call('SET', KEYS[1], '{"value": 3}')`),
	"cut in its header":    eval(`redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, 20))`),
	"cut behind its stamp": eval(`redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, 31))`),
	"cut in its value":     eval(`redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, -2))`),
	"a bit of its kind":    eval(`redis.call('BITFIELD', KEYS[1], 'INCRBY', 'u1', 6, 1)`),
	"a bit of its stamp":   eval(`redis.call('BITFIELD', KEYS[1], 'INCRBY', 'u1', 239, 1)`),
	"a bit of its sum":     eval(`redis.call('BITFIELD', KEYS[1], 'INCRBY', 'u1', 290, 1)`),
	"a bit of its value":   eval(`local n = redis.call('STRLEN', KEYS[1]) redis.call('BITFIELD', KEYS[1], 'INCRBY', 'u1', n * 8 - 1, 1)`),
	"made absent":          eval(`redis.call('SETRANGE', KEYS[1], 0, 'T')`),
	"a stamp that is none": eval(`redis.call('SETRANGE', KEYS[1], 1, string.rep('9', 30))`),
	"future and garbage":   eval(`redis.call('SET', KEYS[1], 'V429496729518446744073709551615garbage')`),
	"future, damaged":      eval(`redis.call('SETRANGE', KEYS[1], 15, '9')`),
	"a later epoch":        eval(`redis.call('SETRANGE', KEYS[1], 1, '0000000009')`),
	"a list":               eval(`redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], '1')`),
	"a hash":               eval(`redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[1], 'f', '1')`),
	"RENAME over it":       eval(`redis.call('RENAME', KEYS[2], KEYS[1])`),
	"COPY over it":         eval(`redis.call('COPY', KEYS[2], KEYS[1], 'REPLACE')`),
	"RENAME away":          eval(`redis.call('RENAME', KEYS[1], 'elsewhere')`),
	"EXPIRE":               eval(`redis.call('PEXPIRE', KEYS[1], 1)`),
	"EXPIRE, in the past":  eval(`redis.call('EXPIRE', KEYS[1], -1)`),
	"DEL":                  eval(`redis.call('DEL', KEYS[1])`),
	"FLUSHALL":             func(w *world) error { return w.redisDo("FLUSHALL") },
	"MOVE":                 func(w *world) error { return w.redisDo("MOVE", redisKey, "1") },
}

func TestR37BadDeedsInRedisReachNobody(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start()}
	relay(t, 2*time.Second, ps...)
	onlooker := w.config().Cache
	v := 0
	for what, do := range deeds {
		v++
		must(t, second(ps[0].limit.Set(ctx, "spare", 999)))
		set(t, ps[0], v)
		for _, p := range ps {
			p.sees(t, 2*time.Second, v)
		}
		within(t, 2*time.Second, "Redis has it", func() bool { return w.cached(onlooker, "n") == fmt.Sprint(v) })
		must(t, do(w))
		only(t, 100*time.Millisecond, v, ps...)
		within(t, 2*patrol, what+": Redis is right again", func() bool { only(t, 0, v, ps...); return w.cached(onlooker, "n") == fmt.Sprint(v) })
		for _, p := range ps {
			p.sees(t, 2*time.Second, v)
		}
	}
	for _, p := range ps {
		if s := p.Stats(); s.Expiries > 0 || s.Epoch != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// only fails the test if a process reads anything but v for so long.
func only(t *testing.T, d time.Duration, v int, ps ...*process) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		for i, p := range ps {
			if r := p.n.Inspect(); r.Value != v || p.n.Get() != v {
				t.Fatalf("process %d reads %+v, want %d", i, r, v)
			}
		}
		if time.Since(start) >= d {
			return
		}
	}
}

// A whole entry with a stamp that the source never gave: of a later epoch it is
// read by nobody, of the same epoch nothing tells it from a new one until the
// patrol comes by. A process without a source follows as well.
func TestEntriesOfTheFutureAreCorrected(t *testing.T) {
	w := newWorld(t)
	ps := []*process{w.start(), w.start()}
	cfg := w.config()
	cfg.Source = nil
	alone, err := open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, alone.Close()) })
	relay(t, 2*time.Second, ps...)
	onlooker := w.config().Cache
	for i, c := range []struct {
		what  string
		rec   tiers.Record
		never bool
	}{
		{"a later epoch", tiers.Record{Kind: tiers.Value, Data: []byte("666"), Stamp: tiers.Stamp{Epoch: 9, Revision: 1}}, true},
		{"absent, of a later epoch", tiers.Record{Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 9, Revision: 1}}, true},
		{"the same epoch", tiers.Record{Kind: tiers.Value, Data: []byte("666"), Stamp: tiers.Stamp{Epoch: 1, Revision: 1 << 40}}, false},
		{"absent, of the same epoch", tiers.Record{Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: 1, Revision: 1 << 40}}, false},
	} {
		v := i + 1
		set(t, ps[0], v)
		for _, p := range append(ps, alone) {
			p.sees(t, patrol, v) // the one without a source is not sure at once
		}
		c.rec.Name = "n"
		if r := onlooker.Fill(ctx, "shop", []tiers.Fill{{Record: c.rec}})[0]; !r.Stored {
			t.Fatalf("%s: %+v", c.what, r)
		}
		start := time.Now()
		within(t, 2*patrol, c.what+": Redis is right again", func() bool {
			if c.never {
				only(t, 0, v, append(ps, alone)...)
			}
			return w.cached(onlooker, "n") == fmt.Sprint(v)
		})
		for _, p := range ps {
			p.sees(t, 2*time.Second, v)
		}
		t.Logf("%s: right after %v", c.what, time.Since(start))
		alone.sees(t, patrol, v)
		set(t, ps[1], 100+v)
		for _, p := range append(ps, alone) {
			p.sees(t, 2*time.Second, 100+v)
		}
	}
}

// Two services of one namespace declare one name with different types. Each keeps
// what it can use, says why, naming both sides and no value, and neither feeds a storm.
func TestR39TwoTypesOfOneName(t *testing.T) {
	w := newWorld(t)
	numbers := w.start()
	cfg := w.config()
	var r fastopt.Registry
	text := fastopt.New(&r, "n", "default")
	m, err := fastopt.Open(ctx, cfg, &r)
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })

	quarrels := func(err error, parts ...string) bool {
		for _, part := range append(parts, `"n"`) {
			if err == nil || !strings.Contains(err.Error(), part) {
				return false
			}
		}
		return errors.Is(err, fastopt.ErrInvalidValue)
	}
	first := set(t, numbers, 421).Stamp
	within(t, 3*time.Second, "the service of texts says what is wrong", func() bool {
		r := text.Inspect()
		return r.Value == "default" && r.State == fastopt.Stale && quarrels(r.Err, "declared here as string", "JSON number", first.String())
	})
	if r := text.Load(ctx); r.Value != "default" || strings.Contains(fmt.Sprint(r.Err), "421") {
		t.Errorf("Load gives %+v", r)
	}
	t.Log(text.Inspect().Err)

	rc, err := text.Set(ctx, "hidden")
	must(t, err)
	if text.Get() != "hidden" {
		t.Error("the writer does not read its write")
	}
	within(t, 3*time.Second, "the service of numbers says what is wrong", func() bool {
		r := numbers.n.Inspect()
		return r.Value == 421 && r.State == fastopt.Stale && quarrels(r.Err, "declared here as int", "JSON string", rc.Stamp.String())
	})
	if err := numbers.n.Inspect().Err; strings.Contains(err.Error(), "hidden") {
		t.Errorf("it tells the value: %v", err)
	}
	loads, sets := numbers.Stats().SourceLoads+m.Stats().SourceLoads, numbers.Stats().Fills+m.Stats().Fills
	only(t, 6*time.Second, 421, numbers) // beyond TTL and grace
	if n := numbers.Stats().SourceLoads + m.Stats().SourceLoads - loads; n > 12 {
		t.Errorf("%d loads of the source in 6 s", n)
	}
	if n := numbers.Stats().Fills + m.Stats().Fills - sets; n > 0 {
		t.Errorf("%d fills in 6 s", n)
	}
	must(t, second(numbers.n.Delete(ctx)))
	within(t, 2*time.Second, "the quarrel is over", func() bool {
		return text.Get() == "default" && text.Inspect().Err == nil && numbers.n.Get() == -1 && numbers.n.Inspect().Err == nil
	})
}
