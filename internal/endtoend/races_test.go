package endtoend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/point"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
	"github.com/fastopt/fastopt-go/tiers/redis"
)

// The races that the contract names and that two processes have with each other,
// entered on purpose over a real Redis and a real PostgreSQL.

// hookOnce has f run the first time that p passes a point for a name.
func hookOnce(t *testing.T, at point.Point, p *process, name string, f func()) {
	t.Helper()
	var done atomic.Bool
	t.Cleanup(point.Set(func(here point.Point, by any, of string) {
		if here == at && of == name && by == any(p.Manager) && done.CompareAndSwap(false, true) {
			f()
		}
	}))
}

// unled starts a process that does not stand for relay, so that what a test
// looks at comes by one way.
func (w *world) unled() *process {
	w.t.Helper()
	cfg := w.config()
	cfg.Relay = fastopt.Never
	p, err := open(cfg)
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, p.Close()) })
	return p
}

// cached is what Redis holds, as an onlooker reads it.
func (w *world) cached(c tiers.Cache, name string) string {
	r := c.Load(ctx, "shop", []string{name})[0]
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case r.Kind == tiers.Absent:
		return "absent"
	}
	return string(r.Data)
}

// quiet listens from now on for changes of a name in Redis. The check it returns
// fails the test if there was one: processes would repair it soon, and hide it.
func (w *world) quiet(name string) (check func()) {
	w.t.Helper()
	cache := w.config().Cache
	var changes, since atomic.Int64 // since: of the last Alive
	watch, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		cache.Watch(watch, "shop", func(e tiers.Event) {
			switch {
			case e.Kind == tiers.Changed && e.Name == name:
				changes.Add(1)
			case e.Kind == tiers.Alive:
				since.Store(e.Since.UnixNano())
			}
		})
	})
	w.t.Cleanup(func() { cancel(); listening.Wait() })
	within(w.t, 2*time.Second, "the watch is alive", func() bool { return since.Load() > 0 })
	cache.Load(ctx, "shop", []string{name}) // so that changes are announced
	return func() {
		w.t.Helper()
		now := time.Now().UnixNano()
		within(w.t, 3*time.Second, "all changes are announced", func() bool { return since.Load() > now })
		if n := changes.Load(); n > 0 {
			w.t.Errorf("%s was changed in Redis %d times", name, n)
		}
	}
}

const member = "limit/k"

// stalledFill has one process read a member from the source and stall before it
// fills Redis, while another one does what meanwhile says. Then the late fill
// changes nothing, and the process that stalled reads what is there.
func stalledFill(t *testing.T, row, held string, value int, meanwhile func(other *process)) {
	w := newWorld(t)
	slow, other, onlooker := w.unled(), w.unled(), w.config().Cache
	if row != "" {
		w.sql(`INSERT INTO fastopt.options (namespace, name, value) VALUES ('shop', 'limit/k', '` + row + `')`)
	}
	entered := make(chan func(), 1)
	hookOnce(t, point.FillSend, slow, member, func() {
		meanwhile(other)
		entered <- w.quiet(member)
	})
	go slow.limit.Load(ctx, "k")
	check := <-entered
	check() // meanwhile the late fill is sent …
	check() // … and what it changed is announced
	if got := w.cached(onlooker, member); got != held {
		t.Errorf("after the late fill Redis holds %s, want %s", got, held)
	}
	if r := slow.limit.Load(ctx, "k"); r.Value != value || r.Err != nil {
		t.Errorf("the slow one reads %+v", r)
	}
}

func TestR2AStalledFillDoesNotSetRedisBack(t *testing.T) {
	stalledFill(t, "1", "2", 2, func(other *process) { must(t, second(other.limit.Set(ctx, "k", 2))) })
}

func TestR11AStalledFillDoesNotBringBackWhatIsDeleted(t *testing.T) {
	stalledFill(t, "1", "absent", 5, func(other *process) { must(t, second(other.limit.Delete(ctx, "k"))) })
}

