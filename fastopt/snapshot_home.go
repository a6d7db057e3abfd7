package fastopt

import (
	"context"
	"fmt"

	"github.com/fastopt/fastopt-go/tiers"
)

// Whose values a snapshot holds: its stamps count the commits of one database.
// Once a tier tells which one this process has, and it is another, or one that
// was set back, they are compared with nothing: the options are unloaded again.
// This comes before any answer of the source is judged, so that a high stamp of
// somewhere else outranks nothing.

// verify makes sure that what is in use of the file is of the source's database,
// or in use no more. It asks the source unless that is known already, and then
// waits for at most SourceTimeout. An error: the source did not tell, and no
// other answer of it may be used.
func (s *snapshots) verify(ctx context.Context) error {
	if s.sure.Load() || s.m.cfg.Source == nil {
		return nil
	}
	if _, err := s.askHome(ctx); err != nil {
		return fmt.Errorf("whose database it is, to compare with the snapshot's: %w", err)
	}
	return nil
}

// askHome asks the source who it is, and takes note of it.
func (s *snapshots) askHome(ctx context.Context) (tiers.Identity, error) {
	leave, err := s.m.source.enter()
	if err != nil {
		return tiers.Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.SourceTimeout)
	defer cancel()
	id, err := s.m.cfg.Source.Identity(ctx)
	if leave(err); err == nil {
		s.meet(id)
	}
	return id, err
}

// meet tells of the identity that the source gave.
func (s *snapshots) meet(id tiers.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := s.home
	s.home = id
	if !s.sure.Load() {
		s.settleLocked(sameHistory(file, id), id)
	}
}

// meetMark tells of the identity that the cache's mark names. Beside a source
// it says but of which lineage the cache is.
func (s *snapshots) meetMark(id tiers.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alone := s.m.cfg.Source == nil
	same := sameHistory(s.home, id) || !alone && s.home.Lineage == id.Lineage
	switch {
	case s.sure.Load():
		if alone || s.home == (tiers.Identity{}) {
			s.home = id
		}
	case !same || alone:
		s.home = id
		s.settleLocked(same, id)
	}
}

// sameHistory reports whether stamps of a file of one database may be compared
// with those of another: it is the same installation, and was not set back to
// an earlier history from which it went on otherwise. A former primary, of a
// lower epoch and timeline, is of the same history: it is behind.
func sameHistory(file, now tiers.Identity) bool {
	return file.Lineage == now.Lineage && file.System == now.System && file.Database == now.Database &&
		(now.Epoch > file.Epoch || now.Timeline <= file.Timeline)
}

// settleLocked ends the doubt. Who finds it ended finds nothing left of another
// database.
func (s *snapshots) settleLocked(same bool, id tiers.Identity) {
	if !same {
		for _, k := range s.m.keys {
			k.forgetSaved()
		}
		s.refuse(fmt.Errorf("it is of another database, or of one that was restored since (here lineage %.8s, system %s, timeline %d, epoch %d)",
			id.Lineage, id.System, id.Timeline, id.Epoch))
	}
	s.sure.Store(true)
}

// forgetSaved makes k unloaded if what it has is the file's.
func (k *key) forgetSaved() {
	for {
		top := k.cell.load()
		cur := top.tier()
		if cur.key != k || !cur.saved || k.publish(top, newMeta(facts{key: k, boxed: k.fallback}, dead)) {
			return
		}
	}
}

// homeOf returns the identity to be written beside stamps of epoch, zero if it
// is not known. It asks the source if that has begun another history, or was not
// asked yet.
func (s *snapshots) homeOf(ctx context.Context, epoch uint32) tiers.Identity {
	s.mu.Lock()
	home := s.home
	s.mu.Unlock()
	if s.m.cfg.Source == nil || s.m.source.down.Load() || home.Lineage != "" && home.Epoch >= epoch {
		return home
	}
	if id, err := s.askHome(ctx); err == nil {
		return id
	}
	return home
}
