package redis

// What tests do with a real cluster and real Sentinels: slots that move, replicas
// that fall behind, and Sentinels that were told something else.

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
	each := 0
	if replicas {
		each = 1
	}
	c, err := servers.StartCluster(t.Context(), masters, each, servers.Options{Settings: []string{"cluster-allow-replica-migration=no"}})
	if err != nil {
		t.Fatal(err)
	}
	servers.StopLater(t, c)
	r := &rig{t: t, nodes: c.Nodes()}
	for _, n := range r.nodes {
		r.ops = append(r.ops, operate(t, n.Addr()))
	}
	return r
}

func (r *rig) meet(i int, bus string) {
	host, port, _ := net.SplitHostPort(r.nodes[i].Addr())
	r.ops[0].do("CLUSTER", "MEET", host, port, bus)
}

func (r *rig) id(i int) string {
	id, _ := r.ops[i].do("CLUSTER", "MYID").ToString()
	return id
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

const masterName = "fastopt" // as package servers names it

func (g *guarded) url() string {
	return "redis://" + g.sentinels[0] + "?master_set=" + masterName + "&addr=" + g.sentinels[1] + "&addr=" + g.sentinels[2]
}

func startGuarded(t testing.TB) *guarded {
	t.Helper()
	s := servers.PrivateSentinel(t, 1)
	g := &guarded{servers: s.Nodes(), sentinels: s.Addrs()}
	for _, n := range g.servers {
		g.ops = append(g.ops, operate(t, n.Addr()))
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
