package endtoend

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
)

// Postgres fails, in every way: options live on from Redis beyond TTL and grace,
// and a Set says within a second what became of it. One that was never sent, or
// was refused, leaves no trace; one that was sent and not answered is read again
// as soon as the primary answers.

// A pgMishap also says what a Set may come to while it lasts.
type pgMishap struct {
	name    string
	prepare func(*outage) mishap
	first   []error // of a Set right after it began
	truth   []int   // what n may be when it is over
	writes  bool    // only writes fail
}

var (
	refused = []error{fastopt.ErrUnavailable}
	unknown = []error{fastopt.ErrOutcomeUnknown}
	either  = []error{fastopt.ErrUnavailable, fastopt.ErrOutcomeUnknown} // whether the end of its connection is noticed first
)

// atOnce is how long a Set takes that is not sent, and what the test does itself.
const atOnce = 4 * room

// What is set right after the mishap began, and while Postgres is known to fail.
const sentAway, refusedValue = 100, 200

var stays = []int{1}

func pgDrop(flows ...faults.Flow) func(*outage) mishap {
	return func(*outage) mishap {
		return mishap{begin: func(o *outage) { o.toPostgres.Drop(flows...) }, end: func(o *outage) {
			if o.toPostgres.Traffic(faults.ToServer).Dropped+o.toPostgres.Traffic(faults.ToClient).Dropped == 0 {
				o.t.Error("the proxy did nothing")
			}
			must(o.t, o.toPostgres.Heal())
		}}
	}
}

var pgMishaps = []pgMishap{
	{name: "killed", first: either, truth: stays, prepare: func(*outage) mishap {
		return mishap{begin: func(o *outage) { must(o.t, o.world.pg.Kill()) }, end: func(o *outage) { must(o.t, o.world.pg.Restart(ctx)) }}
	}},
	{name: "frozen", first: unknown, truth: []int{1, sentAway}, prepare: func(*outage) mishap {
		return mishap{begin: func(o *outage) { must(o.t, o.world.pg.Freeze()) }, end: func(o *outage) { must(o.t, o.world.pg.Thaw()) }}
	}},
	{name: "black hole", first: unknown, truth: stays, prepare: pgDrop()},
	{name: "black hole to it", first: unknown, truth: stays, prepare: pgDrop(faults.ToServer)},
	{name: "black hole from it", first: unknown, truth: []int{sentAway}, prepare: pgDrop(faults.ToClient)},
	{name: "no connection left", first: refused, truth: stays, prepare: exhaust},
	{name: "table locked", first: refused, truth: stays, prepare: func(o *outage) mishap {
		return hold(o, `LOCK TABLE fastopt.options IN ACCESS EXCLUSIVE MODE`)
	}},
	{name: "writer lock held", first: refused, truth: stays, writes: true, prepare: func(o *outage) mishap {
		return hold(o, `UPDATE fastopt.options SET value = value WHERE namespace = 'shop' AND name = 'kept'`)
	}},
	{name: "failing over", first: either, truth: stays, prepare: failOver},
}

// hold lets another session hold what sql takes.
func hold(o *outage, sql string) mishap {
	conn, err := pgx.Connect(ctx, o.world.pg.URL())
	must(o.t, err)
	o.t.Cleanup(func() { conn.Close(ctx) })
	return mishap{
		begin: func(o *outage) { must(o.t, second(conn.Exec(ctx, "BEGIN; "+sql))) },
		end:   func(o *outage) { must(o.t, second(conn.Exec(ctx, "ROLLBACK"))) },
	}
}

// exhaust takes all connections that the server has.
func exhaust(o *outage) mishap {
	var taken []*pgx.Conn
	free := func() {
		for _, c := range taken {
			c.Close(ctx)
		}
		taken = nil
	}
	o.t.Cleanup(free)
	return mishap{
		begin: func(o *outage) {
			o.toPostgres.Refuse()
			o.toPostgres.Reset()
			left := 50 // looks for one that a session just ended has left
			within(o.t, 10*time.Second, "all connections are taken", func() bool {
				c, err := pgx.Connect(ctx, o.world.pg.URL())
				switch {
				case err == nil:
					taken = append(taken, c)
				case strings.Contains(err.Error(), "53300"):
					left--
				default:
					must(o.t, err)
				}
				return left == 0
			})
			must(o.t, o.toPostgres.Heal())
		},
		end: func(*outage) { free() },
	}
}

