package postgres

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// What counts as an answer, and who may step the epoch, both as tables; and what
// is said where neither helps.

// ours is a history as it is accepted.
var ours = history{epoch: 3, mine: true, system: 1, timeline: 2, database: 1, lineage: "l"}

// but returns ours with changes.
func but(change func(*history)) history {
	h := ours
	change(&h)
	return h
}

func TestWhatCountsAsAnAnswer(t *testing.T) {
	for _, c := range []struct {
		what      string
		contested bool
		answer    history
		want      error
	}{
		{"the known history", false, ours, nil},
		{"a later one", false, but(func(h *history) { h.epoch, h.timeline = 4, 9 }), nil},
		{"a later one of another installation", false, but(func(h *history) { h.epoch, h.system = 4, 9 }), nil},
		{"a standby", false, but(func(h *history) { h.mine, h.recovering = false, true }), errHistory},
		{"a standby of another lineage", false, but(func(h *history) { h.mine, h.recovering, h.lineage = false, true, "k" }), errHistory},
		{"not mine", false, but(func(h *history) { h.mine = false }), errHistory},
		{"not mine, of a higher epoch", false, but(func(h *history) { h.mine, h.epoch = false, 4 }), errHistory},
		{"an earlier one", false, but(func(h *history) { h.epoch = 2 }), errHistory},
		{"the same epoch of an earlier timeline", false, but(func(h *history) { h.timeline = 1 }), errHistory},
		{"the same epoch of a later timeline", false, but(func(h *history) { h.timeline = 3 }), errHistory},
		{"the same epoch of another system", false, but(func(h *history) { h.system = 9 }), errHistory},
		{"the same epoch of another database", false, but(func(h *history) { h.database = 9 }), errHistory},
		{"the known epoch, contested", true, ours, errHistory},
		{"above the contested epoch", true, but(func(h *history) { h.epoch = 4 }), nil},
		{"another lineage", false, but(func(h *history) { h.lineage = "k" }), errLineage},
		{"another lineage of a higher epoch", false, but(func(h *history) { h.lineage, h.epoch = "k", 9 }), errLineage},
		{"another lineage, not mine", false, but(func(h *history) { h.lineage, h.mine = "k", false }), errLineage},
	} {
		var l lastHistory
		must(t, l.accept(ours))
		l.known.contested = c.contested
		if err := l.accept(c.answer); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if c.want != nil && l.get().history != ours {
			t.Errorf("%s: a refused answer changed what is known", c.what)
		}
	}
}

// actual is who answers c.
func actual(t *testing.T, c *pgx.Conn) (h history) {
	t.Helper()
	must(t, c.QueryRow(t.Context(), `SELECT a.system_identifier, a.timeline, a.database, e.lineage::text FROM fastopt.actual a, fastopt.epoch e`).
		Scan(&h.system, &h.timeline, &h.database, &h.lineage))
	return h
}

