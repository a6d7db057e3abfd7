package main

import (
	"context"
	"sync"
	"time"
)

// On a busy machine timers are late, those of the library as those here. A
// canary sleeps 10 ms again and again, and how much too long it slept is what
// the bounds of this process allow for: not what they are, but what the machine
// adds to them. It sleeps as the library waits, until a context ends: a timer
// starts a goroutine, which wakes another.
type lagMeter struct {
	mu      sync.Mutex
	seconds [window]int64 // guarded by mu: worst overshoot of each, in a ring
	at      int           // guarded by mu
	all     int64         // guarded by mu: worst of the run
	asleep  time.Time     // guarded by mu: since when
}

// starved reports whether timers are so late that the library's own timeouts say
// nothing of the tiers: then a machine that is too slow is a fault by itself, of
// both tiers, for as long as the meter remembers it.
func (r *run) starved(lag int64) bool { return lag > r.weather.tooLate }

// The bounds span a few seconds, and so does the memory of the meter.
const window = 6

const canarySleep = 10 * time.Millisecond

func (l *lagMeter) run(ctx context.Context) {
	turn := time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		l.mu.Lock()
		l.asleep = began
		l.mu.Unlock()
		sleep, cancel := context.WithTimeout(ctx, canarySleep)
		<-sleep.Done()
		cancel()
		l.note(int64(time.Since(began)-canarySleep), time.Since(turn) > time.Second)
		if time.Since(turn) > time.Second {
			turn = time.Now()
		}
	}
}

// note records one overshoot, in the next second if turn.
func (l *lagMeter) note(over int64, turn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if turn {
		l.at = (l.at + 1) % window
		l.seconds[l.at] = 0
	}
	l.seconds[l.at] = max(l.seconds[l.at], over)
	l.all = max(l.all, over)
}

// recent is the worst of the last few seconds, the running sleep included, in ns.
func (l *lagMeter) recent() (worst int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.asleep.IsZero() {
		worst = max(0, int64(time.Since(l.asleep)-canarySleep))
	}
	for _, s := range l.seconds {
		worst = max(worst, s)
	}
	return worst
}

func (l *lagMeter) worst() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.all)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