// failOver loses the primary, and has a standby with all commits promoted.
func failOver(o *outage) mishap {
	s := servers.PrivateStandby(o.t, o.world.pg)
	return mishap{
		begin: func(o *outage) {
			must(o.t, s.AwaitReplay(ctx, o.world.pg))
			must(o.t, o.world.pg.Kill())
		},
		end: func(o *outage) {
			must(o.t, s.Promote(ctx))
			o.toPostgres.SetTarget(s.Addr())
			o.toPostgres.Reset()
			o.world.pg = s
		},
	}
}

func TestPostgresOutages(t *testing.T) {
	noGoroutineLeft(t)
	for _, c := range pgMishaps {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOutage(t, 2)
			for i := range 10 {
				must(t, second(o.ps[0].limit.Set(ctx, fmt.Sprint("known", i), 42)))
			}
			mishap := c.prepare(o)
			mishap.begin(o)
			began := time.Now()
			o.withoutPostgres(began, c)
			mishap.end(o)
			truth := o.heals(comeback, 7)
			if !slices.Contains(c.truth, truth) {
				t.Errorf("n is %d", truth)
			}
			o.withinBudget(began)
			for i, saw := range o.readsWent() {
				if o.canary.stoodStill(outageGrace / 2) { // the default is right if Redis could not answer for so long
					saw = slices.Compact(slices.DeleteFunc(saw, func(v int) bool { return v == -1 }))
				}
				if want := slices.Compact([]int{1, truth, 7}); !slices.Equal(saw, want) {
					t.Errorf("process %d read %v, want %v", i, saw, want)
				}
			}
		})
	}
}

// withoutPostgres lives through the darkness with Redis alone.
func (o *outage) withoutPostgres(began time.Time, c pgMishap) {
	t := o.t
	t.Helper()
	writer, other := o.ps[0], o.ps[1]
	before := writer.n.Inspect().Stamp
	_, err := o.set(writer, sentAway)
	if !isAny(err, c.first) {
		t.Errorf("the first Set: %v", err)
	}
	t.Logf("the first Set: %v", err)
	if r := writer.n.Inspect(); errors.Is(err, fastopt.ErrOutcomeUnknown) && r.State == fastopt.Fresh {
		t.Errorf("fresh after a Set of unknown outcome: %+v", r)
	}
	for i := range 5 { // misses: what Redis lacks nobody can tell, and one of two gets the lease
		var both sync.WaitGroup
		both.Go(func() { writer.limit.Load(ctx, fmt.Sprint("unknown", i)) })
		if r := o.cold(other, fmt.Sprint("unknown", i)); !c.writes && r.Err == nil {
			t.Errorf("a member that no tier tells: %+v", r)
		}
		both.Wait()
	}
	if !c.writes {
		within(t, 3*time.Second, "Postgres fails", func() bool {
			o.cold(other, "probe") // else nobody asks it
			return other.fails("source")
		})
	}
	for i := range 10 { // again, if Redis was too slow for once
		within(t, time.Second, "a member that Redis knows is found", func() bool {
			return o.cold(other, fmt.Sprint("known", i)).Value == 42
		})
	}
	o.refuses(writer)
	for time.Since(began) < darkness {
		if r := other.n.Inspect(); r.Value != 1 || r.Age > outageTTL+slack || r.State == fastopt.Expired {
			t.Fatalf("a reader without Postgres: %+v", r)
		}
		if r := writer.n.Inspect(); r.Value != 1 || r.Stamp != before || r.State == fastopt.Expired {
			t.Fatalf("the writer without Postgres: %+v", r)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !c.writes && !writer.spares("source") {
		t.Errorf("Postgres is not left alone: %+v", writer.Stats().SourceTier)
	}
	o.refuses(writer)
	if v := writer.n.Get(); v != 1 {
		t.Errorf("the writer reads %d", v)
	}
}

// refuses says that a Set is refused in time, and that its value is in no tier.
func (o *outage) refuses(p *victim) {
	o.t.Helper()
	spared, start := p.spares("source"), time.Now()
	rc, err := o.set(p, refusedValue)
	if took := time.Since(start); spared && took > atOnce+o.canary.worst() {
		o.t.Errorf("a Set that was not to be sent took %v", took)
	}
	if !errors.Is(err, fastopt.ErrUnavailable) {
		o.t.Errorf("a Set while Postgres is known to fail: %+v, %v", rc, err)
	}
	if v := o.cached(o.onlooker, "n"); v != "1" {
		o.t.Errorf("Redis has %s", v)
	}
}

func isAny(err error, of []error) bool {
	return slices.ContainsFunc(of, func(e error) bool { return errors.Is(err, e) })
}
