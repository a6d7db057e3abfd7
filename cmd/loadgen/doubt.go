package main

import (
	"context"
	"sync"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// A write of unknown outcome may still be applied, say when a frozen server goes
// on. Until that is decided its key gets no other write, or the order of numbers
// would not be the order of commits. It is decided by the source itself, by a
// way of the generator's own that no fault of a wrapper touches: asked again and
// again until it answers, and once more a while later, as what the server had
// received before may be worked off after the first answer.

const (
	doubtEvery   = 50 * time.Millisecond
	doubtTimeout = 250 * time.Millisecond
)

// A doubt is one such write.
type doubt struct {
	key      *key
	write    write
	answered int64 // when the source answered first, ns since the run began; 0: not yet
}

type doubts struct {
	mu   sync.Mutex
	list []*doubt // guarded by mu
}

func (ds *doubts) add(k *key, w write) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.list = append(ds.list, &doubt{key: k, write: w})
}

func (ds *doubts) all() []*doubt {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return append([]*doubt(nil), ds.list...)
}

// strike takes d off the list.
func (ds *doubts) strike(d *doubt) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for i, have := range ds.list {
		if have == d {
			ds.list = append(ds.list[:i], ds.list[i+1:]...)
			return
		}
	}
}

// doubtLoop decides doubts as they come.
func (r *run) doubtLoop(ctx context.Context) {
	for ctx.Err() == nil {
		list := r.doubts.all()
		for len(list) > 0 && ctx.Err() == nil {
			n := min(len(list), tiers.MaxBatch)
			r.resolve(ctx, list[:n])
			list = list[n:]
		}
		pause(ctx, doubtEvery)
	}
}

func (r *run) resolve(ctx context.Context, list []*doubt) {
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.key.name // one doubt a key: no duplicates
	}
	ctx, cancel := context.WithTimeout(ctx, doubtTimeout)
	defer cancel()
	for i, res := range r.stores.truth().Load(ctx, namespace, names) {
		d := list[i]
		switch now := r.now(); {
		case res.Err != nil:
		case d.answered == 0:
			d.answered = now
		case now-d.answered >= int64(r.stores.settle()):
			r.decide(d, res.Record)
		}
	}
}

// decide notes what the source says of d.
func (r *run) decide(d *doubt, rec tiers.Record) {
	applied := rec.Kind == tiers.Absent
	if !d.write.deleted {
		applied = rec.Kind == tiers.Value && string(rec.Data) == `"`+d.write.value+`"`
	}
	if applied {
		stamp := rec.Stamp
		if rec.NoRow {
			stamp = tiers.Stamp{} // of the question, not of the delete
		}
		r.committed(d.key, d.write, stamp, false)
	} else {
		r.failed(d.key, d.write)
	}
	r.doubts.strike(d)
	d.key.inDoubt.Store(false)
}
