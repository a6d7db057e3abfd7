package redis

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
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

// A cluster behind an address translator names ports alone, and one that goes by
// names may have a node without.
func TestANodeIsFoundByItsPortAlone(t *testing.T) {
	r := startCluster(t, 2, false)
	for _, op := range r.ops {
		op.do("CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
	}
	c := ready(t, open(t, r.url()))
	put(t, c, value("x", 1, 1, `1`))
	to := 1 - r.owner(keyOf("x"))
	r.moveSlot(keyOf("x"), to, func() {
		if err := load(t, c, "{"+keyOf("x")+"}").Err; !errors.Is(err, tiers.ErrMiss) { // ASK
			t.Error(err)
		}
	})
	if err := load(t, c, "x").Err; err != nil { // MOVED
		t.Error(err)
	}
	for _, op := range r.ops {
		op.do("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
	}
	var err error
	eventually(t, "the name to be missed", func() bool { err = load(t, c, "x").Err; return err != nil })
	if !errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrSetup) {
		t.Error(err)
	}
}

func TestAddressesAsNodesNameThem(t *testing.T) {
	for _, k := range []struct{ host, port, from, want string }{
		{"10.0.0.1", "1", "a:2", "10.0.0.1:1"},
		{"node.example", "1", "a:2", "node.example:1"},
		{"::1", "1", "a:2", "[::1]:1"},
		{"[::1]", "1", "a:2", "[::1]:1"},
		{"::ffff:10.0.0.1", "1", "a:2", "[::ffff:10.0.0.1]:1"},
		{"", "1", "a:2", "a:1"},
		{"", "1", "[::2]:2", "[::2]:1"},
		{"?", "1", "a:2", ""},
	} {
		if got := announced(k.host, k.port, k.from); got != k.want {
			t.Errorf("%+v: got %q", k, got)
		}
	}
}

// Where a node cannot be reached that others send us to, every call for its keys
// would dial for itself, one behind the other.
func TestANodeThatCannotBeReachedIsDialedByOne(t *testing.T) {
	r := startCluster(t, 2, false)
	c := ready(t, open(t, r.url()))
	s, err := c.hub.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			if _, err := s.join(l.Addr().String()); err == nil {
				t.Error("joined")
			}
		})
	}
	calls.Wait()
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("the last of 50 returned after %v", d)
	}
	if !c.hub.lives(s) {
		t.Error("the session has ended for it")
	}
}

// The map is large and slow to make in a large cluster: what the servers are
// asked must not grow with what they redirect.
func TestTheMapIsNotAskedForByEveryCall(t *testing.T) {
	r := startCluster(t, 2, false)
	c := ready(t, open(t, r.url()))
	began := time.Now()
	for _, op := range r.ops {
		op.do("CONFIG", "RESETSTAT")
	}
	redirected := func() {
		for range 300 {
			load(t, c, "x")
		}
	}
	r.moveSlot(keyOf("x"), 1-r.owner(keyOf("x")), redirected) // ASK
	s, err := c.hub.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stale := &slots{owner: s.slots.Load().owner}
	stale.owner[slotOf(keyOf("x"))] = r.nodes[1-r.owner(keyOf("x"))].Addr()
	for range 300 { // MOVED
		s.slots.Store(stale)
		load(t, c, "x")
	}
	asked := 0
	for _, op := range r.ops {
		stats, _ := op.do("INFO", "commandstats").ToString()
		_, calls, _ := strings.Cut(stats, "cmdstat_cluster|slots:calls=")
		calls, _, _ = strings.Cut(calls, ",")
		n, _ := strconv.Atoi(calls)
		asked += n
	}
	most := int(time.Since(began)/lookGap) + 8 // of which some are the test's own
	if asked > most {
		t.Errorf("asked %d times in %v", asked, time.Since(began))
	}
}
