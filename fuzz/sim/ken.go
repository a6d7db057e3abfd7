package sim

import (
	"fmt"

	"github.com/fastopt/fastopt-go/tiers"
)

// Ken: what the source of one process knows of histories, and which answers
// count by it. This is the part of tiers/postgres on which the library relies.

var errHistory = fmt.Errorf("%w: not the primary of the newest history known", tiers.ErrUnavailable)

// A ken is the history of the highest epoch that was answered or learned.
type ken struct {
	id        tiers.Identity // zero: none
	contested bool           // several histories claim its epoch
	over      bool           // it is another installation's, and abandoned
	home      tiers.Identity // answered last; zero: nothing was
}

// ask lets db answer, after a step of its epoch if need be, or returns why its
// answer is none.
func (k *ken) ask(db *database) error {
	switch {
	case db.gone:
		return errRefused
	case db.standby:
		return fmt.Errorf("%w: a standby", errHistory)
	}
	if k.refuses(db) && k.maySucceed(db) {
		db.step(k.id.Epoch)
	}
	if k.refuses(db) {
		return errHistory
	}
	*k = ken{id: db.id, home: db.id}
	return nil
}

func (k *ken) refuses(db *database) bool {
	return !db.recordedIsActual() || db.id.Epoch < k.id.Epoch || db.id.Epoch == k.id.Epoch && (k.contested || db.id != k.id)
}

// maySucceed reports whether db may begin a history above the one known.
func (k *ken) maySucceed(db *database) bool {
	switch {
	case k.id == tiers.Identity{}:
		return true
	case !sameInstallation(k.id, db.actual):
		return k.over
	case db.actual.Timeline == k.id.Timeline:
		return k.contested || !db.recordedIsActual()
	}
	return db.actual.Timeline > k.id.Timeline // else a zombie
}

// learn is tiers.Historian's.
func (k *ken) learn(id tiers.Identity) {
	answered := k.home != tiers.Identity{}
	if answered && id.Lineage != k.home.Lineage {
		return
	}
	switch {
	case k.id == tiers.Identity{}, id.Epoch > k.id.Epoch:
		k.id, k.contested, k.over = id, false, answered && !sameInstallation(id, k.home)
	case id.Epoch == k.id.Epoch && id != k.id:
		k.contested = true
		if sameInstallation(id, k.id) {
			k.id.Timeline = max(k.id.Timeline, id.Timeline)
		}
	}
}
