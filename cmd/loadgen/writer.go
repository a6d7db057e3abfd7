package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fastopt/fastopt-go/fastopt"
	"github.com/fastopt/fastopt-go/tiers"
)

// Writers set and delete options and members of families, each key always by the
// same writer, through any process. A write of unknown outcome takes its key out
// of service until the truth is known (doubt.go).

// A writer is one goroutine.
type writer struct {
	run  *run
	rnd  *rand.Rand
	keys []*key        // its own
	gap  time.Duration // between two writes

	acked, refused, unknown int64
}

// One write in so many is a delete.
const deleteEvery = 8

func (w *writer) loop(ctx context.Context) {
	tick := time.NewTicker(w.gap)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C: // ticks that come during a slow write are lost
		}
		k := w.keys[w.rnd.IntN(len(w.keys))]
		if k.inDoubt.Load() {
			continue
		}
		w.write(k, w.run.writeFrom+w.rnd.IntN(len(w.run.slots)-w.run.writeFrom), w.rnd.IntN(deleteEvery) == 0 && k.isSet())
	}
}

// write makes one write of k through process i, and notes what became of it. If
// the process is gone none is made, which is as good as refused.
func (w *writer) write(k *key, i int, deleted bool) outcome {
	r := w.run
	p := r.hold(i)
	if p == nil {
		return refused
	}
	defer r.release(p)
	wr := k.issue(i, deleted, r.now())
	before := p.manager.Stats().SourceTier
	began := time.Now()
	if r.dawdles > 0 {
		pause(context.Background(), r.dawdles)
	}
	receipt, err := p.write(k, wr)
	took := time.Since(began)
	switch {
	case err == nil:
		w.acked++
		r.writes.Add(1)
		r.lastAck.Store(r.now())
		r.committed(k, wr, receipt.Stamp, receipt.Cached)
		p.board.cells[k.index].raise(newFloor(wr.number, deleted, byOwn))
		wr.outcome = acked
	case errors.Is(err, fastopt.ErrOutcomeUnknown):
		w.unknown++
		k.inDoubt.Store(true)
		k.settle(wr.number, unknown, tiers.Stamp{}, false, r.now())
		r.doubts.add(k, wr)
		wr.outcome = unknown
	default:
		w.refused++
		r.failed(k, wr)
		wr.outcome = refused
		if !errors.Is(err, fastopt.ErrUnavailable) {
			r.violate(mismatch, i, k, fmt.Sprintf("write %d failed for no reason a fault can give: %v", wr.number, err))
		}
	}
	if limit := writeLimit(before, p.manager.Stats().SourceTier, time.Duration(r.lag.recent())); took > limit {
		r.violate(tooSlow, i, k, fmt.Sprintf("write %d took %v, of %v that the tiers and this machine excuse", wr.number, took, limit))
	}
	return wr.outcome
}

// committed notes a commit that is known of now.
func (r *run) committed(k *key, w write, stamp tiers.Stamp, cached bool) {
	now := r.now()
	k.settle(w.number, acked, stamp, cached, now)
	r.dues.add(k, w, cached, now)
}

// failed notes a write that surely never happened.
func (r *run) failed(k *key, w write) {
	if k.settle(w.number, refused, tiers.Stamp{}, false, r.now()) {
		r.violate(failedWrite, w.process, k, fmt.Sprintf("write %d was read, and then failed", w.number))
	}
}

// write carries out w. Half of the writes of options go by name. It is not cut
// short by the end of the run: its own timeouts bound it.
func (p *process) write(k *key, w write) (fastopt.Receipt, error) {
	ctx := context.Background()
	by := fastopt.By("loadgen", "soak")
	switch {
	case k.class == member && w.deleted:
		return p.family.Delete(ctx, k.member, by)
	case k.class == member:
		return p.family.Set(ctx, k.member, w.value, by)
	case w.deleted && w.number%2 == 0:
		return p.manager.Delete(ctx, k.name, by)
	case w.deleted:
		return p.options[k.index].Delete(ctx, by)
	case w.number%2 == 0:
		return p.manager.Set(ctx, k.name, w.value, by)
	}
	return p.options[k.index].Set(ctx, w.value, by)
}
