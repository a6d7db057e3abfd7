package fastopt

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/internal/snapshot"
	"github.com/fastopt/fastopt-go/tiers"
)

// The snapshot: for a start while no tier answers, what an earlier process last
// knew stands in a file. It is old news (I22): it is read before anybody is
// asked, is never fresh, ages by the wall clock as if there had been no restart,
// and gives way to whatever a tier says, but to a cache that is behind it. Who
// writes it, and when, stands in snapshot_write.go; whose values they are, in
// snapshot_home.go.

// snapshots are one manager's use of the file.
type snapshots struct {
	m     *Manager
	file  *snapshot.File // immutable; nil: none is configured
	kick  chan struct{}  // cap 1: an option has changed
	found []snapshot.Entry
	since time.Duration // how long ago, by the wall clock, found was written

	dirty   atomic.Bool           // an option has changed since the writer last looked
	sure    atomic.Bool           // the entries of the file that are in use are of this database, or there are none
	refused atomic.Bool           // the file that was found is to be put aside before it is replaced
	trouble atomic.Pointer[error] // what is wrong with it

	written, failures atomic.Uint64

	mu   sync.Mutex
	home tiers.Identity // guarded by mu: of the database the values are of; the file's until a tier tells; zero: unknown

	writer
}

// aheadAtMost is how far a wall clock may have been set back since the file was
// written, or differ from that of another machine.
const aheadAtMost = time.Minute

// decodeFor is how long Open waits for decoders and Checks of the user.
const decodeFor = time.Second

// open takes the file, and reads it. An error wraps ErrSnapshot, and leaves nothing.
func (s *snapshots) open(m *Manager) error {
	s.m, s.kick = m, make(chan struct{}, 1)
	s.sure.Store(true)
	if m.cfg.Snapshot == "" {
		return nil
	}
	file, err := snapshot.Open(m.cfg.Snapshot)
	if err == nil {
		s.file = file
		if err = s.read(); err == nil {
			return nil
		}
		err = errors.Join(err, file.Close())
		s.file = nil
	}
	return s.because(err)
}

// because makes err an ErrSnapshot.
func (s *snapshots) because(err error) error {
	return fmt.Errorf("%w: Snapshot %s: %w", ErrSnapshot, s.m.cfg.Snapshot, err)
}

// read reads and judges the file. It is an error if the file cannot be written,
// or is not to be.
func (s *snapshots) read() error {
	raw, err := s.file.Read()
	if errors.Is(err, snapshot.ErrDamaged) {
		raw, err = []byte{}, nil // too large: as good as garbage
	}
	if err != nil {
		return err
	}
	if err := s.file.Probe(max(int64(len(raw)), 4<<10+int64(len(s.m.keys))<<8)); err != nil {
		return fmt.Errorf("it could not be written: %w", err)
	}
	if raw == nil {
		return nil
	}
	found, err := snapshot.HeaderOf(raw)
	if err == nil && found.Namespace != s.m.cfg.Namespace {
		return fmt.Errorf("it is of namespace %q: give each namespace a path of its own", found.Namespace)
	}
	if s.since = time.Since(found.Written); err == nil && s.since < -aheadAtMost {
		err = fmt.Errorf("it was written %v in the future: the clock was set back", -s.since.Round(time.Second))
	}
	var all snapshot.Snapshot
	if err == nil {
		all, err = snapshot.Decode(raw, s.key())
	}
	if err != nil {
		s.refuse(fmt.Errorf("%w; it is put aside once there is a new one", err))
		return nil
	}
	s.found, s.home, s.since = all.Entries, all.Home, max(s.since, 0)
	return nil
}

// key is nil if there is none.
func (s *snapshots) key() []byte {
	if len(s.m.cfg.SnapshotKey) == 0 {
		return nil
	}
	return s.m.cfg.SnapshotKey
}

// refuse says once that the file is not used.
func (s *snapshots) refuse(why error) {
	s.refused.Store(true)
	s.tell("fastopt: the snapshot is not used", why)
}

func (s *snapshots) tell(what string, why error) {
	why = s.because(why)
	s.trouble.Store(&why)
	s.m.cfg.Logger.Warn(what, "error", why)
}

// failure is what is wrong with the file, or parts of it, as it was found.
func (s *snapshots) failure() error {
	if p := s.trouble.Load(); p != nil {
		return *p
	}
	return nil
}

