package fastopt

import (
	"math"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// The ordering rule, all of it: what is known, what a tier says, the verdict.
func TestDecide(t *testing.T) {
	at := func(epoch uint32, rev uint64) tiers.Stamp { return tiers.Stamp{Epoch: epoch, Revision: rev} }
	value := func(epoch uint32, rev uint64) facts {
		return facts{kind: kindValue, stamp: at(epoch, rev), seen: at(epoch, rev), sum: 7}
	}
	absent := func(epoch uint32, rev uint64) facts {
		return facts{kind: kindAbsent, absent: true, stamp: at(epoch, rev), seen: at(epoch, rev), sum: 1}
	}
	expired := func(epoch uint32, rev uint64) facts {
		f := value(epoch, rev)
		f.kind = kindExpired
		return f
	}
	rejected := func(epoch uint32, rev, seen uint64) facts { // the row at seen is invalid
		f := value(epoch, rev)
		f.seen, f.err = at(epoch, seen), ErrInvalidValue
		return f
	}
	gone := absent(1, 5) // an absent that expired
	gone.kind = kindExpired
	const v, a = tiers.Value, tiers.Absent
	for _, c := range []struct {
		what  string
		known facts
		dead  bool
		kind  tiers.Kind
		stamp tiers.Stamp
		sum   uint64
		want  verdict
	}{
		{"nothing known", facts{}, true, v, at(1, 1), 7, replace},
		{"nothing known, absent", facts{}, true, a, at(1, 0), 1, replace},
		{"newer revision", value(1, 5), false, v, at(1, 6), 8, replace},
		{"newer epoch, lower revision", value(1, 5), false, v, at(2, 1), 8, replace},
		{"older epoch, higher revision", value(2, 5), false, v, at(1, 9), 8, refuse},
		{"older revision", value(1, 5), false, v, at(1, 4), 8, refuse},
		{"the same again", value(1, 5), false, v, at(1, 5), 7, renew},
		{"the same stamp, other bytes", value(1, 5), false, v, at(1, 5), 8, conflict},
		{"the same stamp, absent", value(1, 5), false, a, at(1, 5), 1, conflict},
		{"absent, newer", value(1, 5), false, a, at(1, 6), 1, replace},
		{"absent, older", value(1, 5), false, a, at(1, 4), 1, refuse},
		{"value over an older absent", absent(1, 5), false, v, at(1, 6), 7, replace},
		{"value over a newer absent", absent(1, 5), false, v, at(1, 4), 7, refuse},
		{"absent again, same head", absent(1, 5), false, a, at(1, 5), 1, renew},
		{"absent again, older head", absent(1, 5), false, a, at(1, 3), 1, renew},
		{"absent again, newer head keeps the head", absent(1, 5), false, a, at(1, 9), 1, replace},
		{"absent, newer epoch", absent(1, 5), false, a, at(2, 1), 1, replace},
		{"absent, older epoch", absent(2, 5), false, a, at(1, 9), 1, refuse},
		{"absent again, over a dead one", absent(1, 5), true, a, at(1, 3), 1, replace},
		{"absent again, over one that expired", gone, true, a, at(1, 3), 1, replace},
		{"absent, older than an invalid row", rejected(1, 0, 6), false, a, at(1, 5), 1, refuse},
		{"the same over what expired", expired(1, 5), true, v, at(1, 5), 7, replace},
		{"older than what expired", expired(1, 5), true, v, at(1, 4), 7, refuse},
		{"the same, claimed by the expirer", value(1, 5), true, v, at(1, 5), 7, replace},
		{"the invalid row again", rejected(1, 5, 6), false, v, at(1, 6), 7, renew},
		{"older than the invalid row, newer than the value", rejected(1, 5, 7), false, v, at(1, 6), 9, refuse},
		{"the value before the invalid row", rejected(1, 5, 6), false, v, at(1, 5), 7, refuse},
		{"newer than the invalid row", rejected(1, 5, 6), false, v, at(1, 7), 9, replace},
		{"absent, newer than the invalid row", rejected(1, 5, 6), false, a, at(1, 7), 1, replace},
		{"invalid and never loaded, again", facts{err: ErrInvalidValue, seen: at(1, 6), sum: 7}, false, v, at(1, 6), 7, renew},
	} {
		asked := int64(100)
		if c.dead {
			asked = dead
		}
		got := decide(newMeta(c.known, asked), &answer{rec: tiers.Record{Kind: c.kind, Stamp: c.stamp}}, c.sum)
		if got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.what, got, c.want)
		}
	}
}

func TestRenewRaisesUntilDead(t *testing.T) {
	m := newMeta(facts{}, 10)
	for _, step := range []struct{ asked, want int64 }{{5, 10}, {20, 20}, {15, 20}} {
		if !m.renew(step.asked) || m.asked.Load() != step.want {
			t.Errorf("after renew(%d): %d, want %d", step.asked, m.asked.Load(), step.want)
		}
	}
	m.asked.Store(dead)
	if m.renew(30) || m.asked.Load() != dead {
		t.Error("a dead entry was renewed")
	}
}

// The verdict on an entry at the edges of its times, and where sums overflow.
func TestStateAtTheEdges(t *testing.T) {
	l := lives{ttl: 10, usable: 30}
	forever := lives{ttl: 10, usable: int64(Forever)}
	for _, c := range []struct {
		what  string
		f     facts
		asked int64
		now   int64
		l     lives
		token uint64
		want  State
	}{
		{"at asked", facts{kind: kindValue}, 100, 100, l, 0, Fresh},
		{"last fresh instant", facts{kind: kindValue}, 100, 109, l, 0, Fresh},
		{"first stale instant", facts{kind: kindValue}, 100, 110, l, 0, Stale},
		{"last usable instant", facts{kind: kindValue}, 100, 129, l, 0, Stale},
		{"first expired instant", facts{kind: kindValue}, 100, 130, l, 0, Expired},
		{"before a push", facts{kind: kindValue, token: 3}, 100, 101, l, 4, Stale},
		{"after a push", facts{kind: kindValue, token: 4}, 100, 101, l, 4, Fresh},
		{"asked for later than wanted", facts{kind: kindValue, token: 5}, 100, 101, l, 4, Fresh},
		{"for ever", facts{kind: kindValue}, 100, math.MaxInt64 - 1, forever, 0, Stale},
		{"asked near the end of time", facts{kind: kindValue}, math.MaxInt64 - 5, math.MaxInt64 - 1, l, 0, Fresh},
		{"asked before Open", facts{kind: kindValue}, -5, 4, l, 0, Fresh},
		{"absent", facts{kind: kindAbsent}, 100, 105, l, 0, Fresh},
		{"unloaded", facts{}, dead, 100, l, 0, Unloaded},
		{"dead", facts{kind: kindValue}, dead, 100, l, 0, Expired},
		{"expired", facts{kind: kindExpired}, dead, 100, l, 0, Expired},
		{"invalid, long ago", facts{kind: kindValue, err: ErrInvalidValue}, 100, 1000, l, 0, Stale},
		{"override", facts{kind: kindOverride}, dead, 1000, l, 9, Fresh},
	} {
		if got := newMeta(c.f, c.asked).state(c.now, c.l, c.token); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
