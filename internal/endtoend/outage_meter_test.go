package endtoend

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// What outages are measured with: readers that never stop, a timer that tells
// how late timers are, counts of what is asked of each tier, and a log.

// A reader reads all the time, a thousand times in a row.
type reader struct {
	count atomic.Int64
	pause atomic.Int64 // ns that a thousand reads took at most

	mu   sync.Mutex
	seen []sighting // guarded by mu
}

// A sighting is a value that a reader read after another one.
type sighting struct {
	value int
	at    time.Time // when the read had returned
}

func startReader(t *testing.T, get func() int) *reader {
	r := &reader{}
	loop(t, time.Millisecond, func() {
		begin := time.Now()
		for range 1000 {
			if v := get(); len(r.seen) == 0 || v != r.seen[len(r.seen)-1].value {
				r.mu.Lock()
				r.seen = append(r.seen, sighting{v, time.Now()})
				r.mu.Unlock()
			}
		}
		r.pause.Store(max(r.pause.Load(), int64(time.Since(begin))))
		r.count.Add(1000)
	})
	within(t, time.Second, "the reader reads", func() bool { return r.count.Load() > 0 })
	return r
}

func (r *reader) sightings() []sighting {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[:len(r.seen):len(r.seen)]
}

func (r *reader) values() (all []int) {
	for _, s := range r.sightings() {
		all = append(all, s.value)
	}
	return all
}

func (r *reader) last() int { all := r.values(); return all[len(all)-1] }

// loop runs f again and again until the test ends.
func loop(t *testing.T, every time.Duration, f func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for tick := time.NewTicker(every); ; {
			select {
			case <-tick.C:
				f()
			case <-done:
				tick.Stop()
				return
			}
		}
	})
	t.Cleanup(func() { close(done); running.Wait() })
}

// A canary is a timer that says how late timers are here.
type canary struct {
	due, late, ever atomic.Int64 // ns
	start           time.Time
}

func startCanary(t *testing.T) *canary {
	c := &canary{start: time.Now()}
	const beat = time.Millisecond
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c.due.Store(int64(time.Since(c.start) + beat))
			select {
			case <-time.After(beat):
				c.note()
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() { close(done); running.Wait() })
	return c
}

// note counts how late the timer is by now, as long as it has not fired.
func (c *canary) note() {
	now := int64(time.Since(c.start))
	late := now - c.due.Load()
	c.ever.Store(max(c.ever.Load(), late)) // two at once: nearly the greater one
	for {
		if was := c.late.Load(); late <= was || c.late.CompareAndSwap(was, late) {
			return
		}
	}
}

// worst returns how late the timer was at most since the last call.
func (c *canary) worst() time.Duration {
	c.note()
	return time.Duration(c.late.Swap(0))
}

// stoodStill reports whether the timer was ever so late.
func (c *canary) stoodStill(d time.Duration) bool { return time.Duration(c.ever.Load()) > d }

// requests are the loads that one process asked of one tier.
type requests struct {
	under, most atomic.Int64 // under way

	mu  sync.Mutex
	all []request // guarded by mu
}

type request struct {
	at     time.Time
	names  int
	family bool
}

func (r *requests) during(names []string, load func() []tiers.Result) []tiers.Result {
	r.mu.Lock()
	r.all = append(r.all, request{time.Now(), len(names), strings.Contains(names[0], "/")})
	r.mu.Unlock()
	for n := r.under.Add(1); ; {
		if was := r.most.Load(); n <= was || r.most.CompareAndSwap(was, n) {
			break
		}
	}
	defer r.under.Add(-1)
	return load()
}

func (r *requests) since(t time.Time, family bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.all {
		if a.family == family && a.at.After(t) {
			n++
		}
	}
	return n
}

// names returns how many names were asked for since t, in how many requests.
func (r *requests) names(t time.Time) (names, requests int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.all {
		if a.at.After(t) {
			names, requests = names+a.names, requests+1
		}
	}
	return names, requests
}

// The tapped tiers are the real ones, with whatever else those can.
type tappedSource struct {
	*postgres.Source
	asked *requests
}

func (s tappedSource) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	if len(names) == 1 && names[0] == namespace { // whether it is there
		return s.Source.Load(ctx, namespace, names)
	}
	return s.asked.during(names, func() []tiers.Result { return s.Source.Load(ctx, namespace, names) })
}

type tappedCache struct {
	*redis.Cache
	asked *requests
}

func (c tappedCache) Load(ctx context.Context, namespace string, names []string) []tiers.Result {
	return c.asked.during(names, func() []tiers.Result { return c.Cache.Load(ctx, namespace, names) })
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) count() int { return strings.Count(l.String(), "\n") }
