package faults

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// A tunnel is one connection through a Proxy: the client's, the server's, and a
// pipe for each flow between them. It ends with its context; then its sockets are
// closed, and its goroutines end by that.
type tunnel struct {
	proxy  *Proxy             // immutable
	client *net.TCPConn       // immutable
	ctx    context.Context    // immutable
	end    context.CancelFunc // immutable

	pipes  atomic.Int32 // whose stream has not ended
	gap    atomic.Bool  // bytes were lost: cannot go on after Heal
	broken atomic.Bool  // ends by RST
}

// serve starts a tunnel for client.
func (p *Proxy) serve(client *net.TCPConn) {
	t := &tunnel{proxy: p, client: client}
	t.ctx, t.end = context.WithCancel(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		t.reset()
		closeTCP(client, true)
		return
	}
	p.accepted++
	p.tunnels[t] = true
	target, silent := p.target, p.orders[ToServer].drop
	t.gap.Store(silent) // what has no server cannot outlive the fault
	p.running.Go(func() {
		defer t.forget()
		server, err := dial(t.ctx, target, silent)
		if err != nil {
			closeTCP(client, true)
			return
		}
		t.carry(server)
	})
}

// dial returns nil for a silent target.
func dial(ctx context.Context, target string, silent bool) (*net.TCPConn, error) {
	if silent {
		return nil, nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// carry runs the pipes until the tunnel has ended.
func (t *tunnel) carry(server *net.TCPConn) {
	pipes := []*pipe{{tunnel: t, flow: ToServer, from: t.client, to: server}}
	if server != nil {
		pipes = append(pipes, &pipe{tunnel: t, flow: ToClient, from: server, to: t.client})
	}
	t.pipes.Store(int32(len(pipes)))
	for _, p := range pipes {
		p.queue = make(chan piece, inFlight)
		t.proxy.running.Go(p.read)
		t.proxy.running.Go(p.write)
	}
	<-t.ctx.Done()
	closeTCP(t.client, t.broken.Load())
	if server != nil {
		closeTCP(server, t.broken.Load())
	}
}

// reset ends the tunnel by RST.
func (t *tunnel) reset() {
	t.broken.Store(true)
	t.end()
}

func (t *tunnel) forget() {
	t.end()
	t.proxy.mu.Lock()
	defer t.proxy.mu.Unlock()
	delete(t.proxy.tunnels, t)
}

func closeTCP(conn *net.TCPConn, byRST bool) {
	if byRST {
		_ = conn.SetLinger(0)
	}
	_ = conn.Close()
}

// A pipe is one flow of a tunnel: read queues what comes, write delivers it.
type pipe struct {
	*tunnel
	flow     Flow
	from, to *net.TCPConn // to is nil if there is no server
	queue    chan piece

	// Of write alone.
	cut  *cut // the order that look belongs to
	look look // how far the order is, on this connection
	lost bool // bytes of this flow were lost: nothing more is delivered
}

// A piece is what one read has brought; without bytes it is the stream's end.
type piece struct {
	bytes []byte
	due   time.Time // zero: at once
	error bool      // the stream ended by one
}

// inFlight is how many pieces a pipe holds before it stops reading.
const inFlight = 1000

func (p *pipe) read() {
	buffer := make([]byte, 1<<15)
	for {
		n, err := p.from.Read(buffer)
		if n > 0 && !p.enqueue(piece{bytes: bytes.Clone(buffer[:n])}) {
			return
		}
		if err != nil {
			p.enqueue(piece{error: !errors.Is(err, io.EOF)})
			return
		}
	}
}

func (p *pipe) enqueue(next piece) bool {
	p.proxy.mu.Lock()
	o := p.proxy.orders[p.flow]
	p.proxy.mu.Unlock()
	delay := o.delay
	if o.jitter > 0 {
		delay += rand.N(o.jitter)
	}
	if delay > 0 {
		next.due = time.Now().Add(delay)
		p.proxy.traffic[p.flow].delayed.Add(1)
	}
	select {
	case p.queue <- next:
		return true
	case <-p.ctx.Done():
		return false
	}
}

func (p *pipe) write() {
	for {
		select {
		case next := <-p.queue:
			if !p.await(next.due) || !p.deliver(next) {
				return
			}
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *pipe) await(due time.Time) bool {
	if due.IsZero() {
		return true
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// deliver does to next what is ordered, and returns false when the flow has ended.
func (p *pipe) deliver(next piece) bool {
	o, heals, ok := p.obey()
	if !ok {
		return false
	}
	if len(next.bytes) == 0 {
		return p.deliverEnd(o, heals, next.error)
	}
	count := &p.proxy.traffic[p.flow]
	pass, over := p.inspect(o.cut, next.bytes)
	if p.lost || p.to == nil || o.drop && !over {
		pass = 0
	}
	count.dropped.Add(int64(len(next.bytes) - pass))
	if pass < len(next.bytes) && !over {
		p.lose(heals)
	}
	if pass > 0 {
		if _, err := p.to.Write(next.bytes[:pass]); err != nil {
			p.reset()
			return false
		}
		count.passed.Add(int64(pass))
	}
	if over {
		count.cuts.Add(1)
		p.reset()
	}
	return !over
}

// deliverEnd passes the end of the stream on, unless it must not be heard.
func (p *pipe) deliverEnd(o order, heals int, byError bool) bool {
	switch {
	case p.lost || p.to == nil || o.drop:
		p.lose(heals)
		return true
	case byError:
		p.reset()
	case p.pipes.Add(-1) == 0:
		p.end()
	default:
		_ = p.to.CloseWrite()
	}
	return false
}

// obey returns the standing order once it is not to stall, and how often the
// proxy had been healed then.
func (p *pipe) obey() (o order, heals int, ok bool) {
	for stalled := false; ; stalled = true {
		p.proxy.mu.Lock()
		o, heals = p.proxy.orders[p.flow], p.proxy.heals
		changed := p.proxy.changed
		p.proxy.mu.Unlock()
		if !o.stall {
			return o, heals, p.ctx.Err() == nil
		}
		if !stalled {
			p.proxy.traffic[p.flow].stalled.Add(1)
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return o, heals, false
		}
	}
}

// lose notes that a part of the flow is lost, by an order that stood when the
// proxy had been healed so often. A Heal since then has not seen the gap.
func (p *pipe) lose(heals int) {
	p.lost = true
	p.proxy.mu.Lock()
	defer p.proxy.mu.Unlock()
	p.gap.Store(true)
	if p.proxy.heals != heals {
		p.reset()
	}
}
