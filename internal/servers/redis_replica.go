// Replicas of a redis-server: one that lags, one that takes over, and a master
// that becomes a replica.

package servers

import (
	"context"
	"fmt"
	"net"
)

// StartReplica starts a replica of r and returns when it has r's data. After each
// Restart it is one again and gets them anew, whatever else was ordered. It
// follows r, and r need not live as long. ErrExternal, and as StartRedis.
func (r *RedisServer) StartReplica(ctx context.Context, o Options) (*RedisServer, error) {
	if r.srv == nil {
		return nil, fmt.Errorf("start a replica: %w", ErrExternal)
	}
	host, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return nil, fmt.Errorf("start a replica: %w", err)
	}
	o.extra = func() []string { return []string{"--replicaof", host, port} }
	replica, err := StartRedis(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := replica.awaitSync(ctx); err != nil {
		_ = replica.Stop() // the other error says more
		return nil, err
	}
	return replica, nil
}

// Follow makes r a replica of master, in place of all it had, and returns when it
// has master's data. ErrExternal.
func (r *RedisServer) Follow(ctx context.Context, master *RedisServer) error {
	host, port, err := net.SplitHostPort(master.addr)
	if err == nil {
		err = r.replicaOf(ctx, host, port)
	}
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	return r.awaitSync(ctx)
}

// WithholdReplication cuts a replica off: it keeps what it has and gets no later
// write, until Follow. A sentinel would not have it and reconnects it after 8 s.
// ErrExternal.
func (r *RedisServer) WithholdReplication(ctx context.Context) error {
	if err := r.replicaOf(ctx, "127.0.0.1", "1"); err != nil { // there is nobody
		return fmt.Errorf("withhold replication: %w", err)
	}
	return nil
}

// Promote makes a replica a master, with the data it has got so far. ErrExternal.
func (r *RedisServer) Promote(ctx context.Context) error {
	if err := r.replicaOf(ctx, "NO", "ONE"); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	return nil
}

func (r *RedisServer) replicaOf(ctx context.Context, host, port string) error {
	if r.srv == nil {
		return ErrExternal
	}
	_, err := call(ctx, r.addr, "REPLICAOF", host, port)
	return err
}

// awaitSync waits until the replica is connected to its master, that is, has
// loaded what the master had when it connected.
func (r *RedisServer) awaitSync(ctx context.Context) error {
	return await(ctx, startLimit, "a replica in sync", func(ctx context.Context) (bool, error) {
		role, err := callList(ctx, r.addr, "ROLE")
		return at(role, 0) == "slave" && at(role, 3) == "connected", err
	})
}

// isMaster reports whether the server takes itself for a master.
func (r *RedisServer) isMaster(ctx context.Context) (bool, error) {
	role, err := callList(ctx, r.addr, "ROLE")
	return at(role, 0) == "master", err
}