// R26, R28: who is later steps above all that is known, who was left behind never does.
func TestWhoMayStepTheEpoch(t *testing.T) {
	url := migrated(t)
	c := psql(t, url)
	const ( // what is known, relative to who answers; the recorded epoch is 5
		none = 1 << iota
		otherLineage
		otherSystem
		otherDatabase
		earlier
		later
		contested
		abandoned
		quiet
		notMine // of the recorded row
	)
	for _, k := range []struct {
		what  string
		epoch int64 // known
		flags int
		steps bool
	}{
		{"nothing known", 0, none, false},
		{"nothing known, not mine", 0, none | notMine, true},
		{"itself", 5, 0, false},
		{"itself, quiet", 5, quiet, false},
		{"itself, not mine", 5, notMine, true},
		{"itself, not mine, of an older dump", 7, notMine, true},
		{"its older epoch", 4, 0, false},
		{"its older epoch, not mine", 4, notMine, true},
		{"itself, contested", 5, contested, true},
		{"another lineage, not mine", 5, otherLineage | notMine, false},
		{"another lineage, not mine, abandoned", 5, otherLineage | otherSystem | notMine | abandoned | quiet, false},
		// Timelines of one installation.
		{"zombie: a higher epoch of this timeline", 7, 0, false},
		{"zombie: a higher epoch of a later timeline", 7, later, false},
		{"zombie: the same epoch of a later timeline", 5, later, false},
		{"zombie that was contested", 5, later | contested, false},
		{"zombie, though its successor is quiet", 7, later | quiet, false},
		{"zombie of the same epoch, though its successor is quiet", 5, later | quiet, false},
		{"zombie that was contested and quiet", 5, later | contested | quiet, false},
		{"successor: a higher epoch of an earlier timeline", 7, earlier, true},
		{"successor: the same epoch of an earlier timeline", 5, earlier, true},
		{"successor that stepped: a lower epoch of an earlier timeline", 4, earlier, false},
		{"successor, not mine", 5, earlier | notMine, true},
		{"restored to before the promotion", 5, later | notMine, false},
		{"restored to before the promotion, which is quiet", 5, later | notMine | quiet, true},
		{"restored to before the promotion, with a lower epoch", 7, later | notMine | quiet, true},
		// Other installations.
		{"copy, not mine", 5, otherSystem | notMine, false},
		{"copy, not mine, of a higher epoch", 4, otherSystem | notMine, false},
		{"copy, not mine; the original is quiet", 5, otherSystem | notMine | quiet, true},
		{"copy, not mine; the original is abandoned", 5, otherSystem | notMine | abandoned, true},
		{"copy: a higher epoch elsewhere", 7, otherSystem, false},
		{"copy: the same epoch elsewhere", 5, otherSystem, false},
		{"copy of a later timeline", 7, otherSystem | earlier, false},
		{"copy: a higher epoch elsewhere, quiet", 7, otherSystem | quiet, true},
		{"copy: the same epoch elsewhere, quiet", 5, otherSystem | quiet, true},
		{"copy: a higher epoch elsewhere, abandoned", 7, otherSystem | abandoned, true},
		{"copy: the same epoch elsewhere, abandoned", 5, otherSystem | later | abandoned, true},
		{"copy that stepped: a lower epoch elsewhere, quiet", 4, otherSystem | quiet, false},
		{"another database: the same epoch", 5, otherDatabase, false},
		{"another database: the same epoch, quiet", 5, otherDatabase | quiet, true},
		{"another database: a higher epoch, of an earlier timeline", 7, otherDatabase | earlier, false},
	} {
		has := func(flag int) int64 {
			if k.flags&flag != 0 {
				return 1
			}
			return 0
		}
		exec(t, c, `UPDATE fastopt.epoch e SET epoch = 5, system_identifier = a.system_identifier, database = a.database, timeline = a.timeline + $1 FROM fastopt.actual a`, 10*has(notMine))
		here := actual(t, c)
		seen := known{history: here, contested: has(contested) == 1, abandoned: has(abandoned) == 1, confirmed: time.Now()}
		seen.epoch = k.epoch
		seen.system += has(otherSystem)
		seen.database += has(otherDatabase)
		seen.timeline += has(later) - has(earlier)
		if has(otherLineage) == 1 {
			seen.lineage = "00000000-0000-0000-0000-000000000000"
		}
		if has(quiet) == 1 {
			seen.confirmed = time.Now().Add(-abandonedAfter)
		}
		if has(none) == 1 {
			seen = known{}
		}
		_, err := stepEpochOn(t.Context(), c, seen)
		must(t, err)
		var epoch int64
		var mine bool
		must(t, c.QueryRow(t.Context(), `SELECT epoch, mine FROM fastopt.here`).Scan(&epoch, &mine))
		want := int64(5)
		if k.steps {
			want = max(5, k.epoch) + 1
		}
		if epoch != want || mine != (k.steps || has(notMine) == 0) {
			t.Errorf("%s: epoch %d, mine %v; want epoch %d", k.what, epoch, mine, want)
		}
	}
}

// Who asks why nothing is answered is not told of a restore.
func TestAStandbyIsCalledOne(t *testing.T) {
	var l lastHistory
	if err := l.accept(history{epoch: 1, recovering: true}); !errors.Is(err, errHistory) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("a standby: %v", err)
	}
}

