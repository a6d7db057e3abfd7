package redis

// What Alive promises, judged from outside: a name that was loaded, and of which
// nothing was announced, has not changed before Since.

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A believer believes what it loads until it is told of a change.
type believer struct {
	t     *testing.T
	names []string

	mu       sync.Mutex
	told     map[string]int       // guarded by mu; how often something was announced, by name
	believed map[string]uint64    // guarded by mu; the revision, by name
	written  map[string]time.Time // guarded by mu; when the newest revision stood there
	newest   map[string]uint64    // guarded by mu; by name
	judged   int                  // guarded by mu; how often a belief was judged
}

func (b *believer) hear(e tiers.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Kind {
	case tiers.Changed:
		b.told[e.Name]++
		delete(b.believed, e.Name)
	case tiers.Lost:
		for _, name := range b.names {
			b.told[name]++
		}
		clear(b.believed)
	case tiers.Alive:
		for name, revision := range b.believed {
			b.judged++
			if b.newest[name] > revision && b.written[name].Before(e.Since) {
				b.t.Errorf("%s was changed %v before Since, and nothing said", name, e.Since.Sub(b.written[name]))
				delete(b.believed, name)
			}
		}
	}
}

// load loads some names of which nothing is believed, with little patience.
func (b *believer) load(ctx context.Context, c *Cache) {
	b.mu.Lock()
	var wanted []string
	told := map[string]int{}
	for _, name := range b.names {
		if _, ok := b.believed[name]; !ok && rand.N(2) == 0 {
			wanted = append(wanted, name)
			told[name] = b.told[name]
		}
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond+rand.N(50*time.Millisecond))
	defer cancel()
	results := c.Load(ctx, ns, wanted)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, res := range results {
		if res.Err == nil && b.told[res.Name] == told[res.Name] {
			b.believed[res.Name] = res.Stamp.Revision
		}
	}
}

func (b *believer) write(ctx context.Context, c *Cache, revision uint64) {
	name := b.names[rand.N(len(b.names))]
	if !c.Fill(ctx, ns, []tiers.Fill{{Record: value(name, 1, revision, `1`)}})[0].Stored {
		return
	}
	b.mu.Lock()
	b.newest[name], b.written[name] = revision, time.Now()
	b.mu.Unlock()
}

// judge has c read and other write for d, while trouble is made now and then.
func judge(t *testing.T, c, other *Cache, d time.Duration, trouble func()) {
	t.Helper()
	b := &believer{t: t, names: names(40), told: map[string]int{}, believed: map[string]uint64{},
		written: map[string]time.Time{}, newest: map[string]uint64{}}
	listenWith(t, c, b.hear)
	ctx := limit(t, d)
	var others sync.WaitGroup
	for range 3 {
		others.Go(func() {
			for ctx.Err() == nil {
				b.load(ctx, c)
				pause(ctx, time.Millisecond)
			}
		})
	}
	others.Go(func() {
		for revision := uint64(1); ctx.Err() == nil; revision++ {
			b.write(ctx, other, revision)
			pause(ctx, rand.N(2*time.Millisecond))
		}
	})
	for ctx.Err() == nil {
		pause(ctx, rand.N(300*time.Millisecond))
		trouble()
	}
	others.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.Logf("%d beliefs judged", b.judged); b.judged < 100 {
		t.Error("too few")
	}
}

func TestAliveVouchesForAllThatWasLoaded(t *testing.T) {
	for what, conf := range map[string]Config{"pushes": {Heartbeat: 20 * time.Millisecond}, "polls": {Heartbeat: 20 * time.Millisecond, Poll: 100 * time.Millisecond}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := private(t)
			op := operate(t, r.Addr())
			judge(t, opened(t, conf, r.URL()), open(t, r.URL()), 4*time.Second, func() {
				switch rand.N(3) {
				case 0:
					op.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				case 1:
					op.do("FLUSHALL")
				}
			})
		})
		t.Run(what+" in a cluster", func(t *testing.T) {
			t.Parallel()
			r := startCluster(t, 3, false)
			judge(t, opened(t, conf, r.url()), open(t, r.url()), 6*time.Second, func() {
				switch rand.N(6) {
				case 0:
					r.ops[rand.N(3)].do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
				case 1:
					r.ops[rand.N(3)].do("FLUSHALL")
				default:
					key := keyOf(names(40)[rand.N(40)])
					r.moveSlot(key, (r.owner(key)+1+rand.N(2))%3, func() { pause(t.Context(), rand.N(100*time.Millisecond)) })
				}
			})
		})
	}
}

func opened(t *testing.T, conf Config, url string) *Cache {
	t.Helper()
	conf.URL = url
	c, err := Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
