package postgres

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A hearer collects what a watch says.
type hearer struct {
	mu     sync.Mutex
	events []tiers.Event
	times  []time.Time
}

func (h *hearer) hear(e tiers.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events, h.times = append(h.events, e), append(h.times, time.Now())
}

// count returns how many events of a kind came at from or later.
func (h *hearer) count(kind tiers.EventKind, name string, from int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, e := range h.events[from:] {
		if e.Kind == kind && e.Name == name {
			n++
		}
	}
	return n
}

func (h *hearer) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.events)
}

// hears waits until an event of kind for name has come at from or later.
func (h *hearer) hears(t *testing.T, kind tiers.EventKind, name string, from int) {
	t.Helper()
	what := [...]string{tiers.Changed: "changed ", tiers.Lost: "lost", tiers.Alive: "alive"}[kind] + name
	eventually(t, 5*time.Second, what, func() bool { return h.count(kind, name, from) > 0 })
}

// listen starts a watch that ends with the test, and waits until it is alive.
func listen(t *testing.T, s *Source, namespace string) *hearer {
	t.Helper()
	h := &hearer{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, namespace, h.hear) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch: %v", err)
		}
	})
	h.hears(t, tiers.Alive, "", 0)
	if h.events[0].Kind != tiers.Alive {
		t.Errorf("the first event is %+v, want alive", h.events[0])
	}
	return h
}

const killAll = `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`

func TestWatchHearsPlainSQL(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	h := listen(t, s, "a b")
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('a b', 'x', '1'), ('a b', 'y', '1'), ('b', 'z', '1')`)
	h.hears(t, tiers.Changed, "x", 0)
	h.hears(t, tiers.Changed, "y", 0)
	n := h.len()
	exec(t, c, `DELETE FROM fastopt.options WHERE name = 'x'`)
	h.hears(t, tiers.Changed, "x", n)
	for _, payload := range []string{"", " ", "a b", "a b x", "a b 99999999999999999999", " 7", "a b -1", "c 5"} {
		exec(t, c, `SELECT pg_notify('fastopt', $1)`, payload)
	}
	n = h.len()
	exec(t, c, `UPDATE fastopt.options SET value = '2' WHERE name = 'y'`)
	h.hears(t, tiers.Changed, "y", n)
	if h.count(tiers.Changed, "z", 0) != 0 || h.count(tiers.Lost, "", 0) != 0 {
		t.Errorf("heard %+v", h.events)
	}
	n = h.len()
	exec(t, c, `TRUNCATE fastopt.options`)
	h.hears(t, tiers.Changed, "y", n)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'a b', 'm.'||i, '1' FROM generate_series(1, $1) i`, changesPage+1)
	h.hears(t, tiers.Lost, "", n)
	n = h.len()
	h.hears(t, tiers.Alive, "", n)
}

// What NOTIFY fails to tell, the heartbeat finds.
func TestWatchDoesNotRelyOnNotify(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	exec(t, c, `ALTER TABLE fastopt.namespaces DISABLE TRIGGER a_notify`)
	h := listen(t, s, "app")
	set(t, s, "a", "1")
	h.hears(t, tiers.Changed, "a", 0)
	n := h.len()
	exec(t, c, moved)
	h.hears(t, tiers.Lost, "", n)
	h.hears(t, tiers.Alive, "", n)
}

