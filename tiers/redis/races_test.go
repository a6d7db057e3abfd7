package redis

// Races against real servers, each named by its number.

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/tiers"
)

// Everybody who is told of a change reads it and fills what was read. If an equal
// fill were a write, each would tell all others again, for ever.
func TestR10EqualFillsFeedNoStorm(t *testing.T) {
	const fleet = 8
	r := private(t)
	op := operate(t, r.Addr())
	var heard [fleet]atomic.Int64
	var fills sync.WaitGroup
	listeners := make([]*listener, fleet)
	caches := make([]*Cache, fleet)
	for i := range caches {
		c := open(t, r.URL())
		caches[i] = c
		react := func() {
			for _, res := range c.Load(t.Context(), ns, []string{"x"}) {
				if res.Err == nil {
					c.Fill(t.Context(), ns, []tiers.Fill{{Record: res.Record}})
				}
			}
		}
		listeners[i] = listenWith(t, c, func(e tiers.Event) {
			if e.Kind == tiers.Changed && heard[i].Add(1) < 100 { // enough of a storm
				fills.Go(react)
			}
		})
		listeners[i].after(t, 0, "Alive", kind(tiers.Alive))
		load(t, c, "x")
	}
	for revision := range uint64(3) {
		op.do("CONFIG", "RESETSTAT")
		for i := range heard {
			heard[i].Store(0)
		}
		put(t, caches[0], value("x", 1, revision+1, `1`))
		for range 3 { // a storm would be long under way
			now := time.Now()
			for _, l := range listeners {
				l.after(t, 0, "Alive", since(now))
			}
		}
		fills.Wait()
		for i := range heard {
			if n := heard[i].Load(); n == 0 || n > 2 { // the writer tracks what its own script reads
				t.Errorf("revision %d: cache %d heard %d changes", revision+1, i, n)
			}
		}
		if stats, _ := op.do("INFO", "commandstats").ToString(); !strings.Contains(stats, "cmdstat_set:calls=1,") {
			t.Errorf("revision %d: not stored exactly once: %s", revision+1, stats)
		}
	}
}

// A server or a path that falls silent without a word is no channel, though the
// connection stands.
func TestR17SilenceIsNoticedWithinASecond(t *testing.T) {
	for what, fall := range map[string]func(t *testing.T) (url string, silence func() error, end func() error){
		"frozen": func(t *testing.T) (string, func() error, func() error) {
			r := private(t)
			return r.URL(), r.Freeze, r.Thaw
		},
		"black hole": func(t *testing.T) (string, func() error, func() error) {
			p := proxy(t, private(t).Addr())
			return "redis://" + p.Addr(), func() error { p.Drop(); return nil }, p.Heal
		},
		"black hole to the client": func(t *testing.T) (string, func() error, func() error) {
			p := proxy(t, private(t).Addr())
			return "redis://" + p.Addr(), func() error { p.Drop(faults.ToClient); return nil }, p.Heal
		},
		"black hole to the server": func(t *testing.T) (string, func() error, func() error) {
			p := proxy(t, private(t).Addr())
			return "redis://" + p.Addr(), func() error { p.Drop(faults.ToServer); return nil }, p.Heal
		},
	} {
		t.Run(what, func(t *testing.T) {
			url, silence, end := fall(t)
			c := open(t, url)
			l := listen(t, c)
			l.after(t, 0, "Alive", kind(tiers.Alive))
			put(t, c, value("x", 1, 1, `1`))
			load(t, c, "x")
			at := len(l.heard())
			if err := silence(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			next := l.after(t, at, "Lost", kind(tiers.Lost))
			noticed(t, began)
			for _, e := range l.heard()[at:] {
				if e.Kind == tiers.Alive && e.Since.After(began) {
					t.Errorf("told Alive of %v after the silence began", e.Since.Sub(began))
				}
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			next = l.after(t, next, "Alive", kind(tiers.Alive))
			load(t, c, "x")
			put(t, c, value("x", 1, 2, `2`))
			l.after(t, next, "a push", changed("x"))
		})
	}
}

// The other connections live on, but what they say is not the whole any more.
func TestR18TheEndOfOneConnectionIsTheEndOfAll(t *testing.T) {
	r := startCluster(t, 3, false)
	c, other := open(t, r.url()), open(t, r.url())
	l := listen(t, c)
	l.after(t, 0, "Alive", kind(tiers.Alive))
	all := names(12)
	for round := range uint64(3) {
		for i, name := range all {
			put(t, other, value(name, uint32(round+1), uint64(i+1), `1`))
		}
		c.Load(limit(t, patience), ns, all)
		victim := r.owner(keyOf(all[round]))
		l.after(t, 0, "Alive", since(time.Now()))
		at := len(l.heard())
		r.ops[victim].do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		put(t, ready(t, open(t, r.url())), value(all[round], uint32(round+1), 100, `2`)) // its push is lost
		at = l.after(t, at, "Lost", kind(tiers.Lost))
		at = l.after(t, at, "Alive", kind(tiers.Alive))
		for i, res := range c.Load(limit(t, patience), ns, all) {
			if res.Err != nil || res.Name == all[round] && string(res.Data) != "2" {
				t.Errorf("%s: %v", all[i], res.Err)
			}
		}
		eventually(t, "the other cache", func() bool { return load(t, other, all[round]).Err == nil })
		for i, name := range all {
			put(t, other, value(name, uint32(round+1), uint64(i+1000), `3`))
			l.after(t, at, "a push of "+name, changed(name))
		}
	}
}

func proxy(t testing.TB, target string) *faults.Proxy {
	t.Helper()
	p, err := faults.NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}
