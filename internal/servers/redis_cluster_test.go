//go:build unix

// A cluster moves its slots, by order and when a master dies.

package servers

import (
	"fmt"
	"slices"
	"testing"
)

// slotOf returns a key's slot and its owner.
func slotOf(t *testing.T, c *RedisCluster, key string) (int, *RedisServer) {
	t.Helper()
	slot, err := c.Slot(t.Context(), key)
	must(t, err)
	owner, err := c.AwaitOwner(t.Context(), slot, nil)
	must(t, err)
	return slot, owner
}

func TestSlotMovesWithItsKeys(t *testing.T) {
	c := PrivateCluster(t, 3, 0)
	slot, from := slotOf(t, c, "{tag}1")
	to := c.Nodes()[0]
	if to == from {
		to = c.Nodes()[1]
	}
	wantAnswer(t, to, "SET {tag}1 x", fmt.Sprintf("-MOVED %d %s", slot, from.Addr()))
	wantAnswer(t, from, "MSET {tag}1 x {tag}2 x", "+OK")
	between := false
	must(t, c.MoveSlot(t.Context(), slot, to, func() error {
		between = true
		wantAnswer(t, from, "GET {tag}1", fmt.Sprintf("-ASK %d %s", slot, to.Addr()))
		return nil
	}))
	if !between {
		t.Error("nobody was called between the steps")
	}
	wantAnswer(t, to, "EXISTS {tag}1 {tag}2", ":2")
	wantAnswer(t, from, "GET {tag}1", fmt.Sprintf("-MOVED %d %s", slot, to.Addr()))
	must(t, c.MoveSlot(t.Context(), slot, to, nil)) // it is there
	must(t, c.MoveSlot(t.Context(), slot, from, nil))
	wantAnswer(t, from, "EXISTS {tag}1 {tag}2", ":2")
}

func TestReplicaTakesTheSlotsOfADeadMaster(t *testing.T) {
	c := PrivateCluster(t, 3, 1)
	slot, master := slotOf(t, c, "key")
	replica := c.Nodes()[3+slices.Index(c.Addrs(), master.Addr())]
	wantAnswer(t, master, "SET key x", "+OK")
	wantSoon(t, replica, "DBSIZE", ":1")
	must(t, master.Kill())
	owner, err := c.AwaitOwner(t.Context(), slot, master)
	must(t, err)
	if owner != replica {
		t.Errorf("%s owns the slot, want %s, the replica of its master", owner.Addr(), replica.Addr())
	}
	wantAnswer(t, owner, "EXISTS key", ":1")

	must(t, master.Restart(t.Context())) // it knows the cluster, and hears that it is a replica now
	wantSoon(t, master, "EXISTS key", fmt.Sprintf("-MOVED %d %s", slot, owner.Addr()))
	must(t, master.awaitSync(t.Context()))
}

func TestClusterNeedsAMaster(t *testing.T) {
	if _, err := StartCluster(t.Context(), 0, 1, Options{}); err == nil {
		t.Error("a cluster of no masters was started")
	}
}
