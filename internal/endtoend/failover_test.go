package endtoend

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
)

// Other histories with the real thing (D3, P10): the database fails over, loses
// commits, is restored, upgraded or copied, with processes running throughout,
// none restarted. What only the lost history said vanishes everywhere, and what
// is true now is read everywhere, although its revisions are lower.

func TestR26LostCommitsAreOutranked(t *testing.T) {
	f := newFleet(t, newWorld(t))
	old := f.pg
	set(t, f.ps[0], 1)
	s := f.laggingStandby()
	lost := f.diverge()
	must(t, old.Kill())
	must(t, s.Promote(ctx))
	f.switchOver(s)
	f.converges(reconverge, 1, 2, lost)

	// And again: the next standby follows the new primary, and loses commits too.
	next := f.laggingStandby()
	lost = f.diverge()
	must(t, f.pg.Kill())
	must(t, next.Promote(ctx))
	f.switchOver(next)
	f.converges(reconverge, 1, 3, lost)
}

// Without Redis there is no mark: each process knows what Postgres told it.
func TestR26WithoutRedis(t *testing.T) {
	f := newFleetAround(t, newWorld(t))
	for range 2 {
		f.ps = append(f.ps, f.joinWith(nil, f.url()))
	}
	old := f.pg
	set(t, f.ps[0], 1)
	s := f.laggingStandby()
	lost := set(t, f.ps[0], 900).Stamp
	for _, p := range f.ps {
		p.sees(t, reconverge, 900)
	}
	must(t, s.Promote(ctx))
	f.switchOver(s)
	for _, p := range f.ps {
		p.sees(t, reconverge, 1)
	}
	f.switchOver(old) // a zombie by now
	for _, p := range f.ps {
		within(t, reconverge, "a write to the zombie is refused", func() bool { // not merely lost with its connection
			_, err := p.n.Set(ctx, 901)
			return errors.Is(err, fastopt.ErrUnavailable)
		})
	}
	if v := f.row("n"); v != 900 {
		t.Errorf("the zombie took %d", v)
	}
	f.switchOver(s)
	if stamp := f.setAgain(f.ps[0], 2).Stamp; stamp.Epoch != 2 || stamp.Revision > lost.Revision {
		t.Errorf("wrote %v after %v was lost", stamp, lost)
	}
	for _, p := range f.ps {
		p.sees(t, reconverge, 2)
	}
}

func TestARestoreToAPointInTimeIsAnotherHistory(t *testing.T) {
	f := newFleet(t, newWorld(t))
	backup, err := f.pg.Backup(ctx)
	must(t, err)
	set(t, f.ps[0], 1)
	beforeTheMistake, err := f.pg.RestorePoint(ctx)
	must(t, err)
	lost := f.diverge()
	must(t, f.pg.Kill())
	restored, err := backup.Restore(ctx, beforeTheMistake, servers.Options{})
	must(t, err)
	servers.StopLater(t, restored)
	f.switchOver(restored)
	f.converges(reconverge, 1, 2, lost)
}

// A copy in another installation: the fleet takes it for the successor once the
// original has been silent for 5 s.
func TestADumpRestoredElsewhereIsAnotherHistory(t *testing.T) {
	f := newFleet(t, newWorld(t))
	set(t, f.ps[0], 1)
	copied := f.copied()
	lost := f.diverge()
	must(t, f.pg.Kill())
	f.switchOver(copied)
	f.converges(silence+2*reconverge, 1, 2, lost)
}

