package redis

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/tiers"
)

func TestEveryChangeOfALoadedNameIsAnnounced(t *testing.T) {
	r := private(t)
	c, other, op := open(t, r.URL()), open(t, r.URL()), operate(t, r.Addr())
	l := listen(t, c)
	at := l.after(t, 0, "Alive", kind(tiers.Alive))
	steps := []struct {
		what string
		do   func()
	}{
		{"the first value after a miss", func() { put(t, other, value("x", 1, 1, `1`)) }},
		{"another process", func() { put(t, other, value("x", 1, 2, `1`)) }},
		{"a fill of one's own", func() { put(t, c, value("x", 1, 3, `1`)) }},
		{"a delete", func() { put(t, other, absent("x", 1, 4, false)) }},
		{"loss of the key", func() { op.do("DEL", keyOf("x")) }},
		{"expiry", func() { fill(t, other, tiers.Fill{Record: value("x", 1, 5, `1`), TTL: 50 * time.Millisecond}) }},
	}
	for _, s := range steps {
		load(t, c, "x")
		s.do()
		at = l.after(t, at, "a push for "+s.what, changed("x"))
	}
	load(t, c, "x")
	l.after(t, at, "a push for the end of the expired key", changed("x"))
}

func TestARefusedFillAnnouncesNothing(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 2, `1`))
	put(t, c, absent("none", 1, 2, true))
	load(t, c, "x")
	load(t, c, "none")
	at := l.after(t, 0, "Alive", since(time.Now()))
	for _, rec := range []tiers.Record{value("x", 1, 2, `1`), value("x", 1, 1, `2`), absent("none", 1, 3, true)} {
		if fill(t, c, tiers.Fill{Record: rec}) {
			t.Errorf("%q at %v was stored", rec.Name, rec.Stamp)
		}
	}
	l.after(t, at, "Alive", since(time.Now()))
	for _, e := range l.heard()[at:] {
		if e.Kind != tiers.Alive {
			t.Errorf("heard %d %q", e.Kind, e.Name)
		}
	}
}

func TestWatchersHearTheirNamespaceAlone(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	for _, other := range []string{"check", "checkout:x", "checkout%3Ax"} {
		c.Load(limit(t, patience), other, []string{"x"})
		c.Fill(limit(t, patience), other, []tiers.Fill{{Record: value("x", 1, 1, `1`)}})
	}
	l.after(t, 0, "Alive", since(time.Now()))
	if slices.ContainsFunc(l.heard(), kind(tiers.Changed)) {
		t.Error("heard a change of another namespace")
	}
}

// A watcher that comes late hears at once that the channel works.
func TestAliveComesWithinASecondAndFirst(t *testing.T) {
	r := private(t)
	c := ready(t, open(t, r.URL()))
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	at := 0
	for range 4 {
		at = l.after(t, at, "Alive", kind(tiers.Alive))
	}
	events := l.heard()[:at]
	for i, e := range events {
		if e.Kind != tiers.Alive {
			t.Fatalf("heard %d", e.Kind)
		}
		if i > 0 && e.Since.Sub(events[i-1].Since) > time.Second {
			t.Errorf("%v between two heartbeats", e.Since.Sub(events[i-1].Since))
		}
	}
}

func TestASlowSinkHoldsUpNobody(t *testing.T) {
	r := private(t)
	c := open(t, r.URL())
	l := listen(t, c)
	entered, release := make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	ctx := limit(t, patience)
	go func() {
		defer close(done)
		first := true
		c.Watch(ctx, ns, func(tiers.Event) {
			if first {
				first = false
				close(entered)
				<-release
			}
		})
	}()
	<-entered
	for i := range uint64(20) {
		load(t, c, "x")
		at := len(l.heard())
		put(t, c, value("x", 1, i+1, `1`))
		l.after(t, at, "a push beside the slow sink", changed("x"))
	}
	close(release)
	c.Close()
	<-done
}

func TestFlushIsLostAndThenAlive(t *testing.T) {
	r := private(t)
	c, op := open(t, r.URL()), operate(t, r.Addr())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	put(t, c, value("x", 1, 1, `1`))
	load(t, c, "x")
	at := len(l.heard())
	op.do("FLUSHALL")
	at = l.after(t, at, "Lost", kind(tiers.Lost))
	at = l.after(t, at, "Alive", kind(tiers.Alive))
	if err := load(t, c, "x").Err; !errors.Is(err, tiers.ErrMiss) {
		t.Errorf("after the flush: %v", err)
	}
	put(t, c, value("x", 1, 1, `1`))
	l.after(t, at, "a push after the flush", changed("x"))
}

