package redis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

// As documented by Redis: the slot of "123456789" is 12739, and only what is in
// braces counts, if it is not empty.
func TestSlotsAreThoseOfRedis(t *testing.T) {
	r := servers.PrivateRedis(t, servers.Options{Settings: []string{"cluster-enabled=yes", "cluster-port=" + strconv.Itoa(freePort(t))}})
	op := operate(t, r.Addr())
	for _, key := range []string{"123456789", "", "a", "{a}", "{a}b", "x{a}b", "{}a", "{a", "a}", "{{a}}", "{a}{b}", "größe:{}", "fastopt:größe:{x}* \n"} {
		if want, _ := op.do("CLUSTER", "KEYSLOT", key).AsInt64(); int64(slotOf(key)) != want {
			t.Errorf("slot of %q is %d, want %d", key, slotOf(key), want)
		}
	}
	if slotOf("123456789") != 12739 {
		t.Errorf("got %d", slotOf("123456789"))
	}
}

// cornered corrupts entries in a cluster.
type cornered struct {
	*Cache
	r *rig
}

func (c cornered) Corrupt(namespace, name string, raw []byte) {
	key := entryKey(defaultPrefix, spaceOf(namespace), name)
	c.r.ops[c.r.owner(key)].do("SET", key, string(raw))
}

func TestCacheKeepsTheContractInACluster(t *testing.T) {
	t.Parallel()
	r := startCluster(t, 3, false)
	c := cornered{openQuick(t, r.url()), r}
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return c })
}

func TestPushesComeFromAllNodesOfACluster(t *testing.T) {
	t.Parallel()
	r := startCluster(t, 3, false)
	c, other := open(t, r.url()), open(t, r.url())
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	all := names(30)
	c.Load(limit(t, patience), ns, all)
	owners := map[int]bool{}
	for i, name := range all {
		put(t, other, value(name, 1, uint64(i+1), `1`))
		owners[r.owner(keyOf(name))] = true
	}
	if len(owners) != 3 {
		t.Fatalf("the names are of %d nodes", len(owners))
	}
	for _, name := range all {
		l.after(t, at, "a push for "+name, changed(name))
	}
}

// Keys that leave one by one are announced by that, and all by the change of the
// map: who creates one elsewhere that was not there would not be heard.
func TestASlotThatMovesIsFollowed(t *testing.T) {
	r := startCluster(t, 3, false)
	c, other := open(t, r.url()), open(t, r.url())
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("{m}there", 1, 1, `1`))
	load(t, c, "{m}there")
	load(t, c, "{m}empty")
	s, _ := c.hub.session(t.Context())
	at = l.after(t, at, "Alive", since(time.Now()))

	to := (r.owner(keyOf("{m}there")) + 1) % 3
	r.moveSlot(keyOf("{m}there"), to, func() {
		// ASK: what is not there any more is asked of the other node.
		if err := load(t, c, "{m}asked").Err; !errors.Is(err, tiers.ErrMiss) {
			t.Errorf("on its way: %v", err)
		}
		put(t, other, value("{m}asked", 1, 1, `1`))
		at = l.after(t, at, "a push for a key that was asked for", changed("{m}asked"))
		if err := load(t, c, "{m}there").Err; err != nil {
			t.Errorf("not yet on its way: %v", err)
		}
	})
	began := time.Now()
	l.after(t, at, "the announcement of a key that moved", changed("{m}there"))
	if res := load(t, c, "{m}there"); res.Err != nil || string(res.Data) != "1" { // MOVED
		t.Errorf("moved: %v", res.Err)
	}
	l.after(t, at, "the announcement of a key that is not there", changed("{m}empty"))
	t.Logf("announced after %v", time.Since(began))
	at = len(l.heard())
	load(t, c, "{m}empty")
	put(t, other, value("{m}there", 1, 2, `2`))
	put(t, other, value("{m}empty", 1, 2, `2`))
	l.after(t, at, "a push from the new node", changed("{m}there"))
	l.after(t, at, "a push from the new node", changed("{m}empty"))
	if now, _ := c.hub.session(t.Context()); now != s {
		t.Error("the session has ended for it")
	}
}

// A node that joins has answered a heartbeat before a read of it counts.
func TestANodeThatJoinsIsHeardAtOnce(t *testing.T) {
	r := startCluster(t, 2, false)
	bus := freePort(t)
	r.nodes = append(r.nodes, servers.PrivateRedis(t, servers.Options{Settings: []string{
		"cluster-enabled=yes", "cluster-node-timeout=1000", "cluster-port=" + strconv.Itoa(bus)}}))
	r.ops = append(r.ops, operate(t, r.nodes[2].Addr()))
	c, other := open(t, r.url()), open(t, r.url())
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	r.meet(2, strconv.Itoa(bus))
	eventually(t, "the new node to know the others", func() bool {
		info, _ := r.ops[2].do("CLUSTER", "INFO").ToString()
		nodes, _ := r.ops[0].do("CLUSTER", "INFO").ToString()
		return strings.Contains(info, "cluster_known_nodes:3") && strings.Contains(info, "cluster_state:ok") && strings.Contains(nodes, "cluster_known_nodes:3")
	})
	put(t, other, value("{j}", 1, 1, `1`))
	load(t, c, "{j}")
	r.moveSlot(keyOf("{j}"), 2, func() {
		load(t, c, "{j}asked")
		s, _ := c.hub.session(t.Context())
		n := s.at(r.nodes[2].Addr())
		if n == nil || n.answered.Load() == 0 {
			t.Error("read of a node that was not heard")
		}
	})
	at = l.after(t, at, "a move", changed("{j}"))
	if res := load(t, c, "{j}"); res.Err != nil {
		t.Error(res.Err)
	}
	put(t, other, value("{j}", 1, 2, `2`))
	l.after(t, at, "a push of the new node", changed("{j}"))
	l.after(t, at, "Alive", since(time.Now()))
}

