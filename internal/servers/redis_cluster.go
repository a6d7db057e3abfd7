// A Redis Cluster: masters that share the slots evenly, replicas of them, and the
// two things that move slots: an operator and a dead master.

package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// A RedisCluster is a set of redis-servers that form a cluster. Who owns a slot
// changes; break the servers by their own methods. A restarted one is empty but
// still knows the cluster: without a replica it has its slots again.
type RedisCluster struct {
	masters int            // at the start
	nodes   []*RedisServer // the first masters, then for each of them in turn a replica, and so on
}

const slotCount = 16384

// StartCluster starts a cluster of masters, of which a failover needs three, each
// with so many replicas. It returns when all servers agree and take writes, after
// some 2 s. It needs Redis 7. A server is held for dead after 1 s of silence, and
// replaced another second later; o may say otherwise by cluster-node-timeout in
// milliseconds. Errors as those of StartRedis.
func StartCluster(ctx context.Context, masters, replicas int, o Options) (_ *RedisCluster, err error) {
	c := &RedisCluster{masters: masters}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start a cluster: %w", err), c.Stop())
		}
	}()
	if masters < 1 || replicas < 0 {
		return nil, fmt.Errorf("%d masters with %d replicas: want at least 1 and 0", masters, replicas)
	}
	o.Settings = append([]string{
		"cluster-enabled=yes", "cluster-node-timeout=1000",
		"cluster-replica-validity-factor=0", // a replica may take over however long it was cut off
	}, o.Settings...)
	for range masters * (1 + replicas) {
		o.extra = clusterPort()
		node, err := StartRedis(ctx, o)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, node)
	}
	if err := c.form(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// clusterPort returns the argument for the port of the servers among themselves,
// the same at each start unless it is taken by then: the default is outside the
// range of free ports.
func clusterPort() func() []string {
	port := 0
	return func() []string {
		if free, err := freePort(); err == nil && (port == 0 || !available(port)) {
			port = free
		}
		return []string{"--cluster-port", strconv.Itoa(port)}
	}
}

// form makes a cluster of single servers.
func (c *RedisCluster) form(ctx context.Context) error {
	for i, node := range c.nodes {
		if i < c.masters {
			slots := []string{"CLUSTER", "ADDSLOTS"}
			for slot := i * slotCount / c.masters; slot < (i+1)*slotCount/c.masters; slot++ {
				slots = append(slots, strconv.Itoa(slot))
			}
			if _, err := call(ctx, node.addr, slots...); err != nil {
				return err
			}
		}
		if _, err := call(ctx, node.addr, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
		if i > 0 {
			if err := c.meet(ctx, node); err != nil {
				return err
			}
		}
	}
	err := await(ctx, startLimit, "servers that know each other", func(ctx context.Context) (bool, error) {
		return c.all(ctx, "cluster_known_nodes", strconv.Itoa(len(c.nodes)))
	})
	if err != nil {
		return err
	}
	for i, replica := range c.nodes[c.masters:] {
		if err := replica.replicate(ctx, c.nodes[i%c.masters]); err != nil {
			return err
		}
	}
	for _, replica := range c.nodes[c.masters:] {
		if err := replica.awaitSync(ctx); err != nil {
			return err
		}
	}
	return c.AwaitOK(ctx)
}

// meet introduces node to the first server.
func (c *RedisCluster) meet(ctx context.Context, node *RedisServer) error {
	host, port, err := net.SplitHostPort(node.addr)
	if err != nil {
		return err
	}
	bus, err := callList(ctx, node.addr, "CONFIG", "GET", "cluster-port")
	if err != nil {
		return err
	}
	_, err = call(ctx, c.nodes[0].addr, "CLUSTER", "MEET", host, port, at(bus, 1))
	return err
}

// replicate makes r a replica of master once it has heard of it.
func (r *RedisServer) replicate(ctx context.Context, master *RedisServer) error {
	id, err := master.clusterID(ctx)
	if err != nil {
		return err
	}
	return await(ctx, startLimit, "a replica", func(ctx context.Context) (bool, error) {
		_, err := call(ctx, r.addr, "CLUSTER", "REPLICATE", id)
		return err == nil, err
	})
}

// clusterID returns the name of the server in its cluster.
func (r *RedisServer) clusterID(ctx context.Context) (string, error) {
	id, err := call(ctx, r.addr, "CLUSTER", "MYID")
	return fmt.Sprint(id), err
}

// Addrs returns the addresses of all servers, for a client to start from.
func (c *RedisCluster) Addrs() []string { return addrsOf(c.nodes) }

// Nodes returns the servers: the first masters, in the order of their slots, then
// one replica of each of them, and so on.
func (c *RedisCluster) Nodes() []*RedisServer { return slices.Clone(c.nodes) }

// Slot returns the slot of a key, 0 to 16383.
func (c *RedisCluster) Slot(ctx context.Context, key string) (int, error) {
	var slot any
	node, err := c.anyRunning()
	if err == nil {
		slot, err = call(ctx, node.addr, "CLUSTER", "KEYSLOT", key)
	}
	if err != nil {
		return 0, err
	}
	return int(slot.(int64)), nil
}

func (c *RedisCluster) anyRunning() (*RedisServer, error) {
	i := slices.IndexFunc(c.nodes, func(r *RedisServer) bool { return r.PID() != 0 })
	if i < 0 {
		return nil, fmt.Errorf("redis cluster: %w", ErrNotRunning)
	}
	return c.nodes[i], nil
}

// AwaitOK waits until all servers that run hold every slot for served, at most
// 30 s. Right after a Kill they do not know of it: AwaitOwner waits for that.
func (c *RedisCluster) AwaitOK(ctx context.Context) error {
	return await(ctx, startLimit, "a cluster without a gap", func(ctx context.Context) (bool, error) {
		return c.all(ctx, "cluster_state", "ok", "cluster_slots_ok", strconv.Itoa(slotCount))
	})
}

// AwaitOwner waits until all servers that run name the same master of a slot, it
// is not the server given, which may be nil, and they hold every slot for served.
// At most 30 s.
func (c *RedisCluster) AwaitOwner(ctx context.Context, slot int, not *RedisServer) (owner *RedisServer, err error) {
	err = await(ctx, startLimit, fmt.Sprintf("an owner of slot %d", slot), func(ctx context.Context) (bool, error) {
		owner = nil
		for _, node := range c.nodes {
			if node.PID() == 0 {
				continue
			}
			named, err := c.ownerBy(ctx, node, slot)
			if err != nil || named == nil || named == not || owner != nil && named != owner {
				return false, err
			}
			owner = named
		}
		return c.all(ctx, "cluster_state", "ok")
	})
	return owner, err
}

// ownerBy returns whom node holds for the master of a slot, nil if nobody.
func (c *RedisCluster) ownerBy(ctx context.Context, node *RedisServer, slot int) (*RedisServer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // it may be frozen
	defer cancel()
	ranges, err := callList(ctx, node.addr, "CLUSTER", "SLOTS")
	if err != nil {
		return nil, err
	}
	for _, r := range ranges {
		fields, _ := r.([]any) // first slot, last slot, master, replicas
		if len(fields) < 3 {
			continue
		}
		first, _ := fields[0].(int64)
		last, _ := fields[1].(int64)
		if master, _ := fields[2].([]any); int(first) <= slot && slot <= int(last) {
			return nodeAt(c.nodes, net.JoinHostPort(at(master, 0), at(master, 1))), nil
		}
	}
	return nil, nil
}

// Stop ends all servers, as their Stop does.
func (c *RedisCluster) Stop() error {
	var all error
	for _, r := range c.nodes {
		all = errors.Join(all, r.Stop())
	}
	return all
}