func TestWhatIsLearned(t *testing.T) {
	id := ours.identity()
	with := func(change func(*tiers.Identity)) tiers.Identity {
		id := id
		change(&id)
		return id
	}
	old := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		what string
		id   tiers.Identity
		want known // confirmed: old, or else now
	}{
		{"what is known", id, known{history: ours}},
		{"an older epoch of it", with(func(id *tiers.Identity) { id.Epoch, id.Timeline = 2, 1 }), known{history: ours}},
		{"a higher epoch", with(func(id *tiers.Identity) { id.Epoch, id.Timeline = 8, 4 }),
			known{history: history{epoch: 8, system: 1, timeline: 4, database: 1, lineage: "l"}}},
		{"the same epoch of a later timeline", with(func(id *tiers.Identity) { id.Timeline = 4 }),
			known{history: but(func(h *history) { h.timeline = 4 }), contested: true}},
		{"the same epoch of an earlier timeline", with(func(id *tiers.Identity) { id.Timeline = 1 }), known{history: ours, contested: true}},
		{"a higher epoch of another system", with(func(id *tiers.Identity) { id.Epoch, id.System = 8, "-9" }),
			known{history: history{epoch: 8, system: -9, timeline: 2, database: 1, lineage: "l"}, abandoned: true}},
		{"a higher epoch of another database", with(func(id *tiers.Identity) { id.Epoch, id.Database = 8, "9" }),
			known{history: history{epoch: 8, system: 1, timeline: 2, database: 9, lineage: "l"}, abandoned: true}},
		{"the same epoch of another system", with(func(id *tiers.Identity) { id.System = "9" }), known{history: ours, contested: true, confirmed: old}},
		{"an older epoch of another system", with(func(id *tiers.Identity) { id.Epoch, id.System = 2, "9" }), known{history: ours, confirmed: old}},
		{"another lineage", with(func(id *tiers.Identity) { id.Epoch, id.Lineage = 8, "k" }), known{history: ours, confirmed: old}},
		{"nothing", tiers.Identity{}, known{history: ours, confirmed: old}},
		{"no epoch", with(func(id *tiers.Identity) { id.Epoch = 0 }), known{history: ours, confirmed: old}},
		{"an epoch that none can follow", with(func(id *tiers.Identity) { id.Epoch = 1<<32 - 1 }), known{history: ours, confirmed: old}},
		{"no lineage", with(func(id *tiers.Identity) { id.Epoch, id.Lineage = 8, "" }), known{history: ours, confirmed: old}},
		{"a system that is no number", with(func(id *tiers.Identity) { id.Epoch, id.System = 8, "memory" }), known{history: ours, confirmed: old}},
		{"a database that is no number", with(func(id *tiers.Identity) { id.Epoch, id.Database = 8, "1 " }), known{history: ours, confirmed: old}},
	} {
		var s Source
		must(t, s.seen.accept(ours))
		s.seen.known.confirmed = old
		s.Learn(c.id)
		got := s.seen.get()
		if c.want.confirmed.IsZero() && time.Since(got.confirmed) < time.Minute {
			got.confirmed = time.Time{}
		}
		if got != c.want {
			t.Errorf("%s: known is %+v, want %+v", c.what, got, c.want)
		}
	}
}

// What is learned before the first answer counts if it is of that lineage.
func TestWhatIsLearnedBeforeTheFirstAnswer(t *testing.T) {
	id := ours.identity()
	id.Epoch = 8
	var same, other Source
	same.Learn(id)
	id.Lineage = "k"
	other.Learn(id)
	if err := same.seen.accept(ours); !errors.Is(err, errHistory) {
		t.Errorf("an answer of epoch 3 after 8 was learned: %v", err)
	}
	must(t, same.seen.accept(but(func(h *history) { h.epoch = 9 })))
	must(t, other.seen.accept(ours))
}

// A disk or a dump that was set back in place looks like the database that it
// was. It is refused where its epoch is seen to fall, and the error says what to run.
func TestADatabaseThatWasSetBack(t *testing.T) {
	url := migrated(t)
	s, c := open(t, url), psql(t, url)
	set(t, s, "a", "1")
	exec(t, c, `CREATE TABLE public.old AS SELECT * FROM fastopt.options; CREATE TABLE public.head AS SELECT * FROM fastopt.namespaces`, pgx.QueryExecModeSimpleProtocol)
	exec(t, c, `UPDATE fastopt.epoch SET epoch = 7`)
	set(t, s, "a", "2")
	newest := load(t, s, "a").Stamp
	h := listen(t, s, "app")
	exec(t, c, `BEGIN; SET LOCAL session_replication_role = replica;
		DELETE FROM fastopt.options; DELETE FROM fastopt.namespaces; UPDATE fastopt.epoch SET epoch = 1;
		INSERT INTO fastopt.options SELECT * FROM public.old; INSERT INTO fastopt.namespaces SELECT * FROM public.head; COMMIT`, pgx.QueryExecModeSimpleProtocol)
	err := s.Load(t.Context(), "app", []string{"a"})[0].Err
	if !errors.Is(err, tiers.ErrUnavailable) || err == nil {
		t.Fatalf("a database that was set back: %v", err)
	}
	_, remedy, found := strings.Cut(strings.TrimRight(err.Error(), ")"), "run ")
	if !found {
		t.Fatalf("no remedy in %v", err)
	}
	n := h.len()
	exec(t, c, remedy)
	if got := load(t, s, "a"); string(got.Data) != "1" || !got.Stamp.Newer(newest) {
		t.Errorf("after %s: %+v, want the old value with a stamp above %v", remedy, got, newest)
	}
	h.hears(t, tiers.Alive, "", n)
	exec(t, c, `UPDATE fastopt.epoch SET epoch = epoch + 1`) // what the documentation says for a fall that nobody saw
	h.hears(t, tiers.Lost, "", n)
	if got := load(t, s, "a"); string(got.Data) != "1" || got.Stamp.Epoch != 9 {
		t.Errorf("after another step: %+v", got)
	}
}
