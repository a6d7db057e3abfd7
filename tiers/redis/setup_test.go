package redis

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// rights reads the first ACL line of the package documentation, for the password
// canary; more reads the later ones: of a cluster, and behind Sentinels.
func rights(t *testing.T) []string { return more(t, 0) }

func more(t *testing.T, n int) []string {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		_, line, ok := strings.Cut(line, "//\tACL SETUSER")
		if ok && n == 0 {
			return strings.Fields("ACL SETUSER " + strings.Replace(line, ">PASSWORD", ">"+canary, 1))
		}
		if ok {
			n--
		}
	}
	t.Fatal("the documentation lists no rights")
	return nil
}

func TestWrongPasswordAndMissingRightsSayWhatToDo(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	op.do(rights(t)...)
	op.do("ACL", "SETUSER", "untracked", "on", ">"+canary, "~*", "+@all", "-client")
	op.do("ACL", "SETUSER", "elsewhere", "on", ">"+canary, "~other:*", "+@all")
	op.do("ACL", "SETUSER", "default", "off")
	cases := []struct{ what, user, says string }{
		{"no password", "", "NOAUTH"},
		{"wrong password", "fastopt:wrong-" + canary + "@", "WRONGPASS"},
		{"unknown user", "nobody:" + canary + "@", "WRONGPASS"},
		{"no right to track", "untracked:" + canary + "@", "client tracking"},
		{"no right on the keys", "elsewhere:" + canary + "@", "NOPERM"},
	}
	for _, k := range cases {
		t.Run(k.what, func(t *testing.T) {
			c := open(t, "redis://"+k.user+r.Addr())
			err := load(t, c, "x").Err
			if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), k.says) || !strings.Contains(err.Error(), "(") {
				t.Errorf("load: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Error("the error tells the password")
			}
			if k.user == "elsewhere:"+canary+"@" {
				return // connected
			}
			if err := c.Watch(limit(t, patience), ns, func(tiers.Event) {}); !errors.Is(err, tiers.ErrSetup) {
				t.Errorf("watch: %v", err)
			}
		})
	}
}

func TestAMissingDatabaseIsNamed(t *testing.T) {
	r := private(t)
	err := load(t, open(t, r.URL()+"/9999"), "x").Err
	if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "number of the database") {
		t.Errorf("got %v", err)
	}
}

func TestAWatchEndsWhenTheServerBeginsToRefuse(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	op.do(rights(t)...)
	c := ready(t, open(t, "redis://fastopt:"+canary+"@"+r.Addr()))
	watched := make(chan error, 1)
	go func() { watched <- c.Watch(limit(t, patience), ns, func(tiers.Event) {}) }()
	op.do("ACL", "SETUSER", "fastopt", "off")
	op.do("CLIENT", "KILL", "USER", "fastopt")
	if err := <-watched; !errors.Is(err, tiers.ErrSetup) {
		t.Errorf("watch: %v", err)
	}
	op.do("ACL", "SETUSER", "fastopt", "on")
	ready(t, c) // nobody had to open it again
}

func TestTheDocumentedRightsSuffice(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	op.do(rights(t)...)
	c := open(t, "redis://fastopt:"+canary+"@"+r.Addr()+"/1")
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrMiss) {
		t.Fatal(err)
	}
	if held, err := c.Lease(limit(t, patience), ns, []string{"x"}, patience); err != nil || !held[0] {
		t.Errorf("lease: %v, %v", held, err)
	}
	put(t, c, value("x", 1, 1, `1`))
	at = l.after(t, at, "a push", changed("x"))
	if err := load(t, c, "x").Err; err != nil {
		t.Error(err)
	}
	old, _ := op.do("GET", keyOf("x")).ToString()
	if old != "" {
		t.Error("stands in another database than the one named")
	}
	raw := load(t, c, "x")
	if !fill(t, c, tiers.Fill{Record: value("x", 2, 1, `2`), Replace: raw.Data}) {
		t.Error("not stored")
	}
	l.after(t, at, "a push", changed("x"))
}