func TestAnUpgradedServerIsAnotherHistory(t *testing.T) {
	f := newFleet(t, newWorld(t))
	set(t, f.ps[0], 1)
	before, err := f.ps[0].source.Identity(ctx)
	must(t, err)
	upgraded, err := f.pg.Upgrade(ctx, servers.Options{}) // takes about as long as the silence that is asked for
	must(t, err)
	servers.StopLater(t, upgraded)
	f.switchOver(upgraded)
	start := time.Now()
	for _, p := range f.ps {
		within(t, silence+2*reconverge, "the upgraded server is read", func() bool {
			r := p.n.Inspect()
			return r.Value == 1 && r.State == fastopt.Fresh && r.Stamp.Epoch == 2
		})
	}
	t.Logf("all processes right after %v", time.Since(start))
	f.cacheSays(1, 2)
	if m := f.mark(); m.System == before.System || m.Lineage != before.Lineage {
		t.Errorf("the mark is of %+v, the server before was %+v", m.Identity, before)
	}
	set(t, f.ps[0], 2)
	for _, p := range f.ps {
		p.sees(t, reconverge, 2)
	}
}

// R28: the old primary was never stopped. Each new connection finds either of the
// two, and the old one still takes writes.
func TestR28AZombieBesideTheNewPrimary(t *testing.T) {
	f := newFleet(t, newWorld(t))
	old := f.pg
	set(t, f.ps[0], 1)
	s := f.laggingStandby()
	f.diverge()
	must(t, s.Promote(ctx))
	f.switchOver(s)
	stop := f.alternate(old, s)
	defer stop()
	for _, p := range f.ps {
		within(t, 4*reconverge, "the new history is read", func() bool { return p.n.Inspect().Stamp.Epoch == 2 && p.n.Get() == 1 })
	}
	zombie := &world{t: t, pg: old}
	var before int
	must(t, zombie.query(`SELECT revision FROM fastopt.namespaces`, &before))
	seen := newest(f.ps)
	for i := range 20 {
		zombie.sql(fmt.Sprintf(upsert, 900+i))
		_, err := f.ps[i%3].n.Set(ctx, 100+i)
		if err != nil && !errors.Is(err, fastopt.ErrUnavailable) && !errors.Is(err, fastopt.ErrOutcomeUnknown) {
			t.Errorf("a write: %v", err)
		}
		for range 20 {
			seen(t)
			f.address.Reset()
			time.Sleep(time.Millisecond)
		}
	}
	var after int
	must(t, zombie.query(`SELECT revision FROM fastopt.namespaces`, &after))
	if after != before+20 {
		t.Errorf("the zombie took %d writes of the fleet", after-before-20)
	}
	stop()
	f.switchOver(s)
	f.setAgain(f.ps[0], 7)
	for _, p := range f.ps {
		p.sees(t, reconverge, 7)
	}
	f.cacheSays(7, 2)
	var epoch int
	must(t, zombie.query(`SELECT epoch FROM fastopt.epoch`, &epoch))
	if epoch != 1 {
		t.Errorf("the zombie stepped to epoch %d", epoch)
	}
}

// newest returns a check that no process reads what the zombie wrote, and that
// no stamp falls.
func newest(ps []*process) func(*testing.T) {
	last := make([]tiers.Stamp, len(ps))
	return func(t *testing.T) {
		t.Helper()
		for i, p := range ps {
			r := p.n.Inspect()
			if r.Value >= 900 || r.Stamp.Epoch < 2 || last[i].Newer(r.Stamp) {
				t.Fatalf("process %d reads %+v after %v", i, r, last[i])
			}
			last[i] = r.Stamp
		}
	}
}

// R29: a standby that lags answers nothing, however long it is asked.
func TestR29AStandbyIsNoAnswer(t *testing.T) {
	f := newFleet(t, newWorld(t))
	old := f.pg
	set(t, f.ps[0], 1)
	s := f.laggingStandby()
	set(t, f.ps[0], 2)
	for _, p := range f.ps {
		p.sees(t, reconverge, 2)
	}
	must(t, f.redisDo("FLUSHALL"))
	f.switchOver(s)
	if _, err := f.ps[0].source.Identity(ctx); !errors.Is(err, tiers.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("identity of a standby: %v", err)
	}
	if _, err := f.ps[0].n.Set(ctx, 3); !errors.Is(err, fastopt.ErrUnavailable) {
		t.Errorf("a write to a standby: %v", err)
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, p := range f.ps {
			if r := p.n.Inspect(); r.Value != 2 {
				t.Fatalf("read %+v from a standby", r)
			}
		}
	}
	f.switchOver(old)
	f.setAgain(f.ps[0], 3)
	for _, p := range f.ps {
		p.sees(t, reconverge, 3)
	}
}

