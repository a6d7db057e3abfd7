package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Databases: rows, revisions and an epoch, as tiers.Source wants them, and what
// befalls databases: a promotion that loses commits, a disk set back, a copy.
// Which of a database's answers count is decided by who asks (ken.go).

// A database is one server. Guarded by world.mu.
type database struct {
	id      tiers.Identity // the recorded one, with its epoch
	actual  tiers.Identity // what the server is; its Epoch means nothing
	standby bool           // it lags, and is nobody's primary
	gone    bool
	image
	past  []image // all that it ever was, oldest first
	right *tenure // who leads by its leave; nil: nobody
	spans [][]span
}

// An image is what stands on a disk. Rows are replaced, never changed.
type image struct {
	recorded tiers.Identity
	head     uint64
	rows     map[string]row
}

type row struct {
	data     string
	deleted  bool // a tombstone
	revision uint64
}

func newDatabase(lineage, system string) *database {
	id := tiers.Identity{Lineage: lineage, System: system, Timeline: 1, Database: "db", Epoch: 1}
	db := &database{id: id, actual: id, image: image{recorded: id, rows: map[string]row{}}, spans: make([][]span, len(names))}
	db.keep()
	return db
}

// keep notes what the disk holds.
func (db *database) keep() {
	db.recorded = db.id
	db.past = append(db.past, image{db.id, db.head, maps.Clone(db.rows)})
}

// become puts an image in the place of what is there.
func (db *database) become(i image) {
	db.head, db.rows, db.id, db.recorded = i.head, maps.Clone(i.rows), i.recorded, i.recorded
}

// promoted is a standby of db that had replayed all but the last lost changes
// when it became a primary: on another timeline, for which no epoch is recorded.
func (db *database) promoted(lost int) *database {
	keep := max(len(db.past)-lost, 1)
	n := &database{actual: db.actual, past: slices.Clone(db.past[:keep]), spans: make([][]span, len(names))}
	n.become(n.past[keep-1])
	n.actual.Timeline++
	return n
}

// copied is db restored as another installation.
func (db *database) copied() *database {
	n := db.promoted(0)
	n.actual = db.actual
	n.actual.System += "'"
	return n
}

// setBack restores what db was some changes ago, under the same identity.
func (db *database) setBack(lost int) {
	was := db.past[max(len(db.past)-1-lost, 0)]
	was.recorded = db.id // of the same history, as far as anyone can tell
	db.become(was)
	db.keep()
}

// recordedIsActual reports whether the epoch was given for what answers here.
func (db *database) recordedIsActual() bool {
	a := db.actual
	a.Epoch = db.id.Epoch
	return db.id == a
}

// step gives the database an epoch above known and its own.
func (db *database) step(known uint32) {
	epoch := max(known, db.id.Epoch) + 1
	db.id = db.actual
	db.id.Epoch = epoch
	db.keep()
}

func (db *database) stamp(revision uint64) tiers.Stamp {
	return tiers.Stamp{Epoch: db.id.Epoch, Revision: revision}
}

func (db *database) record(name string, r row) tiers.Record {
	if r.deleted {
		return tiers.Record{Name: name, Kind: tiers.Absent, Stamp: db.stamp(r.revision)}
	}
	return tiers.Record{Name: name, Kind: tiers.Value, Stamp: db.stamp(r.revision), Data: []byte(r.data)}
}

// load is what a point read finds: it does not look at tombstones.
func (db *database) load(name string) tiers.Record {
	if r, ok := db.rows[name]; ok && !r.deleted {
		return db.record(name, r)
	}
	return tiers.Record{Name: name, Kind: tiers.Absent, NoRow: true, Stamp: db.stamp(db.head)}
}

// write applies all writes, or none.
func (db *database) write(writes []tiers.Write) (tiers.Stamp, error) {
	for _, w := range writes {
		if w.If != nil && !db.unchanged(w.Name, *w.If) {
			return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: fmt.Errorf("write %q: %w", w.Name, tiers.ErrConflict)}
		}
	}
	next, changed := db.head+1, false
	for _, w := range writes {
		if old, ok := db.rows[w.Name]; w.Delete && (!ok || old.deleted) {
			continue
		}
		db.rows[w.Name] = row{data: string(w.Data), deleted: w.Delete, revision: next}
		db.head, changed = next, true
	}
	if changed {
		db.keep()
	}
	return db.stamp(db.head), nil
}

// unchanged is the condition of tiers.Write.If.
func (db *database) unchanged(name string, since tiers.Stamp) bool {
	r, ok := db.rows[name]
	switch {
	case ok && !r.deleted:
		return since == db.stamp(r.revision)
	case since.IsZero():
		return true
	case since.Epoch != db.id.Epoch || since.Revision > db.head:
		return false
	}
	return !ok || since.Revision >= r.revision
}

// scan is everything, by name.
func (db *database) scan() (rs []tiers.Record) {
	for _, name := range slices.Sorted(maps.Keys(db.rows)) {
		rs = append(rs, db.record(name, db.rows[name]))
	}
	return rs
}

// changes is what changed after since, oldest first.
func (db *database) changes(since tiers.Stamp) tiers.Changes {
	c := tiers.Changes{Head: db.stamp(db.head)}
	if since.Epoch != db.id.Epoch || since.Revision > db.head {
		c.Reset = true
		return c
	}
	for _, r := range db.scan() {
		if r.Stamp.Newer(since) {
			c.Records = append(c.Records, r)
		}
	}
	slices.SortStableFunc(c.Records, func(a, b tiers.Record) int { return a.Stamp.Compare(b.Stamp) })
	return c
}

// asOf puts the instant before the request into records.
func asOf(at time.Time, rs []tiers.Record) []tiers.Record {
	for i := range rs {
		rs[i].AsOf = at
	}
	return rs
}

// A site is one installation, as the processes of one deployment reach it.
type site struct {
	primary *database   // the truth
	rest    []*database // zombies and standbys
}

// all returns the site's databases.
func (s *site) all() []*database { return append([]*database{s.primary}, s.rest...) }

// sameInstallation: a server and what was promoted of it.
func sameInstallation(a, b tiers.Identity) bool {
	return cmp.Compare(a.System, b.System) == 0 && a.Database == b.Database
}
