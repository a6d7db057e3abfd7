package redis

// A real cluster and real Sentinels, each process on a free port of its own.

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/servers"
)

// A rig is a cluster. Masters come first, then one replica for each if wanted.
type rig struct {
	t     testing.TB
	nodes []*servers.RedisServer
	ops   []*operator
}

// url names one node.
func (r *rig) url() string { return r.nodes[0].URL() + "?cluster=true" }

func startCluster(t testing.TB, masters int, replicas bool) *rig {
	t.Helper()
	r := &rig{t: t}
	n := masters
	if replicas {
		n *= 2
	}
	buses := make([]string, n)
	for i := range n {
		buses[i] = strconv.Itoa(freePort(t))
		r.nodes = append(r.nodes, servers.PrivateRedis(t, servers.Options{Settings: []string{
			"cluster-enabled=yes", "cluster-node-timeout=1000", "cluster-allow-replica-migration=no", "cluster-port=" + buses[i]}}))
		r.ops = append(r.ops, operate(t, r.nodes[i].Addr()))
		r.ops[i].do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for i := range masters {
		r.ops[i].do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slotCount/masters), strconv.Itoa((i+1)*slotCount/masters-1))
	}
	for i := 1; i < n; i++ {
		r.meet(i, buses[i])
	}
	for i := masters; i < n; i++ {
		r.replicate(i, i-masters)
	}
	r.settle(masters)
	return r
}

func (r *rig) meet(i int, bus string) {
	host, port, _ := net.SplitHostPort(r.nodes[i].Addr())
	r.ops[0].do("CLUSTER", "MEET", host, port, bus)
}

func (r *rig) replicate(i, master int) {
	id := r.id(master)
	eventually(r.t, "a node to be known", func() bool {
		nodes, _ := r.ops[i].do("CLUSTER", "NODES").ToString()
		return strings.Contains(nodes, id)
	})
	r.ops[i].do("CLUSTER", "REPLICATE", id)
}

func (r *rig) id(i int) string {
	id, _ := r.ops[i].do("CLUSTER", "MYID").ToString()
	return id
}

// settle waits until all nodes agree on the masters, and replicas are in step.
func (r *rig) settle(masters int) {
	eventually(r.t, "the cluster", func() bool {
		for i, op := range r.ops {
			if r.nodes[i].PID() == 0 {
				continue
			}
			info, _ := op.do("CLUSTER", "INFO").ToString()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", masters)) {
				return false
			}
			if repl, _ := op.do("INFO", "replication").ToString(); strings.Contains(repl, "master_link_status:down") {
				return false
			}
		}
		return true
	})
}

// owner returns which node owns a key, as that node sees it.
func (r *rig) owner(key string) int {
	for i, op := range r.ops {
		if r.nodes[i].PID() == 0 {
			continue
		}
		m, err := readSlots(op.client, r.nodes[i].Addr())
		if err == nil && m.owner[slotOf(key)] == r.nodes[i].Addr() {
			return i
		}
	}
	r.t.Fatalf("nobody owns slot %d", slotOf(key))
	return -1
}

// moveSlot moves the slot of a key with all that is in it; between is called while it is on its way.
func (r *rig) moveSlot(key string, to int, between func()) {
	from := r.owner(key)
	slot := strconv.Itoa(int(slotOf(key)))
	r.ops[to].do("CLUSTER", "SETSLOT", slot, "IMPORTING", r.id(from))
	r.ops[from].do("CLUSTER", "SETSLOT", slot, "MIGRATING", r.id(to))
	if between != nil {
		between()
	}
	keys, _ := r.ops[from].do("CLUSTER", "GETKEYSINSLOT", slot, "100").AsStrSlice()
	if len(keys) > 0 {
		host, port, _ := net.SplitHostPort(r.nodes[to].Addr())
		r.ops[from].do(append([]string{"MIGRATE", host, port, "", "0", "5000", "KEYS"}, keys...)...)
	}
	id := r.id(to)
	r.ops[to].do("CLUSTER", "SETSLOT", slot, "NODE", id)
	r.ops[from].do("CLUSTER", "SETSLOT", slot, "NODE", id)
}

// names returns n names of which each node owns some.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("name-%d", i)
	}
	return all
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A guarded is a master and a replica under three Sentinels.
type guarded struct {
	servers   []*servers.RedisServer
	ops       []*operator
	sentinels []string
}

const masterName = "options"

func (g *guarded) url() string {
	return "redis://" + g.sentinels[0] + "?master_set=" + masterName + "&addr=" + g.sentinels[1] + "&addr=" + g.sentinels[2]
}

func startGuarded(t testing.TB) *guarded {
	t.Helper()
	g := &guarded{}
	for range 2 {
		s := servers.PrivateRedis(t, servers.Options{Settings: []string{"repl-diskless-sync-delay=0"}})
		g.servers, g.ops = append(g.servers, s), append(g.ops, operate(t, s.Addr()))
	}
	host, port, _ := net.SplitHostPort(g.servers[0].Addr())
	g.ops[1].do("REPLICAOF", host, port)
	eventually(t, "the replica", func() bool {
		info, _ := g.ops[1].do("INFO", "replication").ToString()
		return strings.Contains(info, "master_link_status:up")
	})
	for range 3 {
		g.sentinels = append(g.sentinels, startSentinel(t, host, port))
	}
	for _, addr := range g.sentinels {
		op := operate(t, addr)
		eventually(t, "the Sentinels to know each other and the replica", func() bool {
			m, err := op.client.Do(limit(t, patience), op.client.B().Arbitrary("SENTINEL", "MASTER", masterName).Build()).AsStrMap()
			return err == nil && m["num-other-sentinels"] == "2" && m["num-slaves"] == "1"
		})
	}
	return g
}

// startSentinel starts one Sentinel, which ends with the test.
func startSentinel(t testing.TB, host, port string, more ...string) (addr string) {
	t.Helper()
	own := strconv.Itoa(freePort(t))
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor %s %s %s 2\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 2000\n",
		own, masterName, host, port, masterName, masterName)
	text += strings.Join(more, "\n") + "\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", conf, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr = "127.0.0.1:" + own
	eventually(t, "a Sentinel", func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return addr
}

// replicated waits until every replica has what its master has.
func (r *rig) replicated() {
	r.t.Helper()
	for i := len(r.nodes) / 2; i < len(r.nodes); i++ {
		eventually(r.t, "a replica in step", func() bool { return r.offset(i) == r.offset(i-len(r.nodes)/2) })
	}
}

func (r *rig) offset(i int) string {
	info, _ := r.ops[i].do("INFO", "replication").ToString()
	_, offset, _ := strings.Cut(info, "master_repl_offset:")
	offset, _, _ = strings.Cut(offset, "\r")
	return offset
}