func TestR14AStalledAbsentDoesNotHideWhatIsThere(t *testing.T) {
	stalledFill(t, "", "7", 7, func(other *process) { must(t, second(other.limit.Set(ctx, "k", 7))) })
}

func second[A any](_ A, err error) error { return err }

// Two writers commit in one order and reach Redis in the other.
func TestR3CrossedWritersLeaveTheLaterCommit(t *testing.T) {
	w := newWorld(t)
	a, b, onlooker := w.unled(), w.unled(), w.config().Cache
	for i := range 3 {
		var check func()
		hookOnce(t, point.WriteFill, a, "n", func() {
			set(t, b, 100+i)
			check = w.quiet("n")
		})
		set(t, a, i)
		check()
		for _, p := range []*process{a, b} {
			p.sees(t, 2*time.Second, 100+i)
		}
		if got, want := w.cached(onlooker, "n"), fmt.Sprint(100+i); got != want {
			t.Errorf("Redis holds %s, want %s", got, want)
		}
	}
}

// What is deleted and written again is newer than what was deleted, however
// often that had been written: the namespace counts, not the row.
func TestR13ARowThatIsWrittenAgainIsNewer(t *testing.T) {
	w := newWorld(t)
	a, b, onlooker := w.unled(), w.unled(), w.config().Cache
	var last tiers.Stamp
	for round := range 3 {
		for i := range 7 {
			set(t, a, i)
		}
		rc, err := a.n.Delete(ctx)
		must(t, err)
		b.sees(t, 2*time.Second, -1)
		last = rc.Stamp
		if round == 0 {
			w.sql(fmt.Sprintf(upsert, 50))
			must(t, a.Sync(ctx))
		} else {
			set(t, b, 50)
		}
		for _, p := range []*process{a, b} {
			p.sees(t, 2*time.Second, 50)
			if s := p.n.Inspect().Stamp; !s.Newer(last) {
				t.Errorf("written again as %v, deleted as %v", s, last)
			}
		}
		if got := w.cached(onlooker, "n"); got != "50" {
			t.Errorf("Redis holds %s", got)
		}
	}
}

// What another process writes while the connection to Redis is cut is read once
// it is back: pushes are not sent again.
func TestR16AMissedPushIsMadeUpForAfterReconnect(t *testing.T) {
	w := newWorld(t)
	path, err := faults.NewProxy(w.redis.Addr())
	must(t, err)
	t.Cleanup(path.Close)
	cfg := w.config()
	cfg.Relay, cfg.TTL, cfg.Grace = fastopt.Never, time.Minute, time.Minute // so that nothing but the reconnect helps
	cfg.Cache, err = openRedis(t, "redis://"+path.Addr())
	must(t, err)
	mine, err := open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, mine.Close()) })
	theirs := w.unled()
	for i := range 3 {
		set(t, theirs, 2*i+1)
		mine.sees(t, 2*time.Second, 2*i+1)
		loads := mine.Stats().SourceLoads
		path.Refuse()
		path.Reset()
		within(t, 5*time.Second, "the source is asked instead", func() bool {
			s := mine.Stats()
			return !s.PushesUp && s.SourceLoads > loads && mine.n.Inspect().State == fastopt.Fresh
		})
		set(t, theirs, 2*i+2)
		if v := mine.n.Get(); v != 2*i+1 {
			t.Fatalf("read %d, though no push can have come", v)
		}
		must(t, path.Heal())
		mine.sees(t, 2*time.Second+slack, 2*i+2)
	}
}

