package redis

// The hub knows the session that lives, if any, and tells watchers what it
// hears. One mutex orders pushes, heartbeats, ends and registrations, so each
// watcher hears them in the order in which they happened. Under it nothing
// waits: pushes arrive on the reader of the connection.

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/tiers"
)

type hub struct {
	prefix  string        // immutable
	settled chan struct{} // closed once the first attempt to connect has ended

	mu       sync.Mutex
	live     *session  // guarded by mu; nil while there is none
	told     time.Time // guarded by mu; up to when watchers know of all changes
	deaf     time.Time // guarded by mu; when everything was lost, while no heartbeat was answered since; else zero
	reason   error     // guarded by mu; why live is nil
	watchers map[space]map[*watcher]struct{}
}

func newHub(prefix string) *hub {
	return &hub{prefix: prefix, settled: make(chan struct{}), watchers: map[space]map[*watcher]struct{}{}}
}

// session returns the session that lives. It waits only while the very first
// attempt to connect is under way.
func (h *hub) session(ctx context.Context) (*session, error) {
	select {
	case <-h.settled:
	case <-ctx.Done():
		return nil, ended(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live == nil {
		return nil, h.reason
	}
	return h.live, nil
}

// lives reports whether s is still the session to believe.
func (h *hub) lives(s *session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live == s
}

// up makes s the session that lives.
func (h *hub) up(s *session) {
	h.mu.Lock()
	h.live, h.reason, h.deaf, h.told = s, nil, time.Time{}, s.vouched()
	h.eachLocked(func(w *watcher) { w.alive(h.told) })
	h.mu.Unlock()
	h.settle()
}

// down says that no session lives, and why. If one did, everything may be lost.
func (h *hub) down(reason error) {
	h.mu.Lock()
	if h.live != nil {
		h.eachLocked((*watcher).lost)
	}
	h.live, h.reason = nil, reason
	if errors.Is(reason, tiers.ErrSetup) || reason == errClosed {
		h.eachLocked(func(w *watcher) { w.fail(reason) })
	}
	h.mu.Unlock()
	h.settle()
}

// settle is called by the owner of the connection alone.
func (h *hub) settle() {
	select {
	case <-h.settled:
	default:
		close(h.settled)
	}
}

// alive tells what the session vouches for by now. With several nodes it is told
// as seldom as with one.
func (h *hub) alive(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live != s {
		return
	}
	vouched := s.vouched()
	if !vouched.After(h.deaf) || h.deaf.IsZero() && vouched.Sub(h.told) < s.set.Heartbeat/2 {
		return
	}
	h.deaf, h.told = time.Time{}, vouched
	h.eachLocked(func(w *watcher) { w.alive(vouched) })
}

// pushed routes an invalidation. keys is nil when everything was deleted or
// a connection broke; a heartbeat tells which. A session that is not, or no
// longer, the live one has nothing to say.
func (h *hub) pushed(s *session, keys []rueidis.RedisMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live != s {
		return
	}
	if keys == nil {
		h.deaf = time.Now()
		h.eachLocked((*watcher).lost)
		s.nudge()
		return
	}
	for i := range keys {
		key, err := keys[i].ToString()
		if err != nil {
			continue
		}
		s.reads.forget(key)
		h.routeLocked(key)
	}
}

// changed says of one key what a push would.
func (h *hub) changed(s *session, key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live == s {
		h.routeLocked(key)
	}
}

func (h *hub) routeLocked(key string) {
	if sp, name, ok := splitKey(h.prefix, key); ok {
		for w := range h.watchers[sp] {
			w.changed(name)
		}
	}
}

func (h *hub) add(sp space, w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers[sp] == nil {
		h.watchers[sp] = map[*watcher]struct{}{}
	}
	h.watchers[sp][w] = struct{}{}
	switch {
	case h.live == nil && (errors.Is(h.reason, tiers.ErrSetup) || h.reason == errClosed):
		w.fail(h.reason)
	case h.live != nil && h.deaf.IsZero():
		w.alive(h.live.vouched())
	}
}

func (h *hub) remove(sp space, w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers[sp], w)
	if len(h.watchers[sp]) == 0 {
		delete(h.watchers, sp)
	}
}

func (h *hub) eachLocked(tell func(*watcher)) {
	for _, ws := range h.watchers {
		for w := range ws {
			tell(w)
		}
	}
}