// What a script may not read must not count as empty, or the newer record is lost.
func TestAScriptThatMayNotReadDoesNotWrite(t *testing.T) {
	r := private(t)
	op := operate(t, r.Addr())
	op.do(rights(t)...)
	c := ready(t, open(t, "redis://fastopt:"+canary+"@"+r.Addr()))
	put(t, c, value("x", 1, 2, `"newer"`))
	held := op.get("x")
	for _, right := range []string{"getrange", "set"} {
		op.do("ACL", "SETUSER", "fastopt", "-"+right)
		res := c.Fill(limit(t, patience), ns, []tiers.Fill{{Record: value("x", 1, 1, `1`)}, {Record: value("y", 1, 1, `1`)}})
		if err := res[1].Err; !errors.Is(err, tiers.ErrSetup) {
			t.Errorf("without %s: %v", right, err)
		}
		if op.get("x") != held || op.get("y") != "" {
			t.Errorf("without %s: written", right)
		}
		op.do("ACL", "SETUSER", "fastopt", "+"+right)
	}
}

func TestTheDocumentedRightsSufficeInACluster(t *testing.T) {
	r := startCluster(t, 3, false)
	for _, op := range r.ops {
		op.do(rights(t)...)
		op.do(more(t, 1)...)
	}
	c := open(t, "redis://fastopt:"+canary+"@"+r.nodes[0].Addr()+"?cluster=true")
	suffices(t, c)
	put(t, c, value("{m}", 1, 1, `1`))
	r.moveSlot(keyOf("{m}"), (r.owner(keyOf("{m}"))+1)%3, func() {
		if err := load(t, c, "{m}asked").Err; !errors.Is(err, tiers.ErrMiss) {
			t.Error(err)
		}
	})
	if err := load(t, c, "{m}").Err; err != nil {
		t.Error(err)
	}
	to := (r.owner(markKey(defaultPrefix, spaceOf(ns))) + 1) % 3
	r.moveSlot(markKey(defaultPrefix, spaceOf(ns)), to, func() {
		host, port, _ := net.SplitHostPort(r.nodes[to].Addr())
		from := r.ops[r.owner(markKey(defaultPrefix, spaceOf(ns)))]
		from.do("MIGRATE", host, port, markKey(defaultPrefix, spaceOf(ns)), "0", "5000")
		if _, err := c.Mark(limit(t, patience), ns); err != nil {
			t.Errorf("a mark on its way: %v", err)
		}
	})
}

func TestTheDocumentedRightsSufficeBehindSentinels(t *testing.T) {
	g := startGuarded(t)
	for _, op := range g.ops {
		op.do(rights(t)...)
		op.do(more(t, 2)...)
	}
	for _, addr := range g.sentinels {
		op := operate(t, addr)
		op.do(more(t, 3)...)
		op.do("ACL", "SETUSER", "default", "off")
	}
	c, err := Open(Config{URL: strings.Replace(g.url(), "//", "//fastopt:"+canary+"@", 1), SentinelUser: "fastopt", SentinelPassword: canary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	suffices(t, c)
}

// suffices uses all there is to use.
func suffices(t *testing.T, c *Cache) {
	t.Helper()
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrMiss) {
		t.Fatal(err)
	}
	if held, err := c.Lease(limit(t, patience), ns, []string{"x"}, patience); err != nil || !held[0] {
		t.Errorf("lease: %v, %v", held, err)
	}
	put(t, c, value("x", 1, 1, `1`))
	l.after(t, at, "a push", changed("x"))
	mark := tiers.Mark{Identity: tiers.Identity{Lineage: "a"}, Fed: 1}
	if stored, err := c.PutMark(limit(t, patience), ns, tiers.Mark{}, mark); err != nil || !stored {
		t.Errorf("put mark: %v, %v", stored, err)
	}
	if got, err := c.Mark(limit(t, patience), ns); err != nil || got != mark {
		t.Errorf("mark: %v, %v", got, err)
	}
	l.after(t, at, "Alive", since(time.Now().Add(time.Second))) // the lookout goes round
}

// Of several addresses one may be dead and another refuse: the refusal is what
// somebody has to act on, whichever comes last.
func TestARefusalCountsMoreThanSilence(t *testing.T) {
	r := startCluster(t, 1, false)
	r.ops[0].do(rights(t)...)
	r.ops[0].do("ACL", "SETUSER", "default", "off")
	host, port, _ := net.SplitHostPort(private(t).Addr())
	guard := startSentinel(t, host, port, "requirepass "+canary)
	for what, url := range map[string]string{
		"cluster":  "redis://" + r.nodes[0].Addr() + "?cluster=true&addr=127.0.0.1:1",
		"Sentinel": "redis://" + guard + "?master_set=" + masterName + "&addr=127.0.0.1:1",
	} {
		for range 8 {
			if err := load(t, open(t, url), "x").Err; !errors.Is(err, tiers.ErrSetup) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
}
