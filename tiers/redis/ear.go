package redis

// A connection that ends itself when the server is silent. What looks like
// silence may be this process, which came late to write the question or to read
// the answer: under load that is the rule, and whoever gave its connections up
// for that would dial and load everything anew, which is more load. So silence
// begins when the question goes out, and ends when an answer has reached this
// machine, read or not.

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// An ear is a connection that knows when it last heard something, and closes
// itself when what is awaited does not come. Calls get no context of their own:
// it is not heard where a request waits for a place in the ring, a cut
// connection is. It costs no goroutine and no allocation.
type ear struct {
	net.Conn
	began time.Time     // immutable
	limit time.Duration // immutable

	heard   atomic.Int64 // ns since began
	asked   atomic.Int64 // ns since began, when the wait began; 0: nothing is awaited
	sent    atomic.Int64 // ns since began, of the first write since then; 0: none
	writing atomic.Bool  // a write has begun and not returned
	cut     atomic.Bool
	guard   *time.Timer // immutable
}

// excused is how many times the limit a wait may last while it is this process
// that is late. It bounds what is not foreseen; nothing is vouched for meanwhile.
const excused = 4

func newEar(conn net.Conn, limit time.Duration) *ear {
	e := &ear{Conn: conn, limit: limit, began: time.Now()}
	e.guard = time.AfterFunc(time.Hour, e.watch)
	e.guard.Stop()
	return e
}

// below returns the connection of the network.
func below(conn net.Conn) net.Conn {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		return wrapped.NetConn()
	}
	return conn
}

// now is never 0.
func (e *ear) now() int64 { return int64(time.Since(e.began)) + 1 }

func (e *ear) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if n > 0 {
		e.heard.Store(e.now())
	}
	return n, err
}

func (e *ear) Write(p []byte) (int, error) {
	e.writing.Store(true)
	e.sent.CompareAndSwap(0, e.now())
	n, err := e.Conn.Write(p)
	e.writing.Store(false)
	return n, err
}

// Close closes the connection below TLS. A goodbye would wait for seconds where the
// network takes nothing.
func (e *ear) Close() error { return below(e.Conn).Close() }

// await runs ask and cuts the connection if nothing is heard meanwhile for
// limit. One at a time.
func (e *ear) await(ask func() error) error {
	e.sent.Store(0)
	e.asked.Store(e.now())
	e.guard.Reset(e.limit)
	err := ask()
	e.asked.Store(0)
	e.guard.Stop()
	if err != nil && e.cut.Load() {
		return fmt.Errorf("no answer to a heartbeat in %v", e.limit)
	}
	return err
}

// watch is called when the silence may have lasted too long.
func (e *ear) watch() {
	asked := e.asked.Load()
	if asked == 0 {
		return
	}
	now := e.now()
	if rest := e.limit - time.Duration(now-e.silentSince(asked, now)); rest > 0 && now-asked < excused*int64(e.limit) {
		e.guard.Reset(min(rest, e.limit/4))
		return
	}
	e.cut.Store(true)
	e.Close()
}

// silentSince returns since when the server has owed an answer and said nothing.
// A long answer that is still arriving is no silence.
func (e *ear) silentSince(asked, now int64) int64 {
	sent := e.sent.Load()
	switch {
	case sent == 0 && e.writing.Load():
		sent = asked // the network does not take what was written before
	case sent == 0 || unread(e.Conn):
		return now // it is this process that is late
	}
	return max(sent, asked, e.heard.Load())
}
