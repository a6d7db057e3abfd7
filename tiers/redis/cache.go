package redis

// The cache: one owner that keeps a session alive, and calls that borrow it.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/tiers"
)

// A Cache is a [tiers.Cache] in Redis. Its methods are safe for
// concurrent use. A call returns when its context ends, and within two seconds
// without one. It retries nothing: an error that is [tiers.ErrUnavailable] may
// pass, one that is [tiers.ErrSetup] asks for somebody to act.
type Cache struct {
	set   *setup // immutable
	hub   *hub
	calls chan struct{} // one token per call on the connections

	stop    context.CancelFunc
	stopped <-chan struct{} // closed by stop
	done    chan struct{}   // closed when the owner has returned
	closing sync.Once
}

var _ tiers.Cache = (*Cache)(nil)

// Open checks conf and returns without waiting for the server, which is dialed
// in the background until it answers, and again whenever the connection ends.
// An error is [tiers.ErrSetup] and names the field; what the server refuses
// (password, rights) is the error of calls. Close releases everything.
func Open(conf Config) (*Cache, error) {
	set, err := conf.check()
	if err != nil {
		return nil, err
	}
	return start(set), nil
}

func start(set *setup) *Cache {
	ctx, stop := context.WithCancel(context.Background())
	c := &Cache{
		set: set, hub: newHub(set.KeyPrefix),
		calls: make(chan struct{}, maxCalls),
		stop:  stop, stopped: ctx.Done(), done: make(chan struct{}),
	}
	go c.own(ctx)
	return c
}

// Close ends the connection and all calls and watches, and waits for what runs
// in the background: no longer than a dial or a heartbeat may, a second. Later
// calls fail. Closing twice does nothing.
func (c *Cache) Close() {
	c.closing.Do(func() {
		c.stop()
		<-c.done
		// Those that run have lost their connection. The tokens are not given back,
		// so that none begins that found the session while it lived.
		for range maxCalls {
			c.calls <- struct{}{}
		}
	})
}

// Half to one and a half of this passes before a server is dialed again, twice as
// long each time. A fleet that lost its connections at once comes back spread
// out, and each process within a second after the server did: at most 600 ms,
// and a dial that met silence before that.
const (
	firstDelay = 5 * time.Millisecond
	lastDelay  = 400 * time.Millisecond
)

// own keeps a session alive until ctx ends. It is the only one who dials.
func (c *Cache) own(ctx context.Context) {
	defer close(c.done)
	defer c.hub.down(errClosed)
	delay := firstDelay
	for ctx.Err() == nil {
		began := time.Now()
		s, err := dial(ctx, c.set, c.hub)
		if err == nil {
			c.hub.up(s)
			err = s.wait()
		}
		if ctx.Err() == nil {
			c.hub.down(explain(err))
		}
		if s != nil {
			s.end()
			if time.Since(began) > time.Second {
				delay = firstDelay
			}
		}
		pause(ctx, delay/2+rand.N(delay))
		delay = min(2*delay, lastDelay)
	}
}

// phase is when the first of many rounds is due, so that a fleet which connected at
// once does not go on in step.
func phase(every time.Duration) time.Duration { return every/2 + rand.N(every/2) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// ask runs fn on the live session and waits for it as long as ctx allows. fn
// goes on after ctx has ended, until it is answered or the connection is cut,
// and alone owns what it writes until ask has returned nil.
func (c *Cache) ask(ctx context.Context, fn func(*session)) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	s, err := c.hub.session(ctx)
	if err != nil {
		return err
	}
	select {
	case c.calls <- struct{}{}:
	case <-c.stopped:
		return errClosed
	case <-ctx.Done():
		return ended(ctx)
	}
	done := make(chan struct{})
	go func() {
		defer func() { <-c.calls }()
		fn(s)
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// Lease implements [tiers.Cache]. Leases end by themselves; nothing gives them
// back. d is rounded up to a millisecond. An error is of all names.
func (c *Cache) Lease(ctx context.Context, namespace string, names []string, d time.Duration) ([]bool, error) {
	fail := func(err error) ([]bool, error) { return nil, fmt.Errorf("redis: lease: %w", err) }
	if d <= 0 {
		return fail(fmt.Errorf("a lease of %v", d))
	}
	sp := spaceOf(namespace)
	keys := make([]string, len(names))
	for i, name := range names {
		if err := checkPlace(namespace, name); err != nil {
			return fail(fmt.Errorf("%q: %w", name, err))
		}
		keys[i] = leaseKey(entryKey(c.set.KeyPrefix, sp, name))
	}
	if len(keys) == 0 {
		return nil, nil
	}
	var answers []reply
	var live *session
	err := c.ask(ctx, func(s *session) {
		live = s
		answers = s.do(keys, func(b rueidis.Builder, i int) rueidis.Completed {
			return b.Set().Key(keys[i]).Value("1").Nx().PxMilliseconds(millis(d)).Build()
		})
	})
	if err != nil {
		return fail(err)
	}
	held := make([]bool, len(keys))
	for i, a := range answers {
		if held[i] = a.err == nil; !held[i] && !rueidis.IsRedisNil(a.err) {
			return fail(fmt.Errorf("%q: %w", names[i], live.explain(a.err)))
		}
	}
	return held, nil
}

func checkPlace(namespace, name string) error {
	if err := tiers.CheckName(namespace); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	return tiers.CheckName(name)
}

// millis rounds up, so that a short time never becomes 0, which Redis refuses.
func millis(d time.Duration) int64 {
	return int64((d-1)/time.Millisecond) + 1
}
