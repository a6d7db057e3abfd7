package tiertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// Markers with one bug each.

// A bentMarker is a marker of which one method or both are others.
type bentMarker struct {
	*memory.Cache
	mark func(ctx context.Context, c *memory.Cache, ns string) (tiers.Mark, error)
	put  func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error)
}

func (b bentMarker) Mark(ctx context.Context, ns string) (tiers.Mark, error) {
	if b.mark == nil {
		return b.Cache.Mark(ctx, ns)
	}
	return b.mark(ctx, b.Cache, ns)
}

func (b bentMarker) PutMark(ctx context.Context, ns string, old, next tiers.Mark) (bool, error) {
	if b.put == nil {
		return b.Cache.PutMark(ctx, ns, old, next)
	}
	return b.put(ctx, b.Cache, ns, old, next)
}

// forceMark stores next whatever stands there.
func forceMark(ctx context.Context, c *memory.Cache, ns string, next tiers.Mark) (bool, error) {
	c.CorruptMark(ns, []byte("in the way"))
	return c.PutMark(ctx, ns, tiers.Mark{}, next)
}

// puts plants a PutMark that forces when like says that old and what stands are the same.
func puts(like func(old, stands tiers.Mark) bool) bentMarker {
	return bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		if stands, err := c.Mark(ctx, ns); err == nil && next != (tiers.Mark{}) && like(old, stands) {
			return forceMark(ctx, c, ns, next)
		}
		return c.PutMark(ctx, ns, old, next)
	}}
}

var markBugs = []struct {
	name     string
	caughtBy string
	plant    bentMarker
}{
	{"no mark is the zero mark", "NoMarkIsAMiss", bentMarker{mark: func(ctx context.Context, c *memory.Cache, ns string) (tiers.Mark, error) {
		m, err := c.Mark(ctx, ns)
		if errors.Is(err, tiers.ErrMiss) {
			err = nil
		}
		return m, err
	}}},
	{"texts are made UTF-8", "MarkIsKeptToTheByte", bentMarker{mark: func(ctx context.Context, c *memory.Cache, ns string) (m tiers.Mark, err error) {
		m, err = c.Mark(ctx, ns)
		if text, bad := json.Marshal(m); bad == nil {
			m = tiers.Mark{}
			bad = json.Unmarshal(text, &m)
			err = errors.Join(err, bad)
		}
		return m, err
	}}},
	{"put is blind", "OnlyTheExactMarkIsReplaced", puts(func(old, stands tiers.Mark) bool { return true })},
	{"the counter is not compared", "OnlyTheExactMarkIsReplaced", puts(func(old, stands tiers.Mark) bool { return old.Identity == stands.Identity })},
	{"the timeline is not compared", "OnlyTheExactMarkIsReplaced", puts(func(old, stands tiers.Mark) bool {
		old.Timeline = stands.Timeline
		return old == stands
	})},
	{"no old is any old", "OnlyTheExactMarkIsReplaced", puts(func(old, stands tiers.Mark) bool { return old == tiers.Mark{} })},
	{"an empty place takes all", "OnlyTheExactMarkIsReplaced", bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		if _, err := c.Mark(ctx, ns); err != nil {
			old = tiers.Mark{}
		}
		return c.PutMark(ctx, ns, old, next)
	}}},
	{"a higher epoch is never replaced", "OnlyTheExactMarkIsReplaced", bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		if next.Epoch < old.Epoch {
			return false, nil
		}
		return c.PutMark(ctx, ns, old, next)
	}}},
	{"one mark for all", "MarksOfNamespacesAreApart", bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		return c.PutMark(ctx, "all", old, next)
	}}},
	{"the mark is an entry", "AMarkIsNoEntry", asEntry("mark")},
	{"the mark is announced", "AMarkIsNoEvent", asEntry("hidden")},
	{"zero is no mark any more", "NobodyPutsTheZeroMark", bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		if next == (tiers.Mark{}) {
			return true, nil
		}
		return c.PutMark(ctx, ns, old, next)
	}}},
	{"contexts are not heard", "MarkWithEndedContextIsNoAnswer", bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		return c.PutMark(context.WithoutCancel(ctx), ns, old, next)
	}}},
	{"damage stays for ever", "ADamagedMarkCountsAsNone", bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		if _, err := c.Mark(ctx, ns); err != nil && err != tiers.ErrMiss {
			return false, nil
		}
		return c.PutMark(ctx, ns, old, next)
	}}},
}

// asEntry plants a mark that is kept as the entry of name.
func asEntry(name string) bentMarker {
	return bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		stored, err := c.PutMark(ctx, ns, old, next)
		if stored {
			c.Fill(ctx, ns, []tiers.Fill{{Record: value(name, fmt.Sprint(next.Fed), at(next.Fed))}})
		}
		return stored, err
	}}
}

func TestChecksCatchBrokenMarkers(t *testing.T) {
	checks := append(markChecks[:len(markChecks):len(markChecks)], markCheck{"ADamagedMarkCountsAsNone", damagedMark})
	run := func(bug bentMarker, caughtBy string) string {
		check := named(t, checks, caughtBy, func(c markCheck) string { return c.name })
		bug.Cache = memory.NewCache()
		return judge(func(p *probe) { check.run(&markProbe{&cacheProbe{p, bug}, bug}) })
	}
	for _, bug := range markBugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			caught := run(bug.plant, bug.caughtBy)
			if caught == "" {
				t.Fatalf("%s holds for a marker with this bug", bug.caughtBy)
			}
			t.Log(caught)
		})
	}
	t.Run("compare, then set", func(t *testing.T) {
		t.Parallel()
		caught := run(meetThenSet(), "OneOfManyReplacesAMark")
		if caught == "" {
			t.Fatal("OneOfManyReplacesAMark holds for a marker with this bug")
		}
		t.Log(caught)
	})
}

// meetThenSet compares, and stores once another one has compared, too, or none comes.
func meetThenSet() bentMarker {
	meet := make(chan bool)
	return bentMarker{put: func(ctx context.Context, c *memory.Cache, ns string, old, next tiers.Mark) (bool, error) {
		if stands, _ := c.Mark(ctx, ns); stands != old {
			return false, nil
		}
		select {
		case meet <- true:
		case <-meet:
		case <-time.After(100 * time.Millisecond):
		}
		return forceMark(ctx, c, ns, next)
	}}
}