func openRedis(t *testing.T, url string) (*redis.Cache, error) {
	c, err := redis.Open(redis.Config{URL: url})
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

// What a disk set back, or who bypassed the triggers, leaves: one stamp has two
// values. PostgreSQL, read later, has the last word, in Redis and everywhere.
func TestR27OneStampWithTwoValues(t *testing.T) {
	for what, setBack := range map[string]string{
		"a row changed with the triggers off": `UPDATE fastopt.options SET value = '2'`,
		"a row changed and stamped lower":     `UPDATE fastopt.options SET value = '2', revision = revision - 3`,
		"all set back, and written again": `UPDATE fastopt.options SET value = '0', revision = revision - 1;
			UPDATE fastopt.namespaces SET revision = revision - 1; SET session_replication_role = origin;
			UPDATE fastopt.options SET value = '2'`,
		"a row removed with the triggers off": `DELETE FROM fastopt.options`,
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			ps := []*process{w.start(), w.start()}
			relay(t, 2*time.Second, ps...)
			onlooker := w.config().Cache
			for i := range 7 {
				set(t, ps[0], 100+i)
			}
			for _, p := range ps {
				p.sees(t, 2*time.Second, 106)
			}
			now, held := 2, "2"
			if strings.Contains(what, "removed") {
				now, held = -1, "absent"
			}
			w.sql(`SET session_replication_role = replica; ` + setBack)
			start := time.Now()
			for _, p := range ps {
				p.sees(t, 2*patrol, now)
			}
			within(t, 2*patrol, "Redis has it", func() bool { return w.cached(onlooker, "n") == held })
			t.Logf("right after %v", time.Since(start))
			set(t, ps[1], 7)
			for _, p := range ps {
				p.sees(t, 2*time.Second, 7)
			}
		})
	}
}

// patrol is how often the relay looks at each of a few rows, and some more.
const patrol = 6 * time.Second

// The connection is cut between the commit and its acknowledgement: the write is
// of unknown outcome, nothing is published, the truth is read, and nothing is
// applied twice.
func TestR33AnAcknowledgementThatIsLost(t *testing.T) {
	w := newWorld(t)
	path, err := faults.NewProxy(w.pg.Addr())
	must(t, err)
	t.Cleanup(path.Close)
	cfg := w.config()
	cfg.Relay, cfg.TTL, cfg.Grace = fastopt.Never, time.Minute, time.Minute // so that nobody else reads the truth
	source, err := postgres.Open(postgres.Config{URL: strings.Replace(w.pg.URL(), w.pg.Addr(), path.Addr(), 1)})
	must(t, err)
	t.Cleanup(source.Close)
	cfg.Source = source
	p, err := open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	other := w.unled()
	set(t, p, 1)
	other.sees(t, 2*time.Second, 1)
	p.sees(t, 2*time.Second, 1)
	for i, what := range []struct {
		tag  string // of the first answer that is lost
		do   func() error
		sees int
	}{
		{"INSERT 0 1", func() error { return second(p.n.Set(ctx, 2)) }, 2},
		{"SELECT 1", func() error { return second(p.n.Set(ctx, 3)) }, 3}, // and with it all others
		{"DELETE 1", func() error { return second(p.n.Delete(ctx)) }, -1},
	} {
		before, head := p.n.Get(), w.head()
		cuts := path.Traffic(faults.ToClient).Cuts
		path.CutAt(faults.ToClient, faults.CommandComplete(what.tag), faults.ReadyForQuery())
		err := what.do()
		if !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Fatalf("%d: %v", i, err)
		}
		if n := path.Traffic(faults.ToClient).Cuts - cuts; n != 1 {
			t.Fatalf("%d: %d cuts", i, n)
		}
		if r := p.n.Inspect(); r.Value != before && r.Value != what.sees || r.Value == before && r.State == fastopt.Fresh {
			t.Errorf("%d: after the failure %+v", i, r)
		}
		p.sees(t, 2*time.Second, what.sees)
		other.sees(t, 2*time.Second, what.sees) // it was repaired by who wrote it
		within(t, 4*time.Second, "nothing is dirty", func() bool { return p.Stats().Dirty == 0 })
		if after := w.head(); after != head+1 {
			t.Errorf("%d: %d transactions were applied, want 1", i, after-head)
		}
	}
}

// head is the revision of the namespace.
func (w *world) head() (n int) {
	w.t.Helper()
	must(w.t, w.query(`SELECT revision FROM fastopt.namespaces WHERE namespace = 'shop'`, &n))
	return n
}
