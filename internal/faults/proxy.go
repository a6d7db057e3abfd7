// What can be ordered of a Proxy. How a connection obeys is in tunnel.go, and
// where it is cut in cut.go.

package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Flow is one of the two directions through a Proxy.
type Flow uint8

// The two flows.
const (
	ToServer Flow = iota
	ToClient
	numFlows
)

// A Proxy stands between clients and one server and breaks the connections
// through it on order. It understands no protocol. Whatever is ordered holds for
// connections that are open and for later ones, until Heal; Traffic tells what
// came of it. All methods are safe for concurrent use; none waits for a peer.
//
// It listens on a port of 127.0.0.1 below the range of outgoing connections:
// there, a client that redials a refusing proxy cannot be given the proxy's port
// as its own and connect to itself.
type Proxy struct {
	addr    string // immutable
	traffic [numFlows]counters
	running sync.WaitGroup // every goroutine of the proxy

	mu       sync.Mutex
	listener net.Listener     // guarded by mu; nil: connections are refused
	target   string           // guarded by mu
	orders   [numFlows]order  // guarded by mu
	changed  chan struct{}    // guarded by mu; closed and replaced when orders change
	tunnels  map[*tunnel]bool // guarded by mu; those that are open
	heals    int              // guarded by mu; how often Heal was called
	accepted int64            // guarded by mu
	closed   bool             // guarded by mu
}

// An order is what is to befall one flow.
type order struct {
	delay  time.Duration
	jitter time.Duration
	stall  bool
	drop   bool
	cut    *cut // nil: none
}

// NewProxy listens and passes connections on to target, a host:port, which need
// not answer yet: a client whose connection finds no server is reset.
func NewProxy(target string) (*Proxy, error) {
	listener, err := listenLow()
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{
		addr: listener.Addr().String(), target: target,
		changed: make(chan struct{}), tunnels: map[*tunnel]bool{},
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acceptLocked(listener)
	return p, nil
}

func listenLow() (net.Listener, error) {
	const lowest, highest, tries = 16384, 32767, 100
	for range tries {
		port := lowest + rand.IntN(highest-lowest+1)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%d random ports of 127.0.0.1 are all taken", tries)
}

// Addr returns where the proxy listens, 127.0.0.1:port, always the same.
func (p *Proxy) Addr() string { return p.addr }

// SetTarget directs later connections to another server, as a switched-over
// address does. Open ones stay where they are: Reset ends them.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Delay lets what flows f arrive d later, in order. The bandwidth is kept until
// a thousand pieces are under way. Bytes that already flow keep their time.
func (p *Proxy) Delay(f Flow, d time.Duration) { p.order(func(o *order) { o.delay = d }, f) }

// Jitter lets what flows f arrive up to d later than Delay says, each piece by
// another draw, still in order: behind a late piece the next ones wait.
func (p *Proxy) Jitter(f Flow, d time.Duration) { p.order(func(o *order) { o.jitter = d }, f) }

// Drop makes a black hole of the flows, of both if none is named: bytes are
// accepted and vanish, and so does the end of a connection. New connections are
// accepted and meet silence, also if the server is gone.
func (p *Proxy) Drop(flows ...Flow) { p.order(func(o *order) { o.drop = true }, flows...) }

// Stall holds back what flows, on both ways if none is named, until Heal delivers
// it late: what a network does that loses packets for a while, since TCP sends
// them again.
func (p *Proxy) Stall(flows ...Flow) { p.order(func(o *order) { o.stall = true }, flows...) }

// CutAfter resets the connection on which the n-th byte from now flows f, right
// behind that byte, counted over all connections. Once: then the order is done.
func (p *Proxy) CutAfter(f Flow, n int64) { p.cut(f, afterBytes(n)) }

// CutAt resets the connection on which patterns flow f, one after the other, with
// anything between them. From the first one on nothing is delivered; the last one
// is waited for. Once: then the order is done. So an acknowledgement is lost that
// the server has sent:
//
//	p.CutAt(faults.ToClient, faults.CommandComplete("COMMIT"), faults.ReadyForQuery())
func (p *Proxy) CutAt(f Flow, patterns ...[]byte) { p.cut(f, atPatterns(patterns)) }

// CutWhen resets the connection for whose next piece, as it came off the network,
// hit returns true; that piece is not delivered. hit is called by several
// goroutines, may call the proxy, and must not keep piece. Once: then the order
// is done, though calls of hit for other connections may still be under way.
func (p *Proxy) CutWhen(f Flow, hit func(piece []byte) bool) { p.cut(f, whenHit(hit)) }

func (p *Proxy) cut(f Flow, c *cut) { p.order(func(o *order) { o.cut = c }, f) }

// order changes the orders of flows, of both if none is named.
func (p *Proxy) order(change func(*order), flows ...Flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(flows) == 0 {
		flows = []Flow{ToServer, ToClient}
	}
	for _, f := range flows {
		change(&p.orders[f])
	}
	p.wakeLocked()
}

func (p *Proxy) wakeLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Reset ends all open connections by RST, on both sides, and returns how many.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.tunnels)
	for t := range p.tunnels {
		t.reset()
	}
	return n
}

// Refuse lets the kernel refuse new connections, as if nobody listened; open ones
// go on. What it bites, only the client can count.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseLocked()
}

func (p *Proxy) refuseLocked() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// Heal ends every fault. A connection that has lost bytes is reset, since no TCP
// connection goes on with a gap in its stream. The error is that the port was
// taken by somebody else while connections were refused.
func (p *Proxy) Heal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders = [numFlows]order{}
	p.heals++
	for t := range p.tunnels {
		if t.gap.Load() {
			t.reset()
		}
	}
	p.wakeLocked()
	if p.listener != nil || p.closed {
		return nil
	}
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("proxy: heal: %w", err)
	}
	p.acceptLocked(listener)
	return nil
}

// Close ends the proxy, its connections and its goroutines, and waits for them.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.refuseLocked()
	for t := range p.tunnels {
		t.reset()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// acceptLocked serves the listener until Refuse or Close closes it. A process
// without file descriptors left refuses, too: better than a loop.
func (p *Proxy) acceptLocked(listener net.Listener) {
	p.listener = listener
	p.running.Go(func() {
		defer listener.Close()
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.serve(client.(*net.TCPConn))
		}
	})
}

// Traffic is what has flowed one way so far.
type Traffic struct {
	Passed, Dropped  int64 // bytes; those that a cut has lost were dropped
	Delayed, Stalled int64 // pieces, as they came off the network
	Cuts             int64 // connections ended by CutAfter, CutAt or CutWhen
}

type counters struct{ passed, dropped, delayed, stalled, cuts atomic.Int64 }

// Traffic returns what has flowed f so far: proof that a fault has bitten.
func (p *Proxy) Traffic(f Flow) Traffic {
	c := &p.traffic[f]
	return Traffic{
		Passed: c.passed.Load(), Dropped: c.dropped.Load(),
		Delayed: c.delayed.Load(), Stalled: c.stalled.Load(), Cuts: c.cuts.Load(),
	}
}

// Accepted returns how many connections clients have made so far.
func (p *Proxy) Accepted() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}
