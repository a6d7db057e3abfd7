package redis

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

func TestCacheKeepsTheContractThroughSentinel(t *testing.T) {
	t.Parallel()
	g := startGuarded(t)
	c := corruptible{openQuick(t, g.url()), g.ops[0]}
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return c })
}

// stopReplication leaves the replica with what it has.
func (g *guarded) stopReplication(t testing.TB) {
	g.ops[0].do("ACL", "SETUSER", "default", "-psync", "-sync")
	g.ops[0].do("CLIENT", "KILL", "TYPE", "replica")
	eventually(t, "the replica to be left behind", func() bool {
		info, _ := g.ops[1].do("INFO", "replication").ToString()
		return strings.Contains(info, "master_link_status:down")
	})
}

// The replica that takes over holds less than its master did. Everything is lost
// and read again: what there is, is said; what is missing can be filled.
func TestR25AFailoverToALaggingReplicaIsALoss(t *testing.T) {
	g := startGuarded(t)
	c := open(t, g.url())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 3, `3`))
	eventually(t, "the replica", func() bool { return g.ops[1].get("x") == g.ops[0].get("x") })
	g.stopReplication(t)
	put(t, c, value("x", 1, 5, `5`))
	put(t, c, value("new", 1, 5, `5`))
	c.Load(limit(t, patience), ns, []string{"x", "new"})
	at := len(l.heard())
	if err := g.servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	lost := time.Since(killed)
	at = l.after(t, at, "Alive", kind(tiers.Alive))
	t.Logf("noticed after %v, alive after %v (down-after 500ms)", lost, time.Since(killed))
	if res := load(t, c, "x"); res.Err != nil || res.Stamp.Revision != 3 {
		t.Errorf("x: %v, %v, want what the replica holds", res.Stamp, res.Err)
	}
	if err := load(t, c, "new").Err; !errors.Is(err, tiers.ErrMiss) {
		t.Errorf("new: %v", err)
	}
	put(t, c, value("x", 1, 5, `5`))
	put(t, c, value("new", 1, 5, `5`))
	l.after(t, at, "a push from the new master", changed("x"))
	l.after(t, at, "a push from the new master", changed("new"))
}

// The operator's switch leaves the old master alive, as a replica.
func TestASwitchOfMastersEndsTheSession(t *testing.T) {
	g := startGuarded(t)
	c := open(t, g.url())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 1, `1`))
	load(t, c, "x")
	eventually(t, "the replica", func() bool { return g.ops[1].get("x") == g.ops[0].get("x") })
	at := len(l.heard())
	operate(t, g.sentinels[0]).do("SENTINEL", "FAILOVER", masterName)
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	at = l.after(t, at, "Alive", kind(tiers.Alive))
	eventually(t, "the new master", func() bool {
		s, err := c.hub.session(t.Context())
		return err == nil && s.at(g.servers[1].Addr()) != nil
	})
	load(t, c, "x")
	put(t, c, value("x", 1, 2, `2`))
	l.after(t, at, "a push from the new master", changed("x"))
	if operate(t, g.servers[1].Addr()).get("x") == "" { // the switch has cut the connections of others
		t.Error("not written to the new master")
	}
}

// A master that is cut off from everybody but us gives no sign but the word of
// the Sentinels, and one who was told to be a replica none but its own.
func TestAMasterThatIsNoneAnyMoreIsLeft(t *testing.T) {
	for what, demote := range map[string]func(g *guarded){
		"says so itself": func(g *guarded) {
			for _, addr := range g.sentinels {
				operate(t, addr).do("SENTINEL", "REMOVE", masterName) // nobody promotes it again
			}
			host, port, _ := net.SplitHostPort(g.servers[1].Addr())
			g.ops[0].do("REPLICAOF", host, port)
		},
		"the Sentinels say so": func(g *guarded) {
			for _, addr := range g.sentinels {
				op := operate(t, addr)
				op.do("SENTINEL", "REMOVE", masterName)
				host, port, _ := net.SplitHostPort(g.servers[1].Addr())
				op.do("SENTINEL", "MONITOR", masterName, host, port, "2")
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			g := startGuarded(t)
			c := open(t, g.url())
			l := listen(t, c)
			l.after(t, 0, "Alive", kind(tiers.Alive))
			s, _ := c.hub.session(t.Context())
			at := len(l.heard())
			if what == "the Sentinels say so" {
				g.ops[1].do("REPLICAOF", "NO", "ONE")
			}
			demote(g)
			began := time.Now()
			eventually(t, "the end of the session", func() bool { return !c.hub.lives(s) })
			l.after(t, at, "Lost", kind(tiers.Lost))
			t.Logf("left after %v", time.Since(began))
		})
	}
}

