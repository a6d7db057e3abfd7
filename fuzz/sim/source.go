package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// The source of one process: the database that its connections lead to, behind
// gates, and the right to lead, which the scheduler gives and takes.

const namespace = "sim"

var (
	errRefused = fmt.Errorf("%w: refused", tiers.ErrUnavailable)
	errSilent  = fmt.Errorf("%w: no answer", tiers.ErrUnavailable)
)

// all is the context of what nobody may cancel.
var all = context.Background()

// A source is the database as one process reaches it.
type source struct{ p *process }

// ask has the database of the process answer, if it may.
func (s source) ask(ctx context.Context, what string, names []string, answer func(db *database)) error {
	s.p.w.mu.Lock()
	db := s.p.server
	s.p.w.mu.Unlock()
	var err error
	_, failure := s.p.call(ctx, what, names, nil, func() {
		if err = s.p.ken.ask(db); err == nil {
			answer(db)
		}
	})
	return errors.Join(failure, err)
}

func (s source) Identity(ctx context.Context) (id tiers.Identity, err error) {
	// Who takes longer only wants to know whether the source is usable, or what to mark.
	end, _ := ctx.Deadline()
	compares := time.Until(end) <= sourceTimeout
	err = s.ask(ctx, "source identity", nil, func(db *database) { id = db.id })
	if err == nil && compares {
		s.p.identified()
	}
	return id, err
}

// Learn is tiers.Historian's.
func (s source) Learn(id tiers.Identity) {
	s.p.w.mu.Lock()
	defer s.p.w.mu.Unlock()
	s.p.ken.learn(id)
	s.p.w.count("learned")
}

func (s source) Load(ctx context.Context, _ string, ns []string) []tiers.Result {
	at := time.Now()
	rs := make([]tiers.Result, len(ns))
	what := relayed(ctx, "source load")
	s.p.asks(what, ns)
	err := s.ask(ctx, what, ns, func(db *database) {
		for i, name := range ns {
			rs[i].Record = db.load(name)
			rs[i].AsOf = at
			s.p.primaryLocked(name)
			s.p.askedLocked(name, at)
			s.p.readLocked(name, at)
		}
	})
	if err != nil {
		return failAll(ns, err)
	}
	if what == "source load" { // the relay puts what it learns into the mark, first
		s.p.told(rs[0].Stamp.Epoch, 0)
	}
	return rs
}

// relayed marks what the relay asks: its calls may take longer than a flight's.
func relayed(ctx context.Context, what string) string {
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > 500*time.Millisecond {
		return "relay " + what
	}
	return what
}

// Probe is tiers.Prober's.
func (s source) Probe(ctx context.Context, _ string) error {
	return s.ask(ctx, "source probe", nil, func(*database) {})
}

func (s source) Write(ctx context.Context, _ string, writes []tiers.Write) (stamp tiers.Stamp, err error) {
	p, w := s.p, s.p.w
	began, at := w.steps(), time.Now()
	ns := make([]string, len(writes))
	for i := range writes {
		ns[i] = writes[i].Name
	}
	w.mu.Lock()
	db := p.server
	w.mu.Unlock()
	apply := func() {
		if err = p.ken.ask(db); err != nil {
			err = &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
			return
		}
		if stamp, err = db.write(writes); err == nil {
			for _, write := range writes {
				p.committedLocked(stamp, write, began)
				p.askedLocked(write.Name, at)
				p.readLocked(write.Name, at)
			}
		}
	}
	w.mu.Lock()
	for _, write := range writes {
		w.judge.sent[string(write.Data)] = true
	}
	w.mu.Unlock()
	done, failure := p.call(ctx, "source write", ns, &lateCall{what: "source write", apply: apply}, apply)
	switch {
	case failure == nil && err == nil:
		p.told(stamp.Epoch, 0)
		return stamp, nil
	case failure == nil:
		return stamp, err
	case !done && errors.Is(failure, errRefused):
		return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.NotApplied, Err: failure}
	}
	return tiers.Stamp{}, &tiers.WriteError{Outcome: tiers.Unknown, Err: failure}
}

