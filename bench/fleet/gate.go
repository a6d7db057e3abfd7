package main

import (
	"net"
	"sync"
)

// A gate is a TCP proxy that can turn into a black hole, as a cable does that
// is cut: connections stay open, new ones are accepted, and no byte passes any
// more. And its target can be changed, as an address is that moves at a failover.
type gate struct {
	listener net.Listener
	all      sync.WaitGroup

	mu     sync.Mutex
	target string        // guarded by mu
	open   chan struct{} // guarded by mu; closed while bytes may pass
	conns  map[net.Conn]struct{}
	closed bool
}

// startGate listens on a free port of 127.0.0.1.
func startGate(target string) (*gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{listener: l, target: target, open: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(g.open)
	g.all.Go(g.accept)
	return g, nil
}

func (g *gate) addr() string { return g.listener.Addr().String() }

func (g *gate) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return // closed
		}
		g.all.Go(func() { g.serve(conn) })
	}
}

// serve carries one connection until either end closes it.
func (g *gate) serve(conn net.Conn) {
	defer conn.Close()
	if !g.hold(conn) || !g.wait() {
		return
	}
	defer g.drop(conn)
	g.mu.Lock()
	target := g.target
	g.mu.Unlock()
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer up.Close()
	if !g.hold(up) {
		return
	}
	defer g.drop(up)
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		b := make([]byte, 16<<10)
		for {
			n, err := from.Read(b)
			if !g.wait() {
				return
			}
			if _, w := to.Write(b[:n]); err != nil || w != nil {
				return
			}
		}
	}
	both.Go(func() { carry(up, conn) })
	both.Go(func() { carry(conn, up) })
	both.Wait()
}

// hold remembers a connection for close, and reports false if that came first.
func (g *gate) hold(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.conns[c] = struct{}{}
	}
	return !g.closed
}

func (g *gate) drop(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// wait returns when bytes may pass; false: the gate is closed for good.
func (g *gate) wait() bool {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed
}

// swallow makes it a black hole.
func (g *gate) swallow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

// pass ends that: what was sent meanwhile arrives.
func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// turn sends new connections to another target and cuts the old ones.
func (g *gate) turn(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = target
	for c := range g.conns {
		_ = c.Close()
	}
}

func (g *gate) close() {
	_ = g.listener.Close()
	g.mu.Lock()
	g.closed = true
	for c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.pass()
	g.all.Wait()
}
