// A slot of a Redis Cluster that moves from one master to another, in the steps
// that operators' tools take, so that a test can stand between them.

package servers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MoveSlot moves a slot and its keys to another master. during, which may be nil,
// is called when the slot is open and its keys have moved: its old owner answers
// ASK then for each key, and afterwards MOVED. It returns when every server that
// runs names the new owner.
func (c *RedisCluster) MoveSlot(ctx context.Context, slot int, to *RedisServer, during func() error) error {
	from, err := c.AwaitOwner(ctx, slot, nil)
	if err == nil && from != to {
		err = c.moveSlot(ctx, slot, from, to, during)
	}
	if err != nil {
		return fmt.Errorf("move slot %d: %w", slot, err)
	}
	return nil
}

func (c *RedisCluster) moveSlot(ctx context.Context, slot int, from, to *RedisServer, during func() error) error {
	number := strconv.Itoa(slot)
	fromID, err := from.clusterID(ctx)
	if err != nil {
		return err
	}
	toID, err := to.clusterID(ctx)
	if err != nil {
		return err
	}
	// In this order: a key that is not with its owner any more must be found.
	if _, err := call(ctx, to.addr, "CLUSTER", "SETSLOT", number, "IMPORTING", fromID); err != nil {
		return err
	}
	if _, err := call(ctx, from.addr, "CLUSTER", "SETSLOT", number, "MIGRATING", toID); err != nil {
		return err
	}
	if err := moveKeys(ctx, number, from, to); err != nil {
		return err
	}
	if during != nil {
		if err := during(); err != nil {
			return err
		}
	}
	if err := moveKeys(ctx, number, from, to); err != nil { // what during has brought
		return err
	}
	for _, node := range append([]*RedisServer{to, from}, c.nodes...) { // the new owner first: else nobody is, for a moment
		if is, err := node.isMaster(ctx); node.PID() == 0 || err == nil && !is {
			continue
		}
		if _, err := call(ctx, node.addr, "CLUSTER", "SETSLOT", number, "NODE", toID); err != nil {
			return err
		}
	}
	return await(ctx, startLimit, "the new owner to be known", func(ctx context.Context) (bool, error) {
		owner, err := c.AwaitOwner(ctx, slot, nil)
		return owner == to, err
	})
}

// moveKeys sends all keys of a slot from one server to another.
func moveKeys(ctx context.Context, slot string, from, to *RedisServer) error {
	host, port, _ := strings.Cut(to.addr, ":")
	for {
		keys, err := callList(ctx, from.addr, "CLUSTER", "GETKEYSINSLOT", slot, "100")
		if err != nil || len(keys) == 0 {
			return err
		}
		command := []string{"MIGRATE", host, port, "", "0", "5000", "KEYS"}
		for i := range keys {
			command = append(command, at(keys, i))
		}
		if _, err := call(ctx, from.addr, command...); err != nil {
			return err
		}
	}
}

// all reports whether CLUSTER INFO says each value of its field, pair by pair, on
// all servers that run.
func (c *RedisCluster) all(ctx context.Context, pairs ...string) (bool, error) {
	for _, node := range c.nodes {
		if node.PID() == 0 {
			continue
		}
		one, cancel := context.WithTimeout(ctx, time.Second) // it may be frozen
		info, err := call(one, node.addr, "CLUSTER", "INFO")
		cancel()
		if err != nil {
			return false, err
		}
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(fmt.Sprint(info), pairs[i]+":"+pairs[i+1]+"\r\n") {
				return false, nil
			}
		}
	}
	return true, nil
}
