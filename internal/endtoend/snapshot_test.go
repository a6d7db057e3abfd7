package endtoend

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers/postgres"
)

// Snapshots with the real thing: both servers die, and a process that starts
// then reads what the one before it knew.

// saving starts a process that keeps its snapshot at path, with grace enough for
// servers to come and go.
func (w *world) saving(path string) *process {
	w.t.Helper()
	cfg := w.config()
	cfg.Snapshot, cfg.Grace, cfg.StartTimeout = path, time.Minute, time.Second
	p, err := open(cfg)
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, p.Close()) })
	return p
}

// saved leaves a snapshot in which n is v, and both servers dead.
func (w *world) saved(path string, v int) (stamp fastopt.Stamp) {
	w.t.Helper()
	p := w.saving(path)
	set(w.t, p, v-1)
	p.sees(w.t, busy, v-1)
	stamp = set(w.t, p, v).Stamp
	before := p.Stats().SnapshotWrites
	within(w.t, busy, "written", func() bool { return p.Stats().SnapshotWrites > before })
	must(w.t, p.Close())
	must(w.t, w.redis.Kill())
	must(w.t, w.pg.Kill())
	return stamp
}

func (p *process) startsFrom(t *testing.T, v int) {
	t.Helper()
	if r := p.n.Inspect(); r.Value != v || r.State != fastopt.Stale || r.Origin != fastopt.Snapshot || p.n.Get() != v || p.Ready() == nil {
		t.Fatalf("%+v", r)
	}
}

func TestI22AStartInTheDarkWithRealServers(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "snapshot")
	stamp := w.saved(path, 7)
	p := w.saving(path)
	p.startsFrom(t, 7)
	if r := p.n.Inspect(); r.Stamp != stamp {
		t.Errorf("%+v, written as %v", r, stamp)
	}
	must(t, w.pg.Restart(ctx))
	must(t, w.redis.Restart(ctx))
	start := time.Now()
	p.sees(t, busy, 7)
	t.Logf("right %v after both came back", time.Since(start))
	if r := p.n.Inspect(); r.Origin == fastopt.Snapshot || p.Stats().Conflicts != 0 {
		t.Errorf("%+v, %d conflicts", r, p.Stats().Conflicts)
	}
	set(t, p, 8)
	p.sees(t, busy, 8)
}

// Another database answers where the old one did: what is in the snapshot, of
// higher stamps, is not its.
func TestI22AnotherDatabaseThanTheSnapshots(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "snapshot")
	w.saved(path, 7)
	other := servers.PrivatePostgres(t, servers.Options{})
	must(t, postgres.Migrate(ctx, other.URL()))
	w.pg = other
	w.sql("INSERT INTO fastopt.options (namespace, name, value) VALUES ('shop', 'n', '1')")
	p := w.saving(path)
	p.sees(t, busy, 1)
	must(t, w.redis.Restart(ctx))
	set(t, p, 2)
	p.sees(t, busy, 2)
}

// A restore brings back an old state, under the same lineage.
func TestI22ARestoredDatabaseIsNotOutrankedByTheSnapshot(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "snapshot")
	p := w.start()
	set(t, p, 3)
	must(t, p.Close())
	backup, err := w.pg.Backup(ctx)
	must(t, err)
	point, err := w.pg.RestorePoint(ctx)
	must(t, err)
	w.saved(path, 7)
	restored, err := backup.Restore(ctx, point, servers.Options{})
	must(t, err)
	servers.StopLater(t, restored)
	w.pg = restored
	must(t, w.redis.Restart(ctx))
	q := w.saving(path)
	q.sees(t, 2*busy, 3)
	if r := q.n.Inspect(); r.Stamp.Epoch != 2 {
		t.Errorf("%+v", r)
	}
}