func (s source) Scan(ctx context.Context, _ string) iter.Seq2[tiers.Record, error] {
	return func(yield func(tiers.Record, error) bool) {
		at := time.Now()
		var rs []tiers.Record
		if err := s.ask(ctx, "source scan", nil, func(db *database) { rs = asOf(at, db.scan()) }); err != nil {
			yield(tiers.Record{}, err)
			return
		}
		for _, r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (s source) Changes(ctx context.Context, _ string, since tiers.Stamp) (c tiers.Changes, err error) {
	at := time.Now()
	err = s.ask(ctx, "source changes", nil, func(db *database) {
		c = db.changes(since)
		asOf(at, c.Records)
	})
	if err != nil {
		return tiers.Changes{}, err
	}
	return c, nil
}

// Watch wakes the relay when its database commits. What it says only saves time.
func (s source) Watch(ctx context.Context, _ string, sink func(tiers.Event)) error {
	if _, err := s.p.call(ctx, "source watch", nil, nil, func() {}); err != nil {
		return err
	}
	bell := make(chan struct{}, 1)
	s.p.w.mu.Lock()
	s.p.bell = bell
	s.p.w.mu.Unlock()
	sink(tiers.Event{Kind: tiers.Alive, Since: time.Now()})
	for {
		select {
		case <-bell:
			sink(tiers.Event{Kind: tiers.Changed, Name: names[0]})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ringLocked wakes who leads by leave of db.
func (w *world) ringLocked(db *database) {
	for _, p := range w.procs {
		if p.server == db && p.bell != nil {
			select {
			case p.bell <- struct{}{}:
			default:
			}
		}
	}
}

// A tenure is the right to lead, as its holder sees it: the server may have
// given it to another one already.
type tenure struct {
	p      *process
	db     *database
	cancel context.CancelFunc
}

// A candidate waits for the right. Guarded by world.mu.
type candidate struct {
	p     *process
	grant chan context.Context // cap 1
	t     *tenure              // written before the grant
}

// standBack is how long who gave the right up leaves it to others.
const standBack = time.Second

// Elect is tiers.Elector's.
func (s source) Elect(ctx context.Context, _ string, lead func(context.Context)) error {
	w := s.p.w
	for ctx.Err() == nil {
		c := &candidate{p: s.p, grant: make(chan context.Context, 1)}
		w.mu.Lock()
		if !s.p.ghost {
			w.candidates = append(w.candidates, c)
		}
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			w.mu.Lock()
			w.candidates = slices.DeleteFunc(w.candidates, func(o *candidate) bool { return o == c })
			w.mu.Unlock()
			return ctx.Err()
		case tenure := <-c.grant:
			tenure, cancel := context.WithCancel(tenure)
			stop := context.AfterFunc(ctx, cancel)
			lead(tenure)
			stop()
			resigned := tenure.Err() == nil
			cancel()
			w.leave(c.t)
			if resigned {
				w.mu.Lock()
				w.count("resigned")
				w.mu.Unlock()
			}
		}
		select {
		case <-time.After(standBack):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// leave gives a right up.
func (w *world) leave(t *tenure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.db.right == t {
		t.db.right = nil
	}
	w.lame = slices.DeleteFunc(w.lame, func(o *tenure) bool { return o == t })
}

// electable returns the candidates whose database gives the right to nobody.
func (w *world) electable() (can []*candidate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.candidates {
		if db := c.p.server; db.right == nil && !db.gone && !db.standby && !w.down["source"] && w.now() >= c.p.stopped {
			can = append(can, c)
		}
	}
	slices.SortStableFunc(can, func(a, b *candidate) int { return a.p.id - b.p.id })
	return can
}

// elect gives c the right of its database.
func (w *world) elect(c *candidate) {
	w.mu.Lock()
	ctx, cancel := context.WithCancel(all)
	c.t = &tenure{p: c.p, db: c.p.server, cancel: cancel}
	c.t.db.right = c.t
	w.candidates = slices.DeleteFunc(w.candidates, func(o *candidate) bool { return o == c })
	if len(w.lame) > 0 {
		w.count("two relays")
	}
	w.count("elected")
	w.mu.Unlock()
	c.grant <- ctx
	w.after("p%d leads", c.p.id)
}

// depose lets db give its right to others, which the holder learns later.
func (w *world) deposeLocked(db *database) {
	if db.right != nil {
		w.lame = append(w.lame, db.right)
		db.right = nil
	}
}

// unseat tells a holder that it has lost its right.
func (w *world) unseat(t *tenure) {
	w.mu.Lock()
	w.lame = slices.DeleteFunc(w.lame, func(o *tenure) bool { return o == t })
	w.mu.Unlock()
	t.cancel()
	w.after("p%d leads no more", t.p.id)
}

// labelOf names several options in the trace.
func labelOf(ns []string) string { return strings.Join(slices.Sorted(slices.Values(ns)), ",") }
