package postgres

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// What Watch and Elect send to a server that fails, against what they send to
// one that is well (I20). It is counted where it leaves the process, because no proxy
// sees a connection that is refused.

// A meter counts connections tried, and what is sent on them after the greeting,
// which belongs to the connection.
type meter struct{ dials, statements atomic.Int64 }

func metered(a *address) *meter {
	m := &meter{}
	dial := a.DialFunc
	a.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		m.dials.Add(1)
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &meteredConn{TCPConn: c.(*net.TCPConn), m: m}, nil
	}
	return m
}

type meteredConn struct {
	*net.TCPConn
	m       *meter
	greeted atomic.Bool
}

func (c *meteredConn) Write(b []byte) (int, error) {
	const goodbye = 'X'
	if c.greeted.Swap(true) && b[0] != goodbye {
		c.m.statements.Add(1)
	}
	return c.TCPConn.Write(b)
}

// A rate is per second.
type rate struct{ dials, requests float64 }

// during returns what is sent while d passes.
func during(d time.Duration, meters map[string]*meter) map[string]rate {
	dials, statements := map[string]int64{}, map[string]int64{}
	for who, m := range meters {
		dials[who], statements[who] = m.dials.Load(), m.statements.Load()
	}
	<-time.After(d)
	rates := map[string]rate{}
	for who, m := range meters {
		n, all := m.dials.Load()-dials[who], m.dials.Load()-dials[who]+m.statements.Load()-statements[who]
		rates[who] = rate{float64(n) / d.Seconds(), float64(all) / d.Seconds()}
	}
	return rates
}

func TestI20AFailingServerIsAskedNoMoreThanAHealthyOne(t *testing.T) {
	var sites []*site
	meters := map[string]*meter{}
	conditions := map[string]func(at *site){
		"frozen":     func(at *site) { must(t, at.p.Freeze()) },
		"black hole": func(at *site) { at.proxy.Drop() },
		"refused":    func(at *site) { at.proxy.Refuse(); at.proxy.Reset() },
		"set back":   func(at *site) { exec(t, psql(t, at.p.URL()), `UPDATE fastopt.epoch SET epoch = epoch - 1`) },
	}
	var breaks []func()
	for what, bites := range conditions { // side by side, for they mostly wait
		at := &site{p: private(t)}
		at.proxy = through(t, at.p.Addr())
		exec(t, psql(t, at.p.URL()), `UPDATE fastopt.epoch SET epoch = 5`)
		at.processes(t, what+": who ", meters)
		sites, breaks = append(sites, at), append(breaks, func() { bites(at) })
	}
	healthy := during(5*time.Second, meters)
	for _, bites := range breaks {
		bites()
	}
	failing := during(10*time.Second, meters)
	for _, at := range sites {
		must(t, at.p.Thaw())
	}
	for who, is := range failing {
		was := healthy[who]
		t.Logf("%s sends %.1f requests/s, of them %.1f connections; healthy %.1f", who, is.requests, is.dials, was.requests)
		if is.requests > 1.5*was.requests || is.dials > 2 {
			t.Errorf("%s sends %+v, healthy %+v", who, is, was)
		}
	}
}

// processes starts one that watches, one that leads and one that stands for it,
// each with a meter under prefix and what it does.
func (at *site) processes(t *testing.T, prefix string, meters map[string]*meter) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	start := func(who string, loop func(s *Source, begun func())) {
		t.Helper()
		s := open(t, at.url(t))
		load(t, s, "a")
		meters[prefix+who] = metered(s.conf)
		begun := make(chan struct{})
		running.Go(func() { loop(s, sync.OnceFunc(func() { close(begun) })) })
		<-begun
	}
	start("watches", func(s *Source, begun func()) { s.Watch(ctx, "app", func(tiers.Event) { begun() }) })
	start("leads", func(s *Source, begun func()) {
		s.Elect(ctx, "app", func(ctx context.Context) { begun(); <-ctx.Done() })
	})
	start("stands", func(s *Source, begun func()) {
		begun()
		s.Elect(ctx, "app", func(ctx context.Context) { <-ctx.Done() })
	})
	eventually(t, 5*time.Second, "the candidate asks", func() bool { return meters[prefix+"stands"].statements.Load() > 5 })
}
