package redis

// A session is the unit of everything that is believed about pushes: one
// connection to each server that keys are read from, from the first dial until
// any of them ends. A client could dial again by itself, but then the pushes lost
// with the old connection and the heartbeats answered on the new one would be
// one story, and it would be wrong. So when one connection ends, the session
// ends, and everything is dialed anew.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/tiers"
)

type session struct {
	set   *setup             // immutable
	hub   *hub               // immutable
	began time.Time          // immutable; zero of the session's clock
	ctx   context.Context    // immutable; ends with the session, and with it every dial
	stop  context.CancelFunc // immutable

	over  chan error    // cap 1; why it has ended
	moved chan struct{} // cap 1; keys were found elsewhere than slots says

	nodes atomic.Pointer[[]*node] // grows only; a slice is immutable once stored
	slots atomic.Pointer[slots]   // which node owns which keys; nil: there is one node
	work  sync.WaitGroup          // heartbeats, lookout, polls

	mu     sync.Mutex        // held while a node is dialed that joins
	missed map[string]missed // guarded by mu; the nodes that could not be dialed

	reads reads  // in a cluster
	polls *polls // immutable; nil: the servers push
}

// A missed is a dial that failed; for missedFor it answers for further ones.
type missed struct {
	at  time.Time
	err error
}

const missedFor = 500 * time.Millisecond

