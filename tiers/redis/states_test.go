package redis

// States of a server in which it answers, and refuses: all of them pass.

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// passes says that c is unavailable for now, and that no watch gives up for it.
func passes(t *testing.T, c *Cache, says string) {
	t.Helper()
	eventually(t, "the server to say "+says, func() bool {
		err := load(t, c, "x").Err
		if errors.Is(err, tiers.ErrMiss) {
			return false // not yet
		}
		if errors.Is(err, tiers.ErrSetup) || err != nil && !errors.Is(err, tiers.ErrUnavailable) {
			t.Fatalf("load: %v", err)
		}
		return err != nil && strings.Contains(err.Error(), says)
	})
}

// A script that does not end: silence first, then BUSY for all but a few commands.
func TestAServerThatIsBusyWithAScriptIsUnavailable(t *testing.T) {
	r := private(t, "busy-reply-threshold=50")
	c := ready(t, open(t, r.URL()))
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	op, killer := operate(t, r.Addr()), operate(t, r.Addr())
	ended := make(chan error, 1)
	go func() {
		ended <- op.client.Do(limit(t, patience), op.client.B().Eval().Script("while true do end").Numkeys(0).Build()).Error()
	}()
	passes(t, c, "BUSY")
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	late := open(t, r.URL()) // finds it in this state
	passes(t, late, "BUSY")
	killer.do("SCRIPT", "KILL")
	if err := <-ended; err == nil {
		t.Error("the script has ended by itself")
	}
	at = l.after(t, at, "Alive", kind(tiers.Alive)) // the same watch
	load(t, c, "x")
	put(t, c, value("x", 1, 1, `1`))
	l.after(t, at, "a push", changed("x"))
	ready(t, late)
}

func TestAServerThatLoadsIsUnavailable(t *testing.T) {
	r := private(t, "enable-debug-command=yes", "key-load-delay=3000", "loading-process-events-interval-bytes=1024")
	c := ready(t, open(t, r.URL()))
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	var fills []tiers.Fill
	for _, name := range names(1000) {
		fills = append(fills, tiers.Fill{Record: value(name, 1, 1, `"`+strings.Repeat("x", 100)+`"`)})
	}
	c.Fill(limit(t, patience), ns, fills)
	at := len(l.heard())
	op := operate(t, r.Addr())
	reloaded := make(chan error, 1)
	go func() {
		reloaded <- op.client.Do(limit(t, patience), op.client.B().Arbitrary("DEBUG", "RELOAD").Build()).Error()
	}()
	passes(t, c, "LOADING")
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	l.after(t, at, "Alive", kind(tiers.Alive))
	if res := load(t, c, names(1)[0]); res.Err != nil {
		t.Error(res.Err)
	}
}

// A password that is asked for from now on is asked of new connections: those
// that stand go on, and the next one says what to do.
func TestAPasswordThatIsSetLaterIsNamedAtTheNextConnection(t *testing.T) {
	r := private(t)
	c := ready(t, open(t, r.URL()))
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	op := operate(t, r.Addr())
	op.do("CONFIG", "SET", "requirepass", canary)
	l.after(t, at, "Alive", since(time.Now()))
	if slices.ContainsFunc(l.heard(), kind(tiers.Lost)) {
		t.Error("a connection that stood was lost")
	}
	op.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	eventually(t, "the refusal", func() bool {
		err := load(t, c, "x").Err
		return errors.Is(err, tiers.ErrSetup) && strings.Contains(err.Error(), "NOAUTH")
	})
	op.do("CONFIG", "SET", "requirepass", "")
	ready(t, c)
}
