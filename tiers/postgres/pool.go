package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// A small pool whose waits end with their context, whatever the server does.
// Dialling is not the caller's: it goes on in the background and the connection
// is for whoever waits by then, so that a frozen server that wakes up is used
// at once. While dials fail there is one at a time, so that such a server is
// not left with a queue of them.

var errClosed = fmt.Errorf("%w: the source is closed", tiers.ErrUnavailable)

// A pool holds at most limit connections.
//
// Invariant: open counts what is idle, in use and being dialled; each of them
// holds one count of all.
type pool struct {
	limit int                                      // immutable
	done  context.Context                          // immutable; ends dials
	dial  func(context.Context) (*pgx.Conn, error) // immutable
	alive func(*pgx.Conn) bool                     // immutable; whether an idle connection may be used

	all sync.WaitGroup

	mu      sync.Mutex // never held while the network is used
	closed  bool
	open    int
	dials   []*attempt // under way
	failed  error      // of the last dial; nil if it succeeded
	idle    []idleConn
	waiters []chan grant // first come, first served; each has room for its grant
	reaper  *time.Timer  // nil while nothing is idle
}

type idleConn struct {
	*pgx.Conn
	since time.Time
}

// An attempt is a dial. One that was overtaken has been told to end, and its
// failure tells nobody anything.
type attempt struct {
	began     time.Time          // immutable
	cancel    context.CancelFunc // immutable
	overtaken bool               // guarded by the pool's mu
}

// A grant is what a waiter gets: a connection or the failure to make one.
type grant struct {
	conn *pgx.Conn
	err  error
}

func newPool(done context.Context, limit int, dial func(context.Context) (*pgx.Conn, error)) *pool {
	return &pool{limit: limit, done: done, dial: dial, alive: alive}
}

// get returns a connection that was alive a moment ago. Nothing was sent if it
// fails. put is to be called with the connection.
func (p *pool) get(ctx context.Context) (*pgx.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		c, wait, err := p.takeOrQueue()
		switch {
		case err != nil:
			return nil, err
		case wait != nil:
			return p.await(ctx, wait)
		case p.alive(c):
			return c, nil
		}
		p.drop(c)
	}
}

// takeOrQueue returns the idle connection used last, or a place in the queue.
func (p *pool) takeOrQueue() (*pgx.Conn, chan grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1].Conn
		p.idle = p.idle[:n-1]
		return c, nil, nil
	}
	wait := make(chan grant, 1)
	p.waiters = append(p.waiters, wait)
	p.dialLocked()
	return nil, wait, nil
}

func (p *pool) await(ctx context.Context, wait chan grant) (*pgx.Conn, error) {
	select {
	case g := <-wait:
		return g.conn, g.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, wait)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	failed := p.failed
	p.mu.Unlock()
	if i < 0 { // granted at the last moment
		if g := <-wait; g.conn != nil {
			p.put(g.conn)
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("no connection: %w (last attempt: %s)", ctx.Err(), text(failed))
	}
	return nil, fmt.Errorf("no connection: %w", ctx.Err())
}

// dialLocked starts the dials that the waiters need.
func (p *pool) dialLocked() {
	for !p.closed && p.open < p.limit && len(p.dials) < len(p.waiters) && (p.failed == nil || len(p.dials) == 0) {
		ctx, cancel := context.WithCancel(p.done)
		a := &attempt{began: time.Now(), cancel: cancel}
		p.open++
		p.dials = append(p.dials, a)
		p.all.Add(1)
		go p.connect(ctx, a)
	}
}

func (p *pool) connect(ctx context.Context, a *attempt) {
	defer a.cancel()
	c, err := p.dial(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = slices.DeleteFunc(p.dials, func(o *attempt) bool { return o == a })
	switch {
	case err == nil:
		p.failed = nil
		p.handLocked(c)
	case a.overtaken:
		p.open--
		p.all.Done()
	default:
		p.failed = err
		p.open--
		p.all.Done()
		p.grantLocked(grant{err: err})
	}
	p.dialLocked()
}

// put takes a connection back, in whatever state it is.
func (p *pool) put(c *pgx.Conn) {
	if c.IsClosed() || c.PgConn().IsBusy() || c.PgConn().TxStatus() != 'I' {
		p.drop(c)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handLocked(c)
}

// handLocked gives c to the first waiter, or keeps it.
func (p *pool) handLocked(c *pgx.Conn) {
	if p.closed {
		go p.drop(c)
		return
	}
	if p.grantLocked(grant{conn: c}) {
		return
	}
	p.idle = append(p.idle, idleConn{c, time.Now()})
	if p.reaper == nil {
		p.reaper = time.AfterFunc(idleTime, p.reap)
	}
}

func (p *pool) grantLocked(g grant) bool {
	if len(p.waiters) == 0 {
		return false
	}
	p.waiters[0] <- g
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return true
}

// drop closes a connection that nobody holds any more.
func (p *pool) drop(c *pgx.Conn) {
	hangUp(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	p.all.Done()
	p.dialLocked()
}

// reap closes what has been idle for long.
func (p *pool) reap() {
	p.mu.Lock()
	p.reaper = nil
	var old []idleConn
	for len(p.idle) > 0 && time.Since(p.idle[0].since) >= idleTime { // the longest idle comes first
		old = append(old, p.idle[0])
		p.idle = p.idle[1:]
	}
	if len(p.idle) > 0 {
		p.reaper = time.AfterFunc(idleTime-time.Since(p.idle[0].since), p.reap)
	}
	p.mu.Unlock()
	for _, c := range old {
		p.drop(c.Conn)
	}
}

// reset closes all idle connections.
func (p *pool) reset() {
	p.mu.Lock()
	old := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range old {
		p.drop(c.Conn)
	}
}

// renew is told that a connection made since then was answered. What was dialled
// or put back before may wait for a path that is no more: it makes way, so that
// who comes next is not kept by it.
func (p *pool) renew(since time.Time) {
	p.mu.Lock()
	p.failed = nil
	for _, a := range p.dials {
		if a.began.Before(since) {
			a.overtaken = true
			a.cancel()
		}
	}
	var old []idleConn
	for len(p.idle) > 0 && p.idle[0].since.Before(since) { // the longest idle comes first
		old = append(old, p.idle[0])
		p.idle = p.idle[1:]
	}
	p.mu.Unlock()
	for _, c := range old {
		p.drop(c.Conn)
	}
}

// close refuses further calls and waits until every connection is closed. The
// calls that hold one must have been told to end, and done be over.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for p.grantLocked(grant{err: errClosed}) {
	}
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.mu.Unlock()
	p.reset()
	p.all.Wait()
}
