package main

import (
	"context"
	"fmt"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/fastopt"
)

// What a worker tells of itself.

// look is the time between two looks at what is awaited: what it adds to a figure.
const look = time.Millisecond

// await waits until every manager reads what is wanted.
func (s *service) await(ctx context.Context, a wish) granted {
	limit := worker.Now() + a.Limit
	for {
		wrong := s.wrong(a)
		switch at := worker.Now(); {
		case wrong == "":
			return granted{At: at}
		case at > limit || ctx.Err() != nil:
			return granted{Wrong: wrong}
		}
		worker.Pause(ctx, look)
	}
}

// wrong says what is not as wished, "" if nothing.
func (s *service) wrong(a wish) string {
	for i, m := range s.managers {
		for _, u := range a.Want {
			if v := m.options[u.Option].Get(); v != u.Value {
				return fmt.Sprintf("manager %d reads %s = %d, not %d", i, option(u.Option), v, u.Value)
			}
		}
		if !a.Whole {
			continue
		}
		if err := m.Ready(); err != nil {
			return fmt.Sprintf("manager %d: %v", i, err)
		}
		if !m.Stats().PushesUp {
			return fmt.Sprintf("manager %d hears no pushes", i)
		}
		for _, o := range m.options {
			if r := o.Inspect(); r.State != fastopt.Fresh {
				return fmt.Sprintf("manager %d: %s is %v", i, o.Name(), r.State)
			}
		}
	}
	return ""
}

func (s *service) status() status {
	out := status{At: worker.Now(), CPU: processorTime(), Allocs: allocations()}
	for _, m := range s.managers {
		st := m.Stats()
		if st.Relay {
			out.Relays++
		}
		if !st.PushesUp {
			out.PushesDown++
		}
		out.Lost += st.PushesLost
		out.Pushes += st.Pushes
		out.Loads += st.SourceLoads
		out.Filled += st.Fills + st.RelayFills
		if err := m.Ready(); err != nil && out.Unready == "" {
			out.Unready = err.Error()
		}
	}
	return out
}

func processorTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func allocations() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// missLimit is how long a member that nobody has may take to be there.
const missLimit = 10 * time.Second

// miss loads one member of the family from many goroutines at one instant, and
// then, as a service would, again until it has the value.
func (s *service) miss(ctx context.Context, a miss) missed {
	member := s.managers[0].family
	var right atomic.Int64
	var all sync.WaitGroup
	for range a.Goroutines {
		all.Go(func() {
			worker.Pause(ctx, time.Duration(a.At-worker.Now()))
			if member.Load(ctx, a.Key).Value != -1 {
				right.Add(1)
			}
		})
	}
	all.Wait()
	m := missed{Right: int(right.Load()), Returned: worker.Now()}
	for m.Had == 0 && worker.Now() < a.At+int64(missLimit) && ctx.Err() == nil {
		if member.Load(ctx, a.Key).Value != -1 {
			m.Had = worker.Now()
		} else {
			worker.Pause(ctx, look)
		}
	}
	return m
}
