package main

import "time"

// The history of a key is pruned, or a long soak would not fit into memory: what
// was decided more than pruneAge ago and is not among the last few is dropped,
// but for its number and whether it was refused. Nobody may read anything that
// old, except from a snapshot.

const (
	pruneAge  = 2 * time.Minute
	pruneKeep = 64
	pruneStep = 64 // so that it costs little
)

// pruneLocked drops what is old. The newest commit stays, and so does all behind
// a write that is not decided.
func (k *key) pruneLocked(now int64) {
	if len(k.writes) < pruneKeep+pruneStep {
		return
	}
	n, newest := 0, 0
	for i, w := range k.writes {
		if w.outcome == acked {
			newest = i
		}
	}
	for n < min(newest, len(k.writes)-pruneKeep) {
		w := &k.writes[n]
		if w.outcome == pending || w.outcome == unknown || now-w.end < int64(pruneAge) {
			break
		}
		if w.outcome == refused {
			if k.lost == nil {
				k.lost = map[uint32]bool{}
			}
			k.lost[w.number] = true
		}
		n++
	}
	if n < pruneStep {
		return
	}
	k.writes = append(make([]write, 0, 2*(len(k.writes)-n)), k.writes[n:]...)
	k.pruned += uint32(n)
}

// prunedLocked is what is left of write n.
func (k *key) prunedLocked(n uint32) write {
	w := write{number: n, outcome: acked, pruned: true}
	if k.lost[n] {
		w.outcome = refused
	}
	return w
}
