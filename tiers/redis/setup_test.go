package redis

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// rights reads the ACL line of the package documentation, for the password canary.
func rights(t *testing.T) []string {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		if _, line, ok := strings.Cut(line, "//\tACL SETUSER"); ok {
			return strings.Fields("ACL SETUSER " + strings.Replace(line, ">PASSWORD", ">"+canary, 1))
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