// A find is an entry of the file that an option may have.
type find struct {
	k     *key
	rec   tiers.Record
	asked int64 // ns since Open, so negative
	value any
	err   error
}

// install gives the options what was found. It is called once, when each is
// unloaded and before anybody is asked.
func (s *snapshots) install() {
	if s.found == nil {
		return
	}
	// What nobody could find to be of another database is no floor.
	floor := s.home.Lineage != "" && (s.m.cfg.Source != nil || s.m.marks.marker != nil)
	finds, unknown, tooOld := s.sift()
	var bad []error
	n := 0
	for _, f := range s.decode(finds) {
		if f.err != nil {
			bad = append(bad, f.err)
		} else if f.k.restore(f, floor) {
			n++
		}
	}
	s.found = nil
	s.sure.Store(n == 0 || !floor)
	s.m.cfg.Logger.Info("fastopt: options start from the snapshot, stale", "options", n, "age", s.since.Round(time.Millisecond),
		"too old", tooOld, "not declared", unknown)
	if len(bad) > 0 {
		s.tell("fastopt: options of the snapshot are not used", shorten(bad))
	}
}

// sift returns what may be used of the file, and counts what is not even looked at.
func (s *snapshots) sift() (finds []find, unknown, tooOld int) {
	now := s.m.now()
	for _, e := range s.found {
		k := s.m.byName[e.Name]
		if k == nil || !s.holds(k) {
			unknown++
			continue
		}
		f := find{k: k, rec: tiers.Record{Name: e.Name, Kind: e.Kind, Stamp: e.Stamp, Data: e.Data}}
		age := later(int64(e.Age), int64(s.since))
		f.asked = now - min(age, int64(100*maxTime))
		switch has := fingerprint(k.codec.typ); {
		case k.lives.usable != int64(Forever) && age >= k.lives.usable:
			tooOld++
			continue
		case e.Type != has:
			f.err = fmt.Errorf("option %q: it is of type %s here, and was of type %s", k.name, has, e.Type)
		}
		finds = append(finds, f)
	}
	return finds, unknown, tooOld
}

// decode decodes finds. Code of the user runs apart, and may take decodeFor in all.
func (s *snapshots) decode(finds []find) []find {
	type decoded struct {
		i     int
		value any
		err   error
	}
	apart := make(chan decoded, len(finds))
	waiting := map[int]bool{}
	for i := range finds {
		switch f := &finds[i]; {
		case f.err != nil || f.rec.Kind == tiers.Absent:
		case f.k.userCode:
			k, rec := f.k, f.rec
			waiting[i] = true
			s.m.work.Go(func() { v, err := s.m.decode(k, rec); apart <- decoded{i, v, err} })
		default:
			f.value, f.err = s.m.decode(f.k, f.rec)
		}
	}
	patience := time.NewTimer(decodeFor)
	defer patience.Stop()
	for len(waiting) > 0 {
		select {
		case d := <-apart:
			finds[d.i].value, finds[d.i].err = d.value, d.err
			delete(waiting, d.i)
		case <-patience.C:
			for i := range waiting {
				finds[i].err = fmt.Errorf("option %q: its decoder or Check did not return within %v", finds[i].k.name, decodeFor)
			}
			return finds
		}
	}
	return finds
}

// restore publishes f, stale, and reports whether it did: not if something is
// known already. With floor, an older record of a cache does not replace it.
func (k *key) restore(f find, floor bool) bool {
	facts := facts{key: k, kind: kindValue, origin: Snapshot, boxed: f.value, stamp: f.rec.Stamp, sum: sumOf(f.rec),
		got:  -1, // before this manager asked anybody: its source may correct it (P5)
		data: f.rec.Data, saved: true}
	if f.rec.Kind == tiers.Absent {
		facts.kind, facts.origin, facts.boxed, facts.absent = kindAbsent, Default, k.fallback, true
	}
	if floor {
		facts.seen = facts.stamp
	}
	k.stir() // to be read again, however young it is: a file is no answer
	top := k.cell.load()
	return top.tier().kind == kindUnloaded && k.publish(top, newMeta(facts, f.asked))
}

// shorten makes one error of the first few.
func shorten(errs []error) error {
	var texts []string
	for _, err := range errs[:min(len(errs), 5)] {
		texts = append(texts, strings.TrimPrefix(err.Error(), "fastopt: "))
	}
	if n := len(errs) - len(texts); n > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", n))
	}
	return errors.New(strings.Join(texts, "; "))
}