func TestAMasterOfAClusterThatDiesIsReplaced(t *testing.T) {
	r := startCluster(t, 3, true)
	c := open(t, r.url()+"&addr="+r.nodes[1].Addr()+"&addr="+r.nodes[2].Addr())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	all := names(12)
	for i, name := range all {
		put(t, c, value(name, 1, uint64(i+1), `1`))
	}
	for _, res := range c.Load(limit(t, patience), ns, all) {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	r.replicated()
	dead := r.owner(keyOf(all[0]))
	at := len(l.heard())
	if err := r.nodes[dead].Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	lost := time.Since(killed)
	if err := load(t, c, all[0]).Err; !errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup) {
		t.Errorf("while dead: %v", err)
	}
	at = l.after(t, at, "Alive", kind(tiers.Alive))
	alive := time.Since(killed)
	eventually(t, "every name", func() bool {
		for _, res := range c.Load(limit(t, patience), ns, all) {
			if res.Err != nil {
				return false
			}
		}
		return true
	})
	t.Logf("noticed after %v, alive after %v, right after %v (node timeout 1s)", lost, alive, time.Since(killed))
	put(t, c, value(all[0], 1, 100, `2`))
	l.after(t, at, "a push from the new master", changed(all[0]))
}

// Without a failover by death the old master lives on as a replica, and what was
// read there would be told of only as long as its link holds.
func TestAMasterOfAClusterThatStepsDownIsLeft(t *testing.T) {
	r := startCluster(t, 3, true)
	c := open(t, r.url())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 1, `1`))
	load(t, c, "x")
	owner := r.owner(keyOf("x"))
	at := len(l.heard())
	r.ops[owner+3].do("CLUSTER", "FAILOVER")
	eventually(t, "the replica to take over", func() bool { return r.owner(keyOf("x")) == owner+3 })
	began := time.Now()
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	at = l.after(t, at, "Alive", kind(tiers.Alive))
	t.Logf("left after %v", time.Since(began))
	load(t, c, "x")
	put(t, c, value("x", 1, 2, `2`))
	l.after(t, at, "a push from the new master", changed("x"))
}

func TestANodeThatIsFrozenIsNoticed(t *testing.T) {
	r := startCluster(t, 3, false)
	c := open(t, r.url())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	at := len(l.heard())
	if err := r.nodes[2].Freeze(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.after(t, at, "Lost", kind(tiers.Lost))
	noticed(t, began)
	for _, e := range l.heard()[at:] {
		if e.Kind == tiers.Alive && e.Since.After(began.Add(100*time.Millisecond)) {
			t.Errorf("told Alive of %v after the freeze", e.Since.Sub(began))
		}
	}
}

func TestAURLOfTheWrongKindSaysWhatToWrite(t *testing.T) {
	r := startCluster(t, 3, false)
	single := private(t)
	for what, k := range map[string]struct{ url, says string }{
		"a node as a server":     {r.nodes[0].URL(), "cluster=true"},
		"a server as a cluster":  {single.URL() + "?cluster=true", "leave cluster"},
		"a server as a Sentinel": {single.URL() + "?master_set=m", "("},
	} {
		c := open(t, k.url)
		var err error
		for i := range 10 {
			if err = load(t, c, fmt.Sprint(i)).Err; !errors.Is(err, tiers.ErrMiss) {
				break
			}
		}
		if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), k.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMoreKeysThanAreKeptInMindAreALoss(t *testing.T) {
	old, now := &slots{}, &slots{}
	now.owner[slotOf("moved")] = "b"
	var r reads
	r.add([]string{"moved", "stays", "empty", "failed"}, []reply{{}, {}, {err: rueidis.Nil}, {err: errDialed}})
	if left, err := r.leave(old, now); err != nil || !slices.Equal(left, []string{"moved"}) {
		t.Errorf("left %v, %v", left, err)
	}
	if _, ok := r.keys["failed"]; ok || len(r.keys) != 2 {
		t.Errorf("keeps %v", r.keys)
	}
	many := names(maxRead)
	r.add(many, make([]reply, maxRead))
	if _, err := r.leave(old, now); err == nil || len(r.keys) > maxRead {
		t.Errorf("%d keys of %d are kept: %v", len(r.keys), maxRead+2, err)
	}
}

// The map changes while a read is under way: it was sent by the old one, and the
// change did not know of it yet.
func TestAReadThatAMoveOvertakesIsAnnounced(t *testing.T) {
	h := newHub(defaultPrefix)
	w := &watcher{wake: make(chan struct{}, 1), since: time.Now()}
	h.add(spaceOf(ns), w)
	s := bare(h)
	s.slots.Store(&slots{})
	h.up(s)
	w.take()
	now := &slots{}
	now.owner[slotOf(keyOf("x"))] = "b"
	s.readInCluster([]string{keyOf("x"), keyOf("y")}, func() []reply {
		s.announceMoved(s.slots.Swap(now), now)
		return make([]reply, 2)
	})
	if events, _ := w.take(); len(events) != 1 || !changed("x")(events[0]) {
		t.Errorf("told %v", events)
	}
}
