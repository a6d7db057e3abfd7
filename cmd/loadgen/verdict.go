package main

import "fmt"

// Is this read right? Nearly always it gives exactly what the floor is, and
// nothing else is asked (floor.holds). Everything else comes here.
//
// A read is judged by what was known when it began: its floor and the weather
// were looked up before. The weather is looked up once more after it. An excuse
// counts if it held at either time, a duty only if it held all the time.

// A kind is what a violation violates.
type kind uint8

const (
	invented     kind = iota // never written, or another key's (I1)
	tornValue                // bytes of no write (I1)
	failedWrite              // of a write that surely failed (I14)
	older                    // than what this process read before (I2)
	ownLost                  // than what this process wrote (I4)
	tooStale                 // newer was committed too long ago (I3)
	pastGrace                // a value, though no tier answered for TTL + grace (I3c)
	resurrected              // deleted before (I9)
	noReason                 // a default without a reason (I12)
	mismatch                 // a stamp, state or age that does not fit the value (I17)
	tooSlow                  // a Load or Set took longer than it may (I13, I15)
	notSpread                // a change did not reach a process within a second (I5b)
	notRecovered             // something was still wrong 2 s after a tier's return (I16, I20)
	lostWrite                // acknowledged, and not in the source at the end
	idleFault                // a fault that did nothing
	notClosed                // Close failed, or took too long (I24)
	overBudget               // more requests to the source than its budget allows (I8, I20)
	tooLoud                  // more lines of log than a change of state is worth
	wrongReady               // Ready did not say that a tier is out, or would not say that all is well
	notRestored              // a process began without what its snapshot holds (I22)
	kinds
)

var kindNames = [kinds]string{"invented", "torn", "failed write read", "older than before", "own write lost", "too stale",
	"past grace", "resurrected", "default without reason", "stamp mismatch", "too slow", "not spread",
	"not recovered", "write lost", "fault did nothing", "close failed",
	"over budget", "too many log lines", "ready is wrong", "snapshot not used"}

func (k kind) String() string { return kindNames[k] }

// A read is one value and what was known around it.
type read struct {
	value         string
	floor         floor  // before
	before, after *phase // the weather
	// relaxed: a family's Get, which may give a default while the member is
	// loaded, or any read of a process that has not loaded everything yet.
	relaxed bool
}

func (r *read) excused(c class) bool { return r.relaxed || r.before.may[c] || r.after.may[c] }

func (r *read) due(c class) bool { return r.before == r.after && r.before.must[c] }

// A finding is the opposite of a verdict that all is well.
type finding struct {
	kind kind
	text string
}

// judge finds what is wrong with a read of k, if anything, and lifts the cell's
// floor to what was read.
func (k *key) judge(c *cell, r read) *finding {
	n, f := openValue(r.value, k.hash)
	switch {
	case f == torn:
		return &finding{tornValue, fmt.Sprintf("read %q", r.value)}
	case f == foreign:
		return &finding{invented, fmt.Sprintf("read another key's value %q", r.value)}
	case r.floor.holds(n):
	case n == 0:
		return k.judgeDefault(c, r)
	default:
		if bad := k.judgeNumber(c, r, n); bad != nil {
			return bad
		}
	}
	if n != 0 && r.due(k.class) {
		return &finding{pastGrace, fmt.Sprintf("read %d, but no tier has answered for longer than TTL + grace", n)}
	}
	return nil
}

// judgeDefault: something else than the default was there before.
func (k *key) judgeDefault(c *cell, r read) *finding {
	if r.excused(k.class) {
		return nil
	}
	w, ok := k.readDelete(r.floor.number())
	if !ok && r.floor.cause() == bySnapshot {
		return &finding{notRestored, fmt.Sprintf("read the default; the snapshot has write %d", r.floor.number())}
	}
	if !ok {
		return &finding{noReason, fmt.Sprintf("read the default after write %d; it was not deleted since, and tiers answered", r.floor.number())}
	}
	c.raise(newFloor(w.number, true, bySeen))
	return nil
}

// judgeNumber: another write than the floor's.
func (k *key) judgeNumber(c *cell, r read, n uint32) *finding {
	if at := r.floor.number(); n <= at {
		kind := [...]kind{bySeen: older, byOwn: ownLost, byStale: tooStale, bySnapshot: notRestored}[r.floor.cause()]
		why := [...]string{bySeen: "was read here before", byOwn: "was written here before", byStale: "was committed long ago",
			bySnapshot: "was known here when the snapshot was written"}[r.floor.cause()]
		if r.floor.deleted() {
			kind, why = resurrected, "is a delete and "+why
		}
		if n == at {
			kind = invented
		}
		return &finding{kind, fmt.Sprintf("read %d, but %d %s", n, at, why)}
	}
	w, ok := k.read(n)
	switch {
	case !ok:
		return &finding{invented, fmt.Sprintf("read %d, which was never issued", n)}
	case w.value != r.value && !w.pruned:
		return &finding{invented, fmt.Sprintf("read %q for %d, written was %q", r.value, n, w.value)}
	case w.outcome == refused:
		return &finding{failedWrite, fmt.Sprintf("read %d, a write that surely failed", n)}
	}
	c.raise(newFloor(n, false, bySeen))
	return nil
}
