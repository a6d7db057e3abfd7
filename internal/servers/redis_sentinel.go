// A master with replicas and three sentinels, which hold a master for dead after
// half a second and make a replica the new one.

package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// A RedisSentinel is a set of redis-servers under sentinels. Which server is the
// master changes; break the servers by their own methods. A dead master that is
// restarted is empty and takes itself for a master until the sentinels make it a
// replica, some ten seconds later; its Follow does so at once.
type RedisSentinel struct {
	nodes     []*RedisServer // the first master, then the replicas
	sentinels []*RedisServer
}

const (
	masterName    = "fastopt"
	sentinelCount = 3
)

// StartSentinel starts a master, replicas of it and three sentinels, and returns
// when all of them know each other, in about 0.3 s. A failover takes some 3 s. o
// is for the servers, not for the sentinels. Errors as those of StartRedis.
func StartSentinel(ctx context.Context, replicas int, o Options) (_ *RedisSentinel, err error) {
	s := &RedisSentinel{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start a sentinel set: %w", err), s.Stop())
		}
	}()
	for i := range 1 + replicas {
		start := StartRedis
		if i > 0 {
			start = s.nodes[0].StartReplica
		}
		node, err := start(ctx, o)
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, node)
	}
	for {
		err := s.startSentinels(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, errPortTaken) {
			return nil, err
		}
		for _, sentinel := range s.sentinels {
			if err := sentinel.Stop(); err != nil {
				return nil, err
			}
		}
		s.sentinels = nil
	}
	return s, await(ctx, startLimit, "sentinels that know each other", s.complete)
}

// startSentinels gives each sentinel a configuration that names the others:
// else they would find each other by what they publish, seconds later.
func (s *RedisSentinel) startSentinels(ctx context.Context) error {
	var ports []int
	for range sentinelCount {
		port, err := freePort()
		if err != nil {
			return err
		}
		ports = append(ports, port)
	}
	for i := range ports {
		srv, err := startSentinel(ctx, ports, i, addrsOf(s.nodes))
		if err != nil {
			return err
		}
		s.sentinels = append(s.sentinels, newRedisServer(srv))
	}
	return nil
}

// sentinelConfig is the file that a sentinel starts from, and rewrites.
func sentinelConfig(ports []int, self int, nodes []string) string {
	id := func(i int) string { return fmt.Sprintf("%040x", i+1) }
	word := func(addr string) string { host, port, _ := net.SplitHostPort(addr); return host + " " + port }
	text := fmt.Sprintf("sentinel myid %s\n", id(self)) +
		fmt.Sprintf("sentinel monitor %s %s %d\n", masterName, word(nodes[0]), sentinelCount/2+1) +
		fmt.Sprintf("sentinel down-after-milliseconds %s 500\n", masterName) +
		fmt.Sprintf("sentinel failover-timeout %s 3000\n", masterName) // an election without a winner is repeated after twice as long
	for _, replica := range nodes[1:] {
		text += fmt.Sprintf("sentinel known-replica %s %s\n", masterName, word(replica))
	}
	for i, port := range ports {
		if i != self {
			text += fmt.Sprintf("sentinel known-sentinel %s 127.0.0.1 %d %s\n", masterName, port, id(i))
		}
	}
	return text
}

// complete reports whether every sentinel sees all others and all servers.
func (s *RedisSentinel) complete(ctx context.Context) (bool, error) {
	for _, sentinel := range s.sentinels {
		master, err := callList(ctx, sentinel.addr, "SENTINEL", "MASTER", masterName)
		if err != nil {
			return false, err
		}
		for field, want := range map[string]int{"num-slaves": len(s.nodes) - 1, "num-other-sentinels": sentinelCount - 1} {
			i := slices.Index(master, any(field))
			if i < 0 || at(master, i+1) != fmt.Sprint(want) {
				return false, nil
			}
		}
		// It also has to be connected to the others, or its first election fails.
		if _, err := call(ctx, sentinel.addr, "SENTINEL", "CKQUORUM", masterName); err != nil {
			return false, err
		}
		replicas, err := callList(ctx, sentinel.addr, "SENTINEL", "REPLICAS", masterName)
		if err != nil {
			return false, err
		}
		for _, replica := range replicas {
			fields, _ := replica.([]any)
			if i := slices.Index(fields, any("master-link-status")); i < 0 || at(fields, i+1) != "ok" {
				return false, nil
			}
		}
	}
	return true, nil
}

// MasterName returns the name under which sentinels know the master.
func (s *RedisSentinel) MasterName() string { return masterName }

// Addrs returns the addresses of the sentinels, for a client to start from.
func (s *RedisSentinel) Addrs() []string { return addrsOf(s.sentinels) }

// Nodes returns the servers: the first master, then its replicas.
func (s *RedisSentinel) Nodes() []*RedisServer { return slices.Clone(s.nodes) }

// Sentinels returns the sentinels. Their URLs are of no use to a client's data.
func (s *RedisSentinel) Sentinels() []*RedisServer { return slices.Clone(s.sentinels) }

// AwaitMaster waits until all sentinels that run name the same master, it is not
// the server given, which may be nil, and it takes itself for one. At most 30 s.
func (s *RedisSentinel) AwaitMaster(ctx context.Context, not *RedisServer) (master *RedisServer, err error) {
	err = await(ctx, startLimit, "a master", func(ctx context.Context) (bool, error) {
		master = nil
		for _, sentinel := range s.sentinels {
			if sentinel.PID() == 0 {
				continue
			}
			ctx, cancel := context.WithTimeout(ctx, time.Second) // it may be frozen
			addr, err := callList(ctx, sentinel.addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName)
			cancel()
			if err != nil {
				return false, err
			}
			named := nodeAt(s.nodes, net.JoinHostPort(at(addr, 0), at(addr, 1)))
			if named == nil || named == not || master != nil && named != master {
				return false, nil
			}
			master = named
		}
		if master == nil {
			return false, nil
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return master.isMaster(ctx)
	})
	return master, err
}

// nodeAt returns the server with the address, nil if there is none.
func nodeAt(nodes []*RedisServer, addr string) *RedisServer {
	if i := slices.IndexFunc(nodes, func(r *RedisServer) bool { return r.addr == addr }); i >= 0 {
		return nodes[i]
	}
	return nil
}

// Stop ends all sentinels and servers, as their Stop does.
func (s *RedisSentinel) Stop() error {
	var all error
	for _, r := range append(s.Sentinels(), s.nodes...) {
		all = errors.Join(all, r.Stop())
	}
	return all
}

func addrsOf(nodes []*RedisServer) (addrs []string) {
	for _, r := range nodes {
		addrs = append(addrs, r.addr)
	}
	return addrs
}