// What commits while nobody listens is announced before Alive.
func TestR19WatchCatchesUpAfterItsConnectionDied(t *testing.T) {
	p := private(t)
	s, c := open(t, p.URL()), psql(t, p.URL())
	outside := psql(t, strings.Replace(p.URL(), "/fastopt?", "/template1?", 1))
	h := listen(t, s, "app")
	for range 3 {
		n := h.len()
		exec(t, outside, `ALTER DATABASE fastopt ALLOW_CONNECTIONS false`)
		exec(t, c, killAll)
		h.hears(t, tiers.Lost, "", n)
		exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) VALUES ('app', 'a', '1') ON CONFLICT (namespace, name) DO UPDATE SET value = '2'`)
		exec(t, outside, `ALTER DATABASE fastopt ALLOW_CONNECTIONS true`)
		h.hears(t, tiers.Changed, "a", n)
		h.mu.Lock()
		for _, e := range h.events[n:] {
			if e.Kind == tiers.Changed {
				break
			}
			if e.Kind == tiers.Lost {
				n = -1
			} else if n < 0 {
				t.Errorf("heard %+v, want lost, changed, alive", h.events)
			}
		}
		h.mu.Unlock()
		h.hears(t, tiers.Alive, "", h.len())
	}
}

func TestWatchSurvivesRestartAndFreeze(t *testing.T) {
	p := private(t, durable)
	s := open(t, p.URL())
	h := listen(t, s, "app")

	n := h.len()
	must(t, p.Restart(t.Context()))
	h.hears(t, tiers.Lost, "", n)
	n = h.len()
	h.hears(t, tiers.Alive, "", n)
	set(t, s, "a", "1")
	h.hears(t, tiers.Changed, "a", n)

	n = h.len()
	start := time.Now()
	must(t, p.Freeze())
	h.hears(t, tiers.Lost, "", n)
	if took := time.Since(start); took > time.Second+slack {
		t.Errorf("the freeze was noticed after %v", took)
	}
	n = h.len()
	must(t, p.Thaw())
	start = time.Now()
	h.hears(t, tiers.Alive, "", n)
	if took := time.Since(start); took > time.Second+slack {
		t.Errorf("alive %v after the thaw", took)
	}
}

// Alive comes at least once a second, and tells of a moment before it.
func TestWatchSaysThatItIsAlive(t *testing.T) {
	s := open(t, migrated(t))
	h := listen(t, s, "app")
	eventually(t, 10*time.Second, "five times alive", func() bool { return h.count(tiers.Alive, "", 0) >= 5 })
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := 1; i < len(h.events); i++ {
		if gap := h.times[i].Sub(h.times[i-1]); gap > time.Second {
			t.Errorf("%v between two events", gap)
		}
		if !h.events[i].Since.Before(h.times[i]) || h.events[i].Since.Before(h.events[i-1].Since) {
			t.Errorf("alive since %v, after %v", h.events[i].Since, h.events[i-1].Since)
		}
	}
}

// The heartbeat does not wait for other namespaces to be silent.
func TestWatchIsAliveBesideABusyNamespace(t *testing.T) {
	s := open(t, migrated(t))
	h := listen(t, s, "app")
	busy, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for busy.Err() == nil {
			s.Write(busy, "another", []tiers.Write{{Name: "x", Data: []byte("1")}})
			time.Sleep(10 * time.Millisecond)
		}
	})
	from := h.len()
	eventually(t, 10*time.Second, "five times alive", func() bool { return h.count(tiers.Alive, "", from) >= 5 })
	stop()
	wg.Wait()
}

// A server whose epoch is too low, for good, is not dialled without pause.
func TestWatchDoesNotHammerAZombie(t *testing.T) {
	s := open(t, migrated(t))
	var dials atomic.Int64
	dial := s.conf.DialFunc
	s.conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, addr)
	}
	id := identityOf(t, s)
	id.Epoch = 9
	s.Learn(id)
	dials.Store(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s.Watch(ctx, "app", func(tiers.Event) {})
	if n := dials.Load(); n < 2 || n > 30 {
		t.Errorf("%d dials in a second", n)
	}
}

func TestCloseEndsWatches(t *testing.T) {
	s := open(t, migrated(t))
	h := &hearer{}
	ended := make(chan error)
	go func() { ended <- s.Watch(t.Context(), "app", h.hear) }()
	h.hears(t, tiers.Alive, "", 0)
	s.Close()
	if err := <-ended; !errors.Is(err, errClosed) {
		t.Errorf("watch: %v", err)
	}
}

func FuzzPayload(f *testing.F) {
	for _, p := range []string{"app 1", "a b 18446744073709551615", "", " 1", "app ", "app -1", "app 1 "} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		namespace, revision, ok := parsePayload(p)
		if ok && (namespace == "" || len(namespace)+2 > len(p)) {
			t.Errorf("%q: %q, %d", p, namespace, revision)
		}
	})
}
