package faults_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
)

// Jitter spreads what the network takes, and never changes the order of a stream.
func TestJitterSpreadsDelaysAndKeepsOrder(t *testing.T) {
	e := newEcho(t, "e")
	p := newProxy(t, e.addr)
	c := dial(t, p)
	const d, rounds = 40 * time.Millisecond, 20
	trips := func() (shortest, longest time.Duration) {
		shortest = time.Hour
		for i := range rounds {
			begin := time.Now()
			c.say(fmt.Sprint(i))
			c.wantLine(fmt.Sprint("e: ", i))
			took := time.Since(begin)
			shortest, longest = min(shortest, took), max(longest, took)
		}
		return shortest, longest
	}
	p.Jitter(faults.ToClient, d)
	if shortest, longest := trips(); longest-shortest < d/4 || shortest >= d {
		t.Errorf("round trips took %v to %v", shortest, longest)
	}
	if n := p.Traffic(faults.ToClient).Delayed; n != rounds {
		t.Errorf("%d pieces count as delayed, want %d", n, rounds)
	}
	p.Delay(faults.ToClient, d)
	if shortest, _ := trips(); shortest < d {
		t.Errorf("with a delay, too, a round trip took %v", shortest)
	}

	for i := range rounds { // pieces of their own, each under way before the next
		line := fmt.Sprint("piece ", i)
		c.say(line)
		eventually(t, "the line has arrived", func() bool { return e.heard(line) })
	}
	for i := range rounds {
		c.wantLine(fmt.Sprint("e: piece ", i))
	}
	heal(t, p)
	if shortest, _ := trips(); shortest >= d {
		t.Errorf("healed: a round trip takes %v at least", shortest)
	}
}
