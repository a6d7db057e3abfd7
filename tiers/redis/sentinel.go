package redis

// Sentinels: they say who the master is. Each of them knows how often the
// master was switched as far as it has heard; the one who heard most is right,
// and one that is cut off from the others is not followed back.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// sentinelEvery is how often one of the Sentinels is asked whether the master is
// still the one, and the master whether it is one. A master that was merely cut
// off and replaced gives no other sign.
const sentinelEvery = time.Second

// A sentinel watches over the master of one session.
type sentinel struct {
	s      *session
	master *node // the server of the session

	// Used by the lookout alone.
	client rueidis.Client // of the Sentinel that is asked; nil: none
	conn   *ear
	spare  func() bool // the end of the session is not to cut conn any more
	turn   int         // which address is asked next
}

// beginSentinel connects to the master.
func (s *session) beginSentinel() (*sentinel, error) {
	addr, err := s.findMaster("")
	if err != nil {
		return nil, err
	}
	n, err := s.join(addr)
	if err != nil {
		return nil, err
	}
	w := &sentinel{s: s, master: n}
	if err := w.stillMaster(); err != nil {
		return nil, err
	}
	return w, nil
}

// stillMaster asks the server itself, whose heartbeats bound the wait.
func (w *sentinel) stillMaster() error {
	role, err := w.master.client.Do(context.Background(), w.master.client.B().Role().Build()).ToArray()
	if err != nil {
		return err
	}
	if len(role) == 0 {
		return errors.New("the answer to ROLE is not understood")
	}
	if name, err := role[0].ToString(); err != nil || name != "master" {
		return errors.New("the server is no master any more")
	}
	return nil
}

// look asks one Sentinel, the next one if that is silent. That none answers is
// no reason to leave a master that does.
func (w *sentinel) look() error {
	if err := w.stillMaster(); err != nil {
		return err
	}
	addr, err := w.ask()
	if err != nil || addr == w.master.addr {
		return nil
	}
	if addr, err = w.s.findMaster(w.master.addr); err == nil && addr != w.master.addr {
		return errors.New("the master has been switched")
	}
	return nil
}

// ask asks the Sentinel that answered last, or else the next.
func (w *sentinel) ask() (addr string, err error) {
	if w.client == nil {
		addrs := w.s.set.addrs
		w.turn++
		w.client, w.conn, err = connect(w.s.ctx, w.s.set, addrs[w.turn%len(addrs)], w.s.set.toSentinel())
		if err != nil {
			w.client = nil
			return "", err
		}
		w.spare = context.AfterFunc(w.s.ctx, cut(w.conn))
	}
	var reply []string
	err = w.conn.await(func() (err error) {
		reply, err = w.client.Do(context.Background(),
			w.client.B().SentinelGetMasterAddrByName().Master(w.s.set.master).Build()).AsStrSlice()
		return err
	})
	if err != nil || len(reply) != 2 {
		w.hangUp()
		return "", errors.Join(err, errors.New("a Sentinel does not know the master"))
	}
	return net.JoinHostPort(reply[0], reply[1]), nil
}

func cut(conn *ear) func() { return func() { conn.Close() } }

func (w *sentinel) hangUp() {
	if w.client != nil {
		w.spare()
		w.conn.Close()
		w.client.Close()
		w.client = nil
	}
}

// findMaster asks all Sentinels at once and believes the one who has heard of
// most switches. Among several it prefers what it was told before: Sentinels may
// know one master by different addresses.
func (s *session) findMaster(before string) (string, error) {
	type answer struct {
		addr  string
		epoch uint64
		err   error
	}
	answers := make(chan answer, len(s.set.addrs))
	for _, addr := range s.set.addrs {
		s.work.Go(func() {
			master, epoch, err := s.askSentinel(addr)
			answers <- answer{master, epoch, err}
		})
	}
	var best *answer
	var failed error
	for range s.set.addrs {
		a := <-answers
		switch {
		case a.err != nil:
			failed = weightier(failed, a.err)
		case best == nil || a.epoch > best.epoch || a.epoch == best.epoch && a.addr == before:
			best = &a
		}
	}
	if best == nil {
		return "", sentinelError{failed}
	}
	return best.addr, nil
}

// askSentinel returns the master and the epoch of its last switch.
func (s *session) askSentinel(addr string) (master string, epoch uint64, err error) {
	client, conn, err := connect(s.ctx, s.set, addr, s.set.toSentinel())
	if err != nil {
		return "", 0, err
	}
	defer client.Close()
	defer conn.Close()
	var fields map[string]string
	err = conn.await(func() (err error) {
		fields, err = client.Do(context.Background(), client.B().Arbitrary("SENTINEL", "MASTER").Args(s.set.master).Build()).AsStrMap()
		return err
	})
	if err != nil {
		return "", 0, err
	}
	if epoch, err = strconv.ParseUint(fields["config-epoch"], 10, 64); err != nil || fields["ip"] == "" {
		return "", 0, fmt.Errorf("the answer of a Sentinel is not understood, it has %v", slices.Sorted(maps.Keys(fields)))
	}
	return net.JoinHostPort(fields["ip"], fields["port"]), epoch, nil
}

// toSentinel is how a connection to a Sentinel begins.
func (set *setup) toSentinel() rueidis.ClientOption {
	opt := set.opt
	opt.Username, opt.Password = set.SentinelUser, set.SentinelPassword
	opt.SelectDB = 0
	opt.DisableCache = true
	opt.RingScaleEachConn = 3
	opt.ReadBufferEachConn, opt.WriteBufferEachConn = 1<<12, 1<<12
	return opt
}