// The order in which a queue is emptied, without a server.
func TestQueueKeepsWhatIsStillToBeSaid(t *testing.T) {
	early, late := time.Now(), time.Now().Add(time.Minute)
	type step = func(w *watcher)
	lost := func(w *watcher) { w.lost() }
	name := func(n string) step { return func(w *watcher) { w.changed(n) } }
	alive := func(at time.Time) step { return func(w *watcher) { w.alive(at) } }
	cases := []struct {
		what  string
		steps []step
		want  string
	}{
		{"nothing before the first Alive", []step{name("a"), lost}, ""},
		{"the first Alive alone", []step{alive(early)}, "Aearly"},
		{"a change before the first Alive", []step{name("a"), alive(late)}, "Aborn a Alate"},
		{"a loss before the first Alive", []step{lost, alive(late)}, "Aborn L Alate"},
		{"the newest Alive, last", []step{alive(early), name("a"), alive(late)}, "Aborn a Alate"},
		{"a name once", []step{alive(early), name("a"), name("a")}, "Aborn a Aearly"},
		{"Lost voids names and Alive", []step{alive(early), name("a"), lost}, ""},
		{"names after Lost", []step{alive(early), name("a"), lost, name("b"), alive(late)}, "Aborn L b Alate"},
	}
	for _, k := range cases {
		w := &watcher{wake: make(chan struct{}, 1), since: time.Now()}
		for _, s := range k.steps {
			s(w)
		}
		events, _ := w.take()
		var got string
		for _, e := range events {
			if got != "" {
				got += " "
			}
			switch {
			case e.Kind == tiers.Lost:
				got += "L"
			case e.Kind == tiers.Changed:
				got += e.Name
			case e.Since.Equal(early):
				got += "Aearly"
			case e.Since.Equal(late):
				got += "Alate"
			case e.Since.Equal(w.since):
				got += "Aborn"
			}
		}
		if got != k.want {
			t.Errorf("%s: got %q, want %q", k.what, got, k.want)
		}
		if again, _ := w.take(); len(again) != 0 {
			t.Errorf("%s: told twice", k.what)
		}
	}
}

// What an ended connection still has to say is about pushes that a later one
// has long made good.
func TestAnEndedSessionHasNothingToSay(t *testing.T) {
	h := newHub(defaultPrefix)
	w := &watcher{wake: make(chan struct{}, 1), since: time.Now()}
	h.add(spaceOf(ns), w)
	ended, live := bare(h), bare(h)
	h.pushed(ended, nil) // not yet believed
	h.up(ended)
	if events, _ := w.take(); len(events) != 1 || events[0].Kind != tiers.Alive {
		t.Errorf("its begin said %v", events)
	}
	h.down(errDialed)
	if events, _ := w.take(); len(events) != 1 || events[0].Kind != tiers.Lost {
		t.Errorf("its end said %v", events)
	}
	h.up(live)
	w.take()
	h.pushed(ended, nil)
	h.pushed(ended, []rueidis.RedisMessage{})
	h.changed(ended, keyOf("x"))
	h.alive(ended)
	if events, _ := w.take(); len(events) > 0 {
		t.Errorf("it said %v", events)
	}
	h.pushed(live, nil)
	if events, _ := w.take(); len(events) != 1 || events[0].Kind != tiers.Lost {
		t.Errorf("the live one said %v", events)
	}
	if len((*live.nodes.Load())[0].nudged) != 1 {
		t.Error("no heartbeat is asked what the loss was")
	}
}

// After a loss, what was vouched for before it is no sign of life.
func TestAliveAfterALossIsOfAfterIt(t *testing.T) {
	h := newHub(defaultPrefix)
	w := &watcher{wake: make(chan struct{}, 1), since: time.Now()}
	h.add(spaceOf(ns), w)
	s := bare(h)
	h.up(s)
	w.take()
	h.pushed(s, nil)
	w.take()
	h.alive(s)
	if events, _ := w.take(); len(events) != 0 {
		t.Errorf("an old heartbeat said %v", events)
	}
	(*s.nodes.Load())[0].answered.Store(s.now())
	h.alive(s)
	if events, _ := w.take(); len(events) != 1 || events[0].Kind != tiers.Alive {
		t.Errorf("a new heartbeat said %v", events)
	}
}

// With several nodes the one that was silent longest says what is vouched for.
func TestTheOldestHeartbeatCounts(t *testing.T) {
	s := bare(nil)
	s.began = time.Now().Add(-2 * time.Hour)
	young, old := &node{addr: "a"}, &node{addr: "b"}
	young.answered.Store(int64(time.Hour))
	old.answered.Store(int64(time.Microsecond))
	s.nodes.Store(&[]*node{young, old})
	if got := s.vouched().Sub(s.began); got != time.Microsecond {
		t.Errorf("vouched is %v", got)
	}
}

// bare is a session with one node and without a server.
func bare(h *hub) *session {
	s := &session{set: &setup{Config: Config{Heartbeat: defaultHeartbeat}}, hub: h, began: time.Now()}
	s.nodes.Store(&[]*node{{nudged: make(chan struct{}, 1)}})
	return s
}