// A copy is no successor of an original that lives, not even for a process that
// has asked Postgres nothing for longer than the silence: it sees the mark move.
func TestACopyBesideTheLivingOriginal(t *testing.T) {
	f := newFleet(t, newWorld(t))
	set(t, f.ps[0], 1)
	original, other := f.pg, f.copied()
	unmoved := func(d time.Duration) {
		t.Helper()
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			for i, p := range f.ps {
				if r := p.n.Inspect(); r.Stamp.Epoch > 1 {
					t.Fatalf("process %d has taken the copy for the successor: %+v", i, r)
				}
			}
		}
	}
	unmoved(silence + slack)
	stop := f.alternate(original, other)
	defer stop()
	unmoved(silence + slack)
	copied := &world{t: t, pg: other}
	var epoch int
	must(t, copied.query(`SELECT epoch FROM fastopt.epoch`, &epoch))
	if epoch != 1 {
		t.Errorf("the copy was stepped to epoch %d", epoch)
	}
	if m := f.mark(); m.Epoch != 1 {
		t.Errorf("the mark is of %+v", m.Identity)
	}
}

// Staging, restored from a dump of production, is pointed at production's Redis.
// It may not touch it as long as production lives, and reads its own database.
func TestStagingKeepsOffProductionsRedis(t *testing.T) {
	f := newFleet(t, newWorld(t))
	set(t, f.ps[0], 1)
	for _, p := range f.ps {
		p.sees(t, reconverge, 1)
	}
	production := f.mark()
	copied := f.copied()
	staging := f.join(copied.URL())
	within(t, reconverge, "staging says that the cache is another's", func() bool {
		err := staging.Ready()
		return err != nil && strings.Contains(err.Error(), "a copy of")
	})
	for i := range 10 {
		_, err := staging.n.Set(ctx, 500+i)
		must(t, err)
		staging.sees(t, reconverge, 500+i)
	}
	for end := time.Now().Add(silence + 2*time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, p := range f.ps {
			if r := p.n.Inspect(); r.Value != 1 {
				t.Fatalf("production reads %+v", r)
			}
		}
		if r := staging.n.Inspect(); r.Value != 509 {
			t.Fatalf("staging reads %+v", r)
		}
		if m := f.mark(); m.System != production.System || m.Epoch != production.Epoch {
			t.Fatalf("the mark is of %+v", m.Identity)
		}
	}
	// Once production is gone for good, its Redis is there to be taken over.
	for _, p := range f.ps {
		must(t, p.Close())
	}
	f.ps = []*process{staging}
	epoch := uint32(0)
	f.pg = copied
	start := time.Now()
	within(t, 4*silence, "staging has taken the cache over", func() bool {
		m := f.mark()
		epoch = m.Epoch
		return m.System != production.System
	})
	t.Logf("staging took the cache over %v after production was gone", time.Since(start))
	f.cacheSays(509, epoch)
	if epoch <= production.Epoch {
		t.Errorf("staging took epoch %d, production had %d", epoch, production.Epoch)
	}
}

// Another database altogether is refused, loudly and for good.
func TestAnotherDatabasesRedisIsRefused(t *testing.T) {
	f := newFleet(t, newWorld(t))
	set(t, f.ps[0], 1)
	other, err := f.pg.NewDatabase(ctx)
	must(t, err)
	must(t, postgres.Migrate(ctx, other))
	cfg := f.config()
	source, err := postgres.Open(postgres.Config{URL: other})
	must(t, err)
	t.Cleanup(source.Close)
	cfg.Source = source
	p, err := open(cfg)
	if p.Manager != nil {
		t.Cleanup(func() { must(t, p.Close()) })
	}
	if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), "another database") {
		t.Errorf("Open: %v", err)
	}
	if f.ps[0].n.Get() != 1 {
		t.Error("production noticed")
	}
}
