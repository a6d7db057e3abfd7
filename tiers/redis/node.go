package redis

// A node is one connection to one server: dialed once, asked at intervals
// whether it lives, and cut when it is silent too long.

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

type node struct {
	addr   string         // immutable
	client rueidis.Client // immutable
	conn   *ear           // immutable

	counts   atomic.Bool   // it is of the session, so its end is a loss
	answered atomic.Int64  // when the last answered heartbeat was sent, on the session's clock
	nudged   chan struct{} // cap 1: a heartbeat is wanted now
}

// errDialed is what a client is told that would dial again: the pushes lost
// with one connection and the heartbeats answered on the next would be one story.
var errDialed = errors.New("the connection has ended")

// connect opens the one connection of a client to addr and waits for a server
// at most twice dialTimeout.
func connect(ctx context.Context, set *setup, addr string, opt rueidis.ClientOption) (rueidis.Client, *ear, error) {
	var conn *ear
	var dialed atomic.Bool
	opt.InitAddress = []string{addr}
	opt.DialCtxFn = func(_ context.Context, _ string, d *net.Dialer, conf *tls.Config) (net.Conn, error) {
		if dialed.Swap(true) {
			return nil, errDialed
		}
		raw, err := set.dial(ctx, addr, d, conf)
		if err != nil {
			return nil, err
		}
		conn = newEar(raw, silence)
		return conn, nil
	}
	client, err := rueidis.NewClient(opt)
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		if client != nil {
			client.Close()
		}
		return nil, nil, err
	}
	return client, conn, nil
}

// dial makes a connection of the network. What a cluster or a Sentinel names
// may be on another machine though the URL is not.
func (set *setup) dial(ctx context.Context, addr string, d *net.Dialer, conf *tls.Config) (net.Conn, error) {
	switch {
	case conf != nil:
		return (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, set.network, addr)
	case set.network == "tcp" && !set.Plaintext && !loopback(addr):
		return nil, errPlaintext
	}
	return d.DialContext(ctx, set.network, addr)
}

// ping is one heartbeat: it returns when the server has answered, or when the
// connection was cut because it did not.
func (n *node) ping(t tracking) error {
	return n.conn.await(func() error { return t.ping(n.client) })
}

// beat sends heartbeats until one fails or ctx ends, and says why. Pushes stand
// before the answer on the connection and are routed by its reader, so when
// heard is called all changes before the sending have been announced.
func (n *node) beat(ctx context.Context, t tracking, every time.Duration, now func() int64, heard func()) error {
	timer := time.NewTimer(phase(every))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.nudged:
		case <-ctx.Done():
			return ctx.Err()
		}
		sent := now()
		if err := n.ping(t); err != nil {
			return err
		}
		n.answered.Store(sent)
		heard()
		timer.Reset(every)
	}
}

// nudge asks for a heartbeat now.
func (n *node) nudge() {
	select {
	case n.nudged <- struct{}{}:
	default:
	}
}

// end cuts the connection; every call on it fails at once.
func (n *node) end() {
	n.conn.Close()
	n.client.Close()
}
