package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// When a fault is over, all must be well within 2 s, with nobody's help (I16,
// I20): every option in every process was fresh and not older than what was
// committed when the fault ended, the cache held nothing older, and a write was
// acknowledged. Each has to be seen once, not all at the same instant: new
// writes go on.

const (
	recoveryBound = 2 * time.Second
	recoveryEvery = 5 * time.Millisecond
	// How long recovery is watched when it is late, so that the report can tell.
	recoveryPatience = 10 * time.Second
)

// A convalescence is what is still missing.
type convalescence struct {
	run     *run
	since   int64
	need    []write  // by option: the newest commit when the fault ended
	options [][]*key // by process: not seen fresh yet
	unready int      // processes whose Ready says no
	cached  []*key   // not seen right in the cache yet
}

func (r *run) newConvalescence(now int64) *convalescence {
	c := &convalescence{run: r, since: now, need: make([]write, len(r.options))}
	for i, k := range r.options {
		c.need[i] = k.last(func(w *write) bool { return w.outcome == acked && !w.stamp.IsZero() })
	}
	c.cached = slices.Clone(r.options)
	for range r.slots {
		c.options = append(c.options, slices.Clone(r.options))
	}
	return c
}

// knownBy reports whether who has an answer with this stamp knows of w. Answers
// that there is no value say the same, whatever their stamps.
func (w *write) knownBy(absent bool, stamp tiers.Stamp) bool {
	return !w.stamp.Newer(stamp) || w.deleted && absent
}

// look strikes off what is well, and reports whether nothing is left.
func (c *convalescence) look(ctx context.Context) bool {
	left := 0
	c.unready = 0
	for i, keys := range c.options {
		p := c.run.hold(i)
		if p == nil {
			c.unready++
			continue
		}
		c.options[i] = slices.DeleteFunc(keys, func(k *key) bool {
			got := p.options[k.index].Inspect()
			return got.State == fastopt.Fresh && c.need[k.index].knownBy(got.Origin == fastopt.Default, got.Stamp)
		})
		if left += len(c.options[i]); len(c.options[i]) == 0 && p.manager.Ready() != nil {
			c.unready++
		}
		c.run.release(p)
	}
	if left == 0 && len(c.cached) > 0 { // the cache is asked last, as asking is not free
		c.lookIntoCache(ctx)
	}
	return left == 0 && c.unready == 0 && len(c.cached) == 0 && c.run.lastAck.Load() > c.since
}

func (c *convalescence) lookIntoCache(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, doubtTimeout)
	defer cancel()
	keys := c.cached
	var still []*key
	for part := range slices.Chunk(keys, tiers.MaxBatch) {
		names := make([]string, len(part))
		for i, k := range part {
			names[i] = k.name
		}
		for i, res := range c.run.stores.shared().Load(ctx, namespace, names) {
			behind := res.Err == nil && !c.need[part[i].index].knownBy(res.Kind == tiers.Absent, res.Stamp)
			silent := res.Err != nil && !errors.Is(res.Err, tiers.ErrMiss)
			if behind || silent {
				still = append(still, part[i])
			}
		}
	}
	c.cached = still
}

// recover waits until all is well again after a fault, and reports a violation
// if that takes too long. It returns how long it took, and whether all is well.
func (r *run) recover(ctx context.Context, fault string) (took time.Duration, well bool) {
	since := r.now()
	c := r.newConvalescence(since)
	late := false
	for {
		well = c.look(ctx)
		took = time.Duration(r.now() - since)
		if ctx.Err() != nil {
			return took, well
		}
		lag := time.Duration(r.lag.recent())
		if !late && took > recoveryBound+lag && !r.starved(int64(lag)) {
			late = true
			r.violateAfter(fault, notRecovered, c.example(), c.missing(took))
		}
		if well {
			for p := range r.slots {
				r.oracle.settle(p)
			}
		}
		if well || took > recoveryPatience {
			return took, well
		}
		pause(ctx, recoveryEvery)
	}
}

// example is an option that is not right yet, nil if all are.
func (c *convalescence) example() *key {
	for _, keys := range append(c.options, c.cached) {
		if len(keys) > 0 {
			return keys[0]
		}
	}
	return nil
}

// missing says what is not well after so long.
func (c *convalescence) missing(after time.Duration) string {
	n := 0
	for _, keys := range c.options {
		n += len(keys)
	}
	text := fmt.Sprintf("%v after its end %d options in processes and %d in the cache were not right, %d processes not ready, the last write was acknowledged %v after it",
		after.Round(time.Millisecond), n, len(c.cached), c.unready, time.Duration(c.run.lastAck.Load()-c.since).Round(time.Millisecond))
	k := c.example()
	if k == nil {
		return text
	}
	text += fmt.Sprintf("; %s was then committed with stamp %v", k.name, c.need[k.index].stamp)
	for i := range c.run.slots {
		p := c.run.hold(i)
		if p == nil {
			continue
		}
		got, st, ready := p.options[k.index].Inspect(), p.manager.Stats(), p.manager.Ready()
		c.run.release(p)
		text += fmt.Sprintf("\n        process %d: %v by %v, stamp %v, age %v, %d keys under repair, breakers %q and %q, ready: %v",
			i, got.State, got.Origin, got.Stamp, got.Age.Round(time.Millisecond), st.Dirty, st.CacheTier.Breaker, st.SourceTier.Breaker, ready)
	}
	return text
}