// One Sentinel that was not told is not believed, and a dead one is no loss.
func TestTheSentinelThatHeardMostIsRight(t *testing.T) {
	t.Parallel()
	g := startGuarded(t)
	host, port, _ := net.SplitHostPort(private(t).Addr())
	stale := startSentinel(t, host, port)
	operate(t, g.sentinels[0]).do("SENTINEL", "FAILOVER", masterName)
	for _, addr := range g.sentinels {
		op := operate(t, addr)
		eventually(t, "the switch", func() bool {
			reply, _ := op.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName).AsStrSlice()
			return len(reply) == 2 && net.JoinHostPort(reply[0], reply[1]) == g.servers[1].Addr()
		})
	}
	c := open(t, "redis://"+stale+"?master_set="+masterName+"&addr=127.0.0.1:1&addr="+g.sentinels[1])
	eventually(t, "the master", func() bool {
		s, err := c.hub.session(t.Context())
		return err == nil && s.at(g.servers[1].Addr()) != nil
	})
	s, _ := c.hub.session(t.Context())
	l := listen(t, c)
	l.after(t, 0, "Alive", since(time.Now().Add(3*sentinelEvery))) // each Sentinel had its turn
	if !c.hub.lives(s) {
		t.Error("followed the one that is behind")
	}
}

func TestAnUnknownMasterIsNamed(t *testing.T) {
	g := startGuarded(t)
	err := load(t, open(t, "redis://"+g.sentinels[0]+"?master_set=other"), "x").Err
	if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "master_set") {
		t.Errorf("got %v", err)
	}
}

func TestSentinelsMayAskForAPassword(t *testing.T) {
	host, port, _ := net.SplitHostPort(private(t).Addr())
	url := "redis://" + startSentinel(t, host, port, "requirepass "+canary) + "?master_set=" + masterName
	if err := load(t, open(t, url), "x").Err; !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "SentinelPassword") {
		t.Errorf("without: %v", err)
	}
	c, err := Open(Config{URL: url, SentinelPassword: canary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrMiss) {
		t.Errorf("with: %v", err)
	}
}

// The question whether it is the master stands beside a heartbeat on the same
// connection, and must not end the watch over that.
func TestAMasterThatFallsSilentAtItsFirstQuestionIsNoticed(t *testing.T) {
	master := scripted(t, func() answers {
		asked := false
		return func(command string) string {
			switch {
			case command == "ROLE":
				asked = true
				return ""
			case command == "PING" && asked: // the heartbeat; now the role is told, and nothing more
				return "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
			}
			return greets(func(string) string { return "" })(command)
		}
	})
	host, port, _ := net.SplitHostPort(master)
	c := open(t, "redis://"+startSentinel(t, host, port)+"?master_set="+masterName)
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	l.after(t, 0, "Lost", kind(tiers.Lost))
}

// Two that know the master by different addresses mean the same one. Which of
// them answers first is no switch.
func TestSentinelsThatNameTheMasterDifferentlyAreNoSwitch(t *testing.T) {
	host, port, _ := net.SplitHostPort(private(t, "bind=127.0.0.1 127.0.0.2").Addr())
	second := startSentinel(t, "127.0.0.2", port)
	c := open(t, "redis://"+startSentinel(t, host, port)+"?master_set="+masterName+"&addr="+second)
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	s, err := c.hub.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if addr, err := s.findMaster((*s.nodes.Load())[0].addr); err != nil || s.at(addr) == nil {
			t.Fatalf("another master is found: %v", err)
		}
	}
}
