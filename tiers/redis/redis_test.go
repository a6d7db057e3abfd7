package redis

// What the tests share: a cache on a real server, a second client that plays
// the operator or another process, and a listener that keeps all events.

import (
	"context"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
)

const (
	ns = "checkout"

	// patience is how long a test waits for what must happen; far longer than
	// it takes, since the machine may be busy.
	patience = 15 * time.Second
)

func open(t testing.TB, url string) *Cache {
	t.Helper()
	c, err := Open(Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// openQuick is for tests that wait for many heartbeats.
func openQuick(t testing.TB, url string) *Cache {
	t.Helper()
	c, err := Open(Config{URL: url, Heartbeat: 25 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ready waits until the cache has a connection.
func ready(t testing.TB, c *Cache) *Cache {
	t.Helper()
	eventually(t, "a connection", func() bool {
		_, err := c.hub.session(t.Context())
		return err == nil
	})
	return c
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for poll := time.NewTicker(time.Millisecond); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

func limit(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// An operator works on the server beside the cache.
type operator struct {
	t      testing.TB
	client rueidis.Client
}

func operate(t testing.TB, addr string) *operator {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true,
		Dialer: net.Dialer{KeepAlive: -1}}) // no commands of its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &operator{t, client}
}

func (o *operator) do(args ...string) rueidis.RedisResult {
	o.t.Helper()
	r := o.client.Do(limit(o.t, patience), o.client.B().Arbitrary(args...).Build())
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		o.t.Fatalf("%s: %v", args[0], err)
	}
	return r
}

func (o *operator) get(name string) string {
	o.t.Helper()
	s, _ := o.do("GET", keyOf(name)).ToString()
	return s
}

func keyOf(name string) string { return entryKey(defaultPrefix, spaceOf(ns), name) }

func value(name string, epoch uint32, revision uint64, data string) tiers.Record {
	return tiers.Record{Name: name, Kind: tiers.Value, Stamp: tiers.Stamp{Epoch: epoch, Revision: revision}, Data: []byte(data)}
}

func absent(name string, epoch uint32, revision uint64, noRow bool) tiers.Record {
	return tiers.Record{Name: name, Kind: tiers.Absent, Stamp: tiers.Stamp{Epoch: epoch, Revision: revision}, NoRow: noRow}
}

// fill fills one record and reports whether it was stored.
func fill(t testing.TB, c *Cache, f tiers.Fill) bool {
	t.Helper()
	r := c.Fill(limit(t, patience), ns, []tiers.Fill{f})[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.Stored
}

func put(t testing.TB, c *Cache, rec tiers.Record) {
	t.Helper()
	if !fill(t, c, tiers.Fill{Record: rec}) {
		t.Fatalf("%q at %v was not stored", rec.Name, rec.Stamp)
	}
}

func load(t testing.TB, c *Cache, name string) tiers.Result {
	t.Helper()
	return c.Load(limit(t, patience), ns, []string{name})[0]
}

// A listener keeps what one Watch says.
type listener struct {
	mu     sync.Mutex
	events []tiers.Event
}

func listen(t testing.TB, c *Cache) *listener {
	t.Helper()
	return listenWith(t, c, func(tiers.Event) {})
}

// listenWith calls sink with each event, too.
func listenWith(t testing.TB, c *Cache, sink func(tiers.Event)) *listener {
	t.Helper()
	l := &listener{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Watch(ctx, ns, func(e tiers.Event) {
			l.mu.Lock()
			l.events = append(l.events, e)
			l.mu.Unlock()
			sink(e)
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l
}

func (l *listener) heard() []tiers.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// after waits for an event from place on that matches and returns the place behind it.
func (l *listener) after(t testing.TB, place int, what string, match func(tiers.Event) bool) int {
	t.Helper()
	var at int
	eventually(t, what, func() bool {
		events := l.heard()
		i := slices.IndexFunc(events[place:], match)
		at = place + i + 1
		return i >= 0
	})
	return at
}

func kind(k tiers.EventKind) func(tiers.Event) bool {
	return func(e tiers.Event) bool { return e.Kind == k }
}

func changed(name string) func(tiers.Event) bool {
	return func(e tiers.Event) bool { return e.Kind == tiers.Changed && e.Name == name }
}

// since matches an Alive whose heartbeat was sent after at: all that happened
// before at has been announced.
func since(at time.Time) func(tiers.Event) bool {
	return func(e tiers.Event) bool { return e.Kind == tiers.Alive && e.Since.After(at) }
}

// ours returns the stacks of goroutines that run code of this package or of its client.
func ours() (stacks []string) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for i, s := range strings.Split(string(buf), "\n\n") {
		if i > 0 && (strings.Contains(s, "fastopt-go/tiers/redis.(*") || strings.Contains(s, "redis/rueidis.")) {
			stacks = append(stacks, s)
		}
	}
	return stacks
}

func private(t testing.TB, settings ...string) *servers.RedisServer {
	t.Helper()
	return servers.PrivateRedis(t, servers.Options{Settings: settings})
}

// noticed judges the time since a server fell silent: a second is promised, and
// a busy machine may be late.
func noticed(t testing.TB, began time.Time) {
	t.Helper()
	if d := time.Since(began); d > time.Second+300*time.Millisecond {
		t.Errorf("noticed after %v", d)
	} else {
		t.Logf("noticed after %v", d)
	}
}
