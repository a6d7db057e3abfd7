package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Compacting a real table: in portions, silently, and among writers. What every
// compacter promises is checked by tiertest.

func TestCompactWorksInPortions(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	exec(t, c, `INSERT INTO fastopt.options (namespace, name, value) SELECT 'app', 'x.'||i, '1' FROM generate_series(1, 4500) i`)
	exec(t, c, `DELETE FROM fastopt.options WHERE name LIKE 'x.%' AND substr(name, 3)::int > 2000`)
	exec(t, c, `DELETE FROM fastopt.options WHERE name LIKE 'x.%'`)
	set(t, s, "a", "1")
	head := load(t, s, "none").Stamp
	h := listen(t, s, "app")
	listener := psql(t, url)
	exec(t, listener, `LISTEN fastopt`)
	from := h.len()
	horizonIs := func(want int) {
		t.Helper()
		var horizon int
		must(t, c.QueryRow(t.Context(), `SELECT compacted FROM fastopt.namespaces`).Scan(&horizon))
		if horizon != want {
			t.Errorf("the horizon is %d, want %d", horizon, want)
		}
	}
	var portion int
	must(t, c.QueryRow(t.Context(), `SELECT fastopt.compact('app', '0')`).Scan(&portion))
	if portion != compactPortion {
		t.Errorf("a portion is %d, want %d", portion, compactPortion)
	}
	horizonIs(2) // the oldest first
	removed, err := s.Compact(t.Context(), "app", 0)
	if err != nil || removed != 4500-compactPortion {
		t.Errorf("compacted %d, %v; want the rest", removed, err)
	}
	horizonIs(3)
	var left int
	must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM fastopt.tombstones`).Scan(&left))
	if left != 0 || load(t, s, "none").Stamp != head {
		t.Errorf("%d tombstones are left, the head is %v; want none and %v", left, load(t, s, "none").Stamp, head)
	}
	set(t, s, "b", "1") // is announced after whatever the compaction had said
	h.hears(t, tiers.Changed, "b", from)
	if h.count(tiers.Lost, "", from) > 0 {
		t.Error("a watcher that was told of the deletes has lost something")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	note, err := listener.WaitForNotification(ctx)
	if err != nil || note.Payload != fmt.Sprintf("app %d", head.Revision+1) {
		t.Errorf("heard %+v, %v; want of the last write alone", note, err)
	}
}

// Some delete and set again, others compact all the time: no deadlock, and
// whoever follows misses nothing.
func TestCompactAmongWriters(t *testing.T) {
	url := migrated(t) + patient
	s, slow := open(t, url), open(t, url)
	ctx, stop := context.WithCancel(t.Context())
	var compacting sync.WaitGroup
	for range 2 {
		compacting.Go(func() {
			for ctx.Err() == nil {
				if _, err := slow.Compact(t.Context(), "app", 20*time.Millisecond); err != nil {
					t.Errorf("compact: %v", err)
				}
			}
		})
	}
	var writing sync.WaitGroup
	for i := range 4 {
		c := psql(t, url)
		writing.Go(func() {
			for j := range 60 {
				name := fmt.Sprint("x.", i, ".", j%7)
				for _, w := range []way{ways[j%3], plain(upsertOne), plain(deleteOne), plain(upsertOne)} {
					if err := w(t.Context(), s, c, name); err != nil {
						t.Errorf("write: %v", err)
					}
				}
			}
		})
	}
	seen, polled := make(map[string]uint64), make(chan error, 1)
	go func() { polled <- poll(ctx, s, seen) }()
	writing.Wait()
	stop()
	compacting.Wait()
	must(t, <-polled)
	for r, err := range s.Scan(t.Context(), "app") {
		must(t, err)
		if r.Kind == tiers.Value && seen[r.Name] != r.Stamp.Revision {
			t.Errorf("%s has revision %d, the poller saw %d", r.Name, r.Stamp.Revision, seen[r.Name])
		}
	}
	for name := range seen {
		if got := load(t, s, name); got.Kind == tiers.Absent && got.Stamp.Revision < seen[name] {
			t.Errorf("%s is absent as of %d, but was seen at %d", name, got.Stamp.Revision, seen[name])
		}
	}
}
