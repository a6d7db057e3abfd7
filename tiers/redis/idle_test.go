package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A process that does nothing costs four commands a second, whatever it has
// loaded, and a handful of allocations.
func TestAnIdleCacheCostsAFewHeartbeats(t *testing.T) {
	r := private(t)
	c, op := ready(t, open(t, r.URL())), operate(t, r.Addr())
	s, _ := c.hub.session(t.Context())
	n := (*s.nodes.Load())[0]
	w := &watcher{wake: make(chan struct{}, 1), since: time.Now()}
	if allocs := testing.AllocsPerRun(200, func() {
		if err := n.ping(s.set.track); err != nil {
			t.Error(err)
		}
		s.heard()
		w.alive(time.Now())
		w.take()
	}); allocs > 2 {
		t.Errorf("a heartbeat takes %v allocations", allocs)
	}

	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	c.Load(limit(t, patience), ns, names(1000))
	op.do("CONFIG", "RESETSTAT")
	began := time.Now()
	l.after(t, 0, "Alive", since(began.Add(2*time.Second)))
	stats, _ := op.do("INFO", "commandstats").ToString()
	lasted := time.Since(began)
	for line := range strings.Lines(stats) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok || strings.HasPrefix(name, "config") || name == "info" {
			continue
		}
		var calls int
		fmt.Sscanf(rest, "%d,", &calls)
		if most := int(lasted/defaultHeartbeat) + 1; name != "ping" || calls > most {
			t.Errorf("%d commands %q in %v", calls, name, lasted)
		}
	}
}
