package fastopt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// Feeding: the relay steps the mark once a second, after it has carried all it
// knew of into the cache, and so tells readers that the cache is not left alone.
// A new epoch goes into the mark before any record of it. What the relay finds
// in place of the mark it wrote tells what became of the cache: lost, set back,
// or another database's.

// feedEvery is the least time between two steps; a look at the history comes
// each second.
const feedEvery = 700 * time.Millisecond

// What the mark says, it says to every process: no reason to give the right up.
var (
	errMark       = fmt.Errorf("%w: the cache's mark", tiers.ErrUnavailable)
	errOtherCache = fmt.Errorf("%w is another database's", errMark)
	errLater      = fmt.Errorf("%w names a later history than the source", errMark)
	errMarkMoved  = fmt.Errorf("%w changed meanwhile", errMark)
	errUnmarked   = fmt.Errorf("%w does not name this history, of which nothing may be offered yet", errMark)
)

// A feeder is the relay's part in the mark. It belongs to the follower alone.
type feeder struct {
	r     *relay
	home  tiers.Identity // of the source, as of the epoch followed
	wrote tiers.Mark     // last; zero: none yet
	fedAt int64          // ns since Open
}

// feed steps the mark if it is time and the cache lacks nothing, and takes it
// over if it is not this history's. epoch is that of the source's last answer.
// nil: the cache is the source's, and says so.
func (f *feeder) feed(ctx context.Context, epoch uint32) error {
	s := &f.r.m.marks
	if s.marker == nil || f.home.Epoch == epoch && f.r.m.now()-f.fedAt < int64(feedEvery) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, max(relayLimit, f.r.m.cfg.CacheTimeout))
	defer cancel()
	if f.home.Epoch != epoch {
		home, err := f.r.m.cfg.Source.Identity(ctx)
		if err != nil {
			return err
		}
		f.home = home
	}
	if f.wrote.Identity == f.home && !f.r.owes() {
		switch done, err := f.put(ctx, f.wrote); {
		case err != nil || done:
			return err
		}
	}
	return f.claim(ctx)
}

// put replaces old by the next step of this history's mark.
func (f *feeder) put(ctx context.Context, old tiers.Mark) (done bool, err error) {
	m := f.r.m
	next := tiers.Mark{Identity: f.home, Fed: max(old.Fed, f.wrote.Fed) + 1}
	start := m.now()
	done, err = m.marks.marker.PutMark(ctx, m.cfg.Namespace, old, next)
	if err != nil || !done {
		return false, err
	}
	f.wrote, f.fedAt = next, start
	m.marks.wrote(ctx, next, start)
	return true, nil
}

// claim looks at what stands in the mark's place, and puts this history's there
// if it may.
func (f *feeder) claim(ctx context.Context) error {
	m := f.r.m
	start := m.now()
	mark, err := m.marks.found(ctx, f.home)
	if err != nil {
		return err
	}
	intact := mark.Identity == f.home && mark.Fed >= f.wrote.Fed
	lost := !intact && f.wrote.Identity == f.home // else whoever changed the history wants a pass already
	if err := f.mayTake(ctx, mark, start); err != nil {
		return err
	}
	if intact && f.r.owes() { // it says what is true, and steps once the pass is complete
		f.wrote, f.fedAt = mark, m.now()
		ring(m.marks.kick) // what may be offered until then depends on it
		return nil
	}
	switch done, err := f.put(ctx, mark); {
	case err != nil:
		return err
	case !done:
		return errMarkMoved
	}
	if lost {
		f.r.resync()
	}
	return nil
}

// found reads the mark, zero for none, and notes the epoch that it names if it is
// of home's installation: until another is there, nothing of other histories may be
// offered, which whoever puts it there may fail to do.
func (s *marks) found(ctx context.Context, home tiers.Identity) (tiers.Mark, error) {
	select {
	case s.one <- struct{}{}:
	case <-ctx.Done():
		return tiers.Mark{}, ctx.Err()
	}
	defer func() { <-s.one }()
	mark, err := s.read(ctx)
	switch {
	case errors.Is(err, tiers.ErrMiss):
		return tiers.Mark{}, nil
	case err != nil:
		return tiers.Mark{}, err
	}
	if standing := standingOf(mark.Identity, home); standing != foreign && standing != copied {
		s.marked.Store(mark.Epoch)
	}
	return mark, nil
}

// mayTake reports why the mark, asked for at start, which may be zero for none, is
// not to be replaced by this source's; nil: it may.
func (f *feeder) mayTake(ctx context.Context, mark tiers.Mark, start int64) error {
	m := f.r.m
	if mark == (tiers.Mark{}) {
		if m.marks.refused() == nil || m.marks.abandoned(ctx, mark, start) {
			return nil
		}
		return errOtherCache // it was another's a moment ago
	}
	switch standingOf(mark.Identity, f.home) {
	case foreign:
		return errOtherCache
	case copied:
		if !m.marks.abandoned(ctx, mark, start) {
			return errOtherCache
		}
		if f.home.Epoch <= mark.Epoch { // asked for its identity again, it will have stepped
			f.learn(mark.Identity)
			f.home = tiers.Identity{}
			return errLater
		}
	case newer:
		f.learn(mark.Identity)
		f.home = tiers.Identity{}
		return errLater
	}
	return nil
}

func (f *feeder) learn(id tiers.Identity) {
	if h, ok := f.r.m.cfg.Source.(tiers.Historian); ok {
		h.Learn(id)
	}
}

// wrote notes the mark that this process has put there.
func (s *marks) wrote(ctx context.Context, mark tiers.Mark, at int64) {
	select {
	case s.one <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-s.one }()
	s.last, s.home, s.owner = mark, mark.Identity, mark.Identity
	s.movedAt.Store(at)
	s.marked.Store(mark.Epoch)
	s.checked.Store(true)
	s.raise(mark.Epoch)
	s.admit()
}
