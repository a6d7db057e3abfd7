package redis

import (
	"fmt"
	"testing"
)

// Two nodes may send what they are asked to one third: then its replies stand in
// another order than the keys.
func TestRepliesStandInTheOrderOfKeys(t *testing.T) {
	r := startCluster(t, 3, false)
	c := ready(t, open(t, r.url()))
	keys := make([]string, 2)
	for i := range 100 {
		if name := fmt.Sprint(i); r.owner(keyOf(name)) < 2 {
			keys[r.owner(keyOf(name))] = name
		}
	}
	for i, name := range keys {
		put(t, c, value(name, 1, uint64(i+1), fmt.Sprint(i)))
		r.moveSlot(keyOf(name), 2, nil)
	}
	s, err := c.hub.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stale := *s.slots.Load()
	for i, name := range keys {
		stale.owner[slotOf(keyOf(name))] = r.nodes[i].Addr()
	}
	for range 50 { // the order in which nodes are asked is random
		s.slots.Store(&stale)
		for i, res := range c.Load(limit(t, patience), ns, keys) {
			if res.Err != nil || string(res.Data) != fmt.Sprint(i) {
				t.Fatalf("key of node %d: %q, %v", i, res.Data, res.Err)
			}
		}
	}
}
