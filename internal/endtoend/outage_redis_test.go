package endtoend

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
)

// Redis fails, in every way: readers notice nothing, a change is made and read
// all the same, Postgres is asked within the budget, and nobody has to help.

// A mishap befalls one server of an outage.
type mishap struct {
	name       string
	begin, end func(*outage)
}

var redisMishaps = []mishap{
	{"killed", func(o *outage) { must(o.t, o.redis.Kill()) }, func(o *outage) { must(o.t, o.redis.Restart(ctx)) }},
	{"frozen", func(o *outage) { must(o.t, o.redis.Freeze()) }, func(o *outage) { must(o.t, o.redis.Thaw()) }},
	{"black hole", func(o *outage) { o.toRedis.Drop() }, healRedis},
	{"black hole to it", func(o *outage) { o.toRedis.Drop(faults.ToServer) }, healRedis},
	{"black hole from it", func(o *outage) { o.toRedis.Drop(faults.ToClient) }, healRedis},
	{"slow", func(o *outage) {
		o.toRedis.Delay(faults.ToClient, 200*time.Millisecond)
		o.toRedis.Jitter(faults.ToClient, 50*time.Millisecond)
	}, healRedis},
}

func healRedis(o *outage) {
	to, from := o.toRedis.Traffic(faults.ToServer), o.toRedis.Traffic(faults.ToClient)
	if to.Dropped+from.Dropped+from.Delayed == 0 {
		o.t.Error("the proxy did nothing")
	}
	must(o.t, o.toRedis.Heal())
}

func TestRedisOutages(t *testing.T) {
	noGoroutineLeft(t)
	for _, mishap := range redisMishaps {
		t.Run(mishap.name, func(t *testing.T) {
			t.Parallel()
			o := newOutage(t, 2)
			o.sow("cold", 1000)
			began := time.Now()
			mishap.begin(o)
			o.withoutRedis(began)
			mishap.end(o)
			o.heals(comeback, 3)
			o.withinBudget(began)
			for i, saw := range o.readsWent() {
				if want := []int{1, 2, 3}; !slices.Equal(saw, want) {
					t.Errorf("process %d read %v, want %v", i, saw, want)
				}
			}
		})
	}
}

// withoutRedis lives through the darkness with Postgres alone.
func (o *outage) withoutRedis(began time.Time) {
	t := o.t
	t.Helper()
	var found, failed int
	load := func(i int) {
		for _, p := range o.ps {
			switch r := o.cold(p, fmt.Sprint("cold", i)); {
			case r.Value == 42:
				found++
			case r.Value == 5 && r.Err != nil:
				failed++
			default:
				t.Errorf("member %d: %+v", i, r)
			}
		}
	}
	for i := range 10 {
		load(i)
	}
	rc, err := o.set(o.ps[0], 2)
	if err != nil || rc.Cached {
		t.Errorf("a Set without Redis: %+v, %v", rc, err)
	}
	if v := o.ps[0].n.Get(); v != 2 {
		t.Errorf("the writer reads %d", v)
	}
	for _, p := range o.ps {
		within(t, 3*time.Second, "Redis fails", func() bool { return p.fails("cache") })
		p.sees(t, outageTTL+slack, 2)
	}
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for i := 10; time.Since(began) < darkness; i++ {
		<-pace.C
		load(i)
	}
	for i, p := range o.ps {
		if !p.fails("cache") || !p.spares("cache") {
			t.Errorf("Redis does not fail any more, or is not left alone: %+v", p.Stats().CacheTier)
		}
		if r := p.n.Inspect(); r.Value != 2 || r.State == fastopt.Expired {
			t.Errorf("process %d reads %+v", i, r)
		}
	}
	if t.Logf("of the cold members %d were found, %d not", found, failed); found == 0 {
		t.Error("Postgres was of no use")
	}
}

// A Redis that restarts empty between two heartbeats of nobody's: the relay
// fills it, and readers need not ask Postgres each for himself.
func TestRedisRestartedEmptyInAMoment(t *testing.T) {
	noGoroutineLeft(t)
	o := newOutage(t, 2)
	must(t, second(o.ps[0].limit.Set(ctx, "k", 42)))
	began := time.Now()
	must(t, o.redis.Restart(ctx))
	for _, p := range o.ps {
		within(t, comeback, "the end of its connection is noticed", func() bool { return p.Stats().PushesLost > 0 })
	}
	o.heals(comeback, 2)
	within(t, comeback, "Redis has all again", func() bool {
		is, err := o.redisAsk("EXISTS", "fastopt:shop:n", "fastopt:shop:limit/k")
		return err == nil && is == ":2"
	})
	o.withinBudget(began)
	for i, saw := range o.readsWent() {
		if want := []int{1, 2}; !slices.Equal(saw, want) {
			t.Errorf("process %d read %v, want %v", i, saw, want)
		}
	}
	if r := o.ps[1].limit.Load(ctx, "k"); r.Value != 42 || errors.Is(r.Err, fastopt.ErrUnavailable) {
		t.Errorf("a member: %+v", r)
	}
}
