package redis

// A session is the life of one connection, the unit of everything that is
// believed about pushes. The client could dial again by itself, but then the
// pushes lost with the old connection and the heartbeats answered on the new
// one would be one story, and it would be wrong. So a client gets one
// connection; when that ends, the session ends.

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

type session struct {
	client rueidis.Client // immutable once dialed
	conn   *ear           // immutable once dialed

	answered atomic.Pointer[time.Time] // when the last answered heartbeat was sent; set before the session is known to others
	nudged   chan struct{}             // cap 1: a heartbeat is wanted now
}

// dial opens a session whose pushes go to h. It waits for a server at most
// twice dialTimeout, plus the silence a heartbeat is given.
func dial(ctx context.Context, opt rueidis.ClientOption, h *hub) (*session, error) {
	s := &session{nudged: make(chan struct{}, 1)}
	var dialed atomic.Bool
	opt.DialCtxFn = func(_ context.Context, addr string, d *net.Dialer, conf *tls.Config) (net.Conn, error) {
		if dialed.Swap(true) {
			return nil, errDialed
		}
		conn, err := connect(ctx, addr, d, conf)
		if err != nil {
			return nil, err
		}
		s.conn = newEar(conn)
		return s.conn, nil
	}
	opt.OnInvalidations = func(keys []rueidis.RedisMessage) { h.pushed(s, keys) }
	client, err := rueidis.NewClient(opt)
	s.client = client
	if err == nil {
		err = s.prove()
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

func connect(ctx context.Context, addr string, d *net.Dialer, conf *tls.Config) (net.Conn, error) {
	if conf != nil {
		return (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, "tcp", addr)
	}
	return d.DialContext(ctx, "tcp", addr)
}

// prove asks for the right to track, which the client never checks: without
// it reads would succeed and no push would ever come.
func (s *session) prove() error {
	sent := time.Now()
	err := s.within(silence, s.ping)
	s.answered.Store(&sent)
	return err
}

// ping is one heartbeat. Rights may be taken away while the connection lives,
// so each asks for the one to track, too.
func (s *session) ping() error {
	b := s.client.B()
	for _, r := range s.client.DoMulti(context.Background(), b.ClientCaching().Yes().Build(), b.Ping().Build()) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// beat sends heartbeats until one fails or ctx ends, and says why. Pushes stand before
// the answer on the connection and are routed by its reader, so at the answer
// all changes before the sending have been announced.
func (s *session) beat(ctx context.Context, every time.Duration, h *hub) error {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.nudged:
		case <-ctx.Done():
			return ctx.Err()
		}
		sent := time.Now()
		if err := s.within(silence, s.ping); err != nil {
			return err
		}
		s.answered.Store(&sent)
		h.alive(s, sent)
		timer.Reset(every)
	}
}

// within runs ask and cuts the connection if there is no answer in time. Calls
// get no context of their own: it is not heard where a request waits for a
// place in the ring, a cut connection is.
func (s *session) within(limit time.Duration, ask func() error) error {
	var cut atomic.Bool
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for wait := limit; wait > 0; wait = limit - s.conn.silent() {
			select {
			case <-stop:
				return
			case <-time.After(wait):
			}
		} // a long answer that is still arriving is no silence
		cut.Store(true)
		s.conn.Close()
	}()
	err := ask()
	if err != nil && cut.Load() {
		return fmt.Errorf("no answer to a heartbeat in %v", limit)
	}
	return err
}

// An ear is a connection that knows when it last heard something.
type ear struct {
	net.Conn
	began time.Time    // immutable
	last  atomic.Int64 // ns since began
}

func newEar(conn net.Conn) *ear { return &ear{Conn: conn, began: time.Now()} }

func (e *ear) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if n > 0 {
		e.last.Store(int64(time.Since(e.began)))
	}
	return n, err
}

// silent is how long nothing was heard.
func (e *ear) silent() time.Duration { return time.Since(e.began) - time.Duration(e.last.Load()) }

// nudge asks for a heartbeat now.
func (s *session) nudge() {
	select {
	case s.nudged <- struct{}{}:
	default:
	}
}

// end cuts the connection; every call on it fails at once. Not before dial is done.
func (s *session) end() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.client != nil {
		s.client.Close()
	}
}
