// Package faults wraps tiers so that a test, the simulator or the load
// generator can order what goes wrong with them: errors, calls that hang,
// delays, lost acknowledgements, a cut or silent watch channel. A Proxy does the
// like to TCP connections, for tests of the stores and clients themselves.
//
// A healthy wrapper passes each call on and counts it; it takes no lock.
// Bites tells how often an order took effect, so that whoever ordered a fault
// can prove that it was met. All methods are safe for concurrent use. Channels
// are made by the wrapper, so a wrapper used in a synctest bubble is made there.
package faults

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// An Op is a method of a tier.
type Op uint8

const (
	Identity Op = iota
	Load
	Write
	Scan
	Changes
	Fill
	Lease
	Watch
	Elect
	Mark
	PutMark
	Probe
	numOps
)

var opNames = [numOps]string{"identity", "load", "write", "scan", "changes", "fill", "lease", "watch", "elect", "mark", "put mark", "probe"}

func (o Op) String() string {
	if o < numOps {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// A Fault says what befalls each call of one Op while it is ordered. Its parts
// add up, in the order of the fields. The zero Fault changes nothing.
type Fault struct {
	// Delay passes before the call. A call whose context ends meanwhile was
	// never made: ErrUnavailable, and NotApplied for a write.
	Delay time.Duration

	// Err is answered instead of making the call. For a write it becomes the
	// cause of WriteError{NotApplied}, unless it is a *tiers.WriteError itself.
	Err error

	// Lost: the call is made and its answer is lost: ErrUnavailable, and
	// Unknown for a write. Watch has no answer to lose.
	Lost bool

	// Hang: no answer until the context ends, then as if it were lost. The
	// call is not made, unless Lost is set, too.
	Hang bool
}

func (f Fault) idle() bool { return f.Delay <= 0 && f.Err == nil && !f.Lost && !f.Hang }

// errSilent marks a failure after which the caller cannot know whether the
// call was carried out.
var errSilent = fmt.Errorf("%w: injected: no answer", tiers.ErrUnavailable)

// orders holds the standing fault and the counters of each operation of a
// wrapper.
type orders struct {
	ops [numOps]struct {
		fault atomic.Pointer[Fault] // nil: healthy
		calls atomic.Int64
		names atomic.Int64
		bites atomic.Int64
	}
}

// Inject orders f for every later call of op, in place of what was ordered
// before. Calls that are under way go on as they began.
func (o *orders) Inject(op Op, f Fault) {
	if f.idle() {
		o.ops[op].fault.Store(nil)
		return
	}
	o.ops[op].fault.Store(&f)
}

// Heal ends the faults of ops, of all operations if none is named. It does not
// reconnect a watch channel, and calls that hang go on until their context ends.
func (o *orders) Heal(ops ...Op) {
	if len(ops) == 0 {
		for op := range numOps {
			o.ops[op].fault.Store(nil)
		}
	}
	for _, op := range ops {
		o.ops[op].fault.Store(nil)
	}
}

// Calls returns how many calls of op have arrived.
func (o *orders) Calls(op Op) int64 { return o.ops[op].calls.Load() }

// Names returns how many names, writes or fills the calls of op have carried.
func (o *orders) Names(op Op) int64 { return o.ops[op].names.Load() }

// Bites returns how many calls of op have met a fault, counted when they meet
// it. For Watch it also counts each channel cut or frozen and each event dropped.
func (o *orders) Bites(op Op) int64 { return o.ops[op].bites.Load() }

// meet counts a call of op with n names and does what is ordered before it is
// made. With an error the call must not be made.
func (o *orders) meet(ctx context.Context, op Op, n int) (*Fault, error) {
	c := &o.ops[op]
	c.calls.Add(1)
	c.names.Add(int64(n))
	f := c.fault.Load()
	if f == nil {
		return nil, nil
	}
	c.bites.Add(1)
	if err := pause(ctx, f.Delay); err != nil {
		return f, err
	}
	if f.Err != nil {
		return f, f.Err
	}
	if f.Hang && !f.Lost {
		return f, silence(ctx)
	}
	return f, nil
}

// answer does what is ordered after the call was made: with an error its
// answer must not reach the caller.
func (f *Fault) answer(ctx context.Context) error {
	switch {
	case f == nil || !f.Lost:
		return nil
	case f.Hang:
		return silence(ctx)
	}
	return errSilent
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: injected delay: %w", tiers.ErrUnavailable, context.Cause(ctx))
	}
}

func silence(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("%w: %w", errSilent, context.Cause(ctx))
}

// writeError classes err, which meet or answer gave for a write.
func writeError(err error) error {
	if _, ok := errors.AsType[*tiers.WriteError](err); ok {
		return err
	}
	if errors.Is(err, errSilent) {
		return &tiers.WriteError{Outcome: tiers.Unknown, Err: err}
	}
	return &tiers.WriteError{Outcome: tiers.NotApplied, Err: err}
}

// failAll gives err as the outcome of every name.
func failAll(names []string, err error) []tiers.Result {
	rs := make([]tiers.Result, len(names))
	for i, name := range names {
		rs[i] = tiers.Result{Record: tiers.Record{Name: name}, Err: err}
	}
	return rs
}
