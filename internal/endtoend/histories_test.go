package endtoend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
)

// A fleet that lives through a change of its database: what one history said and
// another does not, and how long it takes until everyone has the other.

const (
	reconverge = 2*time.Second + slack // after the new primary answers
	silence    = 5 * time.Second       // of the known installation, before a copy succeeds it
)

// A fleet is some processes whose Postgres is behind an address that can be
// switched over.
type fleet struct {
	*world
	address *faults.Proxy
	ps      []*process
	cache   tiers.Cache // of an onlooker
}

func newFleet(t *testing.T, w *world) *fleet {
	t.Helper()
	f := newFleetAround(t, w)
	for range 3 {
		f.ps = append(f.ps, f.join(f.url()))
	}
	relay(t, 2*time.Second, f.ps...)
	return f
}

// newFleetAround returns a fleet without processes.
func newFleetAround(t *testing.T, w *world) *fleet {
	t.Helper()
	address, err := faults.NewProxy(w.pg.Addr())
	must(t, err)
	t.Cleanup(address.Close)
	return &fleet{world: w, address: address, cache: w.config().Cache}
}

// url leads to whom the address leads to.
func (f *fleet) url() string {
	return strings.Replace(f.pg.URL(), f.pg.Addr(), f.address.Addr(), 1)
}

// join starts a process with the fleet's Redis and a Postgres of any URL.
func (f *fleet) join(url string) *process { return f.joinWith(f.config().Cache, url) }

func (f *fleet) joinWith(cache tiers.Cache, url string) *process {
	f.t.Helper()
	source, err := postgres.Open(postgres.Config{URL: url})
	must(f.t, err)
	f.t.Cleanup(source.Close)
	p, err := open(fastopt.Config{Namespace: "shop", Cache: cache, Source: source, TTL: 2 * time.Second, Grace: 4 * time.Second})
	must(f.t, err)
	f.t.Cleanup(func() { must(f.t, p.Close()) })
	return p
}

// switchOver lets the address lead to another server from now on.
func (f *fleet) switchOver(to *servers.PostgresServer) {
	f.address.SetTarget(to.Addr())
	f.address.Reset()
	f.pg = to
}

// setAgain sets n until that is acknowledged: right after a switch a write may be
// sent over a connection that is just being reset, and be of unknown outcome.
func (f *fleet) setAgain(p *process, v int) (rc fastopt.Receipt) {
	f.t.Helper()
	within(f.t, reconverge, "a write is acknowledged", func() bool {
		var err error
		rc, err = p.n.Set(ctx, v)
		return err == nil
	})
	return rc
}

// laggingStandby returns a standby that has every commit so far and gets no more.
func (f *fleet) laggingStandby() *servers.PostgresServer {
	f.t.Helper()
	s := servers.PrivateStandby(f.t, f.pg)
	must(f.t, s.AwaitReplay(ctx, f.pg))
	must(f.t, s.WithholdWAL(ctx))
	return s
}

// copied returns another installation with a dump of the fleet's database.
func (f *fleet) copied() *servers.PostgresServer {
	f.t.Helper()
	other := servers.PrivatePostgres(f.t, servers.Options{Fresh: true})
	must(f.t, f.pg.DumpInto(ctx, other))
	return other
}

const lostKey = "lost"

// diverge makes changes that only the history of p knows: the option n is 900
// there, with a high revision, and a member of a family exists.
func (f *fleet) diverge() (lost tiers.Stamp) {
	f.t.Helper()
	for i := range 5 {
		set(f.t, f.ps[0], 896+i)
	}
	rc, err := f.ps[0].limit.Set(ctx, lostKey, 900)
	must(f.t, err)
	for _, p := range f.ps {
		p.sees(f.t, reconverge, 900)
		within(f.t, reconverge, "the member is read", func() bool { return p.limit.Get(lostKey) == 900 })
	}
	return rc.Stamp
}

// converges waits until every process and Redis say n is v, of an epoch, and the
// lost member is nowhere; then that a change reaches everyone.
func (f *fleet) converges(d time.Duration, v int, epoch uint32, lost tiers.Stamp) {
	f.t.Helper()
	start := time.Now()
	for i, p := range f.ps {
		within(f.t, d-time.Since(start), fmt.Sprintf("process %d reads %d of epoch %d", i, v, epoch), func() bool {
			r := p.n.Inspect()
			return r.Value == v && r.State == fastopt.Fresh && r.Stamp.Epoch == epoch
		})
		within(f.t, d-time.Since(start), "the lost member is gone", func() bool { return p.limit.Get(lostKey) == 5 })
	}
	f.t.Logf("all processes right after %v", time.Since(start))
	stamp := set(f.t, f.ps[1], v+1).Stamp
	if stamp.Epoch != epoch || stamp.Revision >= lost.Revision || !stamp.Newer(lost) {
		f.t.Errorf("the next write has %v, the lost one had %v: want a lower revision of a higher epoch", stamp, lost)
	}
	for _, p := range f.ps {
		p.sees(f.t, reconverge, v+1)
		if got := p.limit.Load(ctx, lostKey); got.Value != 5 {
			f.t.Errorf("the lost member is back: %+v", got)
		}
	}
	set(f.t, f.ps[2], v)
	f.cacheSays(v, epoch)
}

// cacheSays waits until Redis has the history of that epoch. What it still has of
// an older one, and no row replaces, is a miss: a process that starts now and
// knows nothing reads it from nowhere.
func (f *fleet) cacheSays(v int, epoch uint32) {
	f.t.Helper()
	start := time.Now()
	within(f.t, 2*silence+reconverge, "Redis has the history", func() bool {
		n := f.cache.Load(ctx, "shop", []string{"n"})[0]
		return f.mark().Epoch == epoch && n.Err == nil && string(n.Data) == fmt.Sprint(v) && n.Stamp.Epoch == epoch
	})
	f.t.Logf("Redis right after another %v", time.Since(start))
	for _, p := range f.ps {
		within(f.t, reconverge, "both tiers are used", func() bool { return p.Ready() == nil })
	}
	late := f.join(f.pg.URL())
	late.sees(f.t, reconverge, v)
	if got := late.limit.Load(ctx, lostKey); got.Value != 5 {
		f.t.Errorf("a process that starts later reads the lost member: %+v", got)
	}
}

func (f *fleet) mark() tiers.Mark {
	m, err := f.cache.(tiers.Marker).Mark(ctx, "shop")
	if err != nil {
		return tiers.Mark{}
	}
	return m
}

// alternate lets new connections reach either server in turn until stop is called,
// and ends all now and then, so that none stays with the one it found first.
func (f *fleet) alternate(a, b *servers.PostgresServer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var turning sync.WaitGroup
	turning.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			f.address.SetTarget([]string{a.Addr(), b.Addr()}[i%2])
			time.Sleep(3 * time.Millisecond)
			if i%200 == 199 {
				f.address.Reset()
			}
		}
	})
	return func() { cancel(); turning.Wait() }
}