// dial opens a session whose pushes go to h. It waits at most twice dialTimeout
// to find the servers and again to connect, plus the silence a heartbeat is given.
func dial(ctx context.Context, set *setup, h *hub) (*session, error) {
	s := &session{
		set: set, hub: h, began: time.Now(),
		over: make(chan error, 1), moved: make(chan struct{}, 1),
		missed: map[string]missed{},
	}
	if set.Poll > 0 {
		s.polls = &polls{seen: map[string]seen{}, flying: map[*int64]bool{}}
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	s.nodes.Store(&[]*node{})
	if err := s.begin(); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// begin connects to all servers, and then looks out for others.
func (s *session) begin() (err error) {
	switch {
	case s.set.cluster:
		if err = s.beginCluster(); err == nil {
			s.work.Go(func() { s.fail(s.lookout(s.lookAtSlots, slotsEvery)) })
		}
	case s.set.master != "":
		var w *sentinel
		if w, err = s.beginSentinel(); err == nil {
			s.work.Go(func() {
				defer w.hangUp()
				s.fail(s.lookout(w.look, sentinelEvery))
			})
		}
	default:
		_, err = s.join(s.set.addrs[0])
	}
	if err != nil {
		return err
	}
	if s.polls != nil {
		s.work.Go(func() { s.fail(s.poll()) })
	}
	return nil
}

// lookGap is the least time between two looks.
const lookGap = 100 * time.Millisecond

// lookout calls look at intervals, and when keys have moved, until it fails.
func (s *session) lookout(look func() error, every time.Duration) error {
	timer := time.NewTimer(phase(every))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.moved:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		if err := look(); err != nil {
			return err
		}
		pause(s.ctx, lookGap)
		timer.Reset(every - lookGap)
	}
}

// open connects to a server and proves that it answers.
func (s *session) open(addr string) (*node, error) {
	n := &node{addr: addr, nudged: make(chan struct{}, 1)}
	opt := s.set.opt
	opt.OnInvalidations = func(keys []rueidis.RedisMessage) {
		if n.counts.Load() {
			s.hub.pushed(s, keys)
		}
	}
	s.set.track.prepare(&opt)
	var err error
	if n.client, n.conn, err = connect(s.ctx, s.set, addr, opt); err != nil {
		return nil, err
	}
	sent := s.now()
	if err := n.ping(s.set.track); err != nil {
		n.end()
		return nil, err
	}
	n.answered.Store(sent)
	return n, nil
}

// join returns the node at addr, which it connects to if there is none: then it
// has answered a heartbeat before the first read of it counts. A node that is
// out of reach is dialed by one of its callers, for all.
func (s *session) join(addr string) (*node, error) {
	if n := s.at(addr); n != nil {
		return n, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.at(addr); n != nil {
		return n, nil
	}
	if m, ok := s.missed[addr]; ok && time.Since(m.at) < missedFor {
		return nil, m.err
	}
	n, err := s.open(addr)
	if err != nil {
		s.missed[addr] = missed{time.Now(), err}
		return nil, err
	}
	return n, s.addLocked(n)
}

func (s *session) addLocked(n *node) error {
	if s.ctx.Err() != nil {
		n.end()
		return errDialed
	}
	n.counts.Store(true)
	all := append(slices.Clone(*s.nodes.Load()), n)
	s.nodes.Store(&all)
	s.work.Go(func() {
		s.fail(n.beat(s.ctx, s.set.track, s.set.Heartbeat, s.now, s.heard))
	})
	return nil
}

// at returns the node at addr, nil if there is none.
func (s *session) at(addr string) *node {
	for _, n := range *s.nodes.Load() {
		if n.addr == addr {
			return n
		}
	}
	return nil
}

// heard is called when a heartbeat was answered. With polls it proves nothing
// but that the server lives.
func (s *session) heard() {
	if s.polls == nil {
		s.hub.alive(s)
	}
}

// now is the session's clock: nanoseconds since it began.
func (s *session) now() int64 { return int64(time.Since(s.began)) }

// vouched is the instant before which every change has been announced: the
// oldest of the nodes' last answered heartbeats, or the last poll.
func (s *session) vouched() time.Time {
	if s.polls != nil {
		return s.began.Add(time.Duration(s.polls.sent.Load()))
	}
	oldest := s.now()
	for _, n := range *s.nodes.Load() {
		oldest = min(oldest, n.answered.Load())
	}
	return s.began.Add(time.Duration(oldest))
}

// nudge asks for heartbeats now.
func (s *session) nudge() {
	for _, n := range *s.nodes.Load() {
		n.nudge()
	}
}

// fail ends the session. The first reason counts.
func (s *session) fail(err error) {
	select {
	case s.over <- err:
	default:
	}
}

// wait returns why the session has ended, once it has.
func (s *session) wait() error {
	select {
	case err := <-s.over:
		return err
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// end cuts all connections; every call on them fails at once. It returns when
// nothing of the session runs any more.
func (s *session) end() {
	s.stop()
	s.mu.Lock()
	for _, n := range *s.nodes.Load() {
		n.end()
	}
	s.mu.Unlock()
	s.work.Wait()
}

// read reads the entries of keys, so that their next change is announced.
func (s *session) read(keys []string) []reply {
	read := func() []reply {
		return s.send(keys, func(c rueidis.Client, places []int, asking bool) []reply {
			return s.set.track.read(c, pick(keys, places), asking)
		})
	}
	switch {
	case s.polls != nil:
		load := s.polls.depart(s.now())
		all := read()
		s.polls.land(load, keys, all, func(key string) { s.hub.changed(s, key) })
		return all
	case s.set.cluster:
		return s.readInCluster(keys, read)
	}
	return read()
}

// peek reads key without being told of its changes.
func (s *session) peek(key string) reply {
	return s.send([]string{key}, func(c rueidis.Client, _ []int, asking bool) []reply {
		return []reply{s.set.track.peek(c, key, asking)}
	})[0]
}

// do runs one command per key, each on the node that owns the key.
func (s *session) do(keys []string, build func(b rueidis.Builder, i int) rueidis.Completed) []reply {
	return s.send(keys, func(c rueidis.Client, places []int, asking bool) []reply {
		return runAll(c, len(places), asking, func(b rueidis.Builder, i int) rueidis.Completed {
			return build(b, places[i])
		})
	})
}

// pick returns the keys at places, in the order of places.
func pick(keys []string, places []int) []string {
	picked := make([]string, len(places))
	for i, place := range places {
		picked[i] = keys[place]
	}
	return picked
}

// explain puts an error of a command into the words of package tiers.
func (s *session) explain(err error) error {
	if re, ok := rueidis.IsRedisErr(err); ok && s.slots.Load() != nil && (strings.HasPrefix(re.Error(), "MOVED ") || strings.HasPrefix(re.Error(), "ASK ")) {
		return fmt.Errorf("%w: the cluster is moving the key, or it is of a node without a name (cluster-announce-hostname)", tiers.ErrUnavailable)
	}
	return explain(err)
}
