package main

import (
	"context"
	"fmt"
	"io"

	"github.com/fastopt/fastopt-go/bench/internal/worker"
)

// A worker is one process of the fleet, and runs a service.

// runWorker serves requests from in until it ends.
func runWorker(in io.Reader, out io.Writer) error {
	var s service
	defer s.close()
	return worker.Serve(in, out, s.do)
}

// do carries out one request.
func (s *service) do(ctx context.Context, q worker.Request) (any, error) {
	switch q.Do {
	case "open":
		return worker.Do(q, func(a spec) (any, error) { return nil, s.open(ctx, a) })
	case "write":
		return worker.Do(q, func(a pace) (any, error) { return s.write(ctx, a) })
	case "arrivals":
		return s.takeArrivals(), nil
	case "await":
		return worker.Do(q, func(a wish) (any, error) { return s.await(ctx, a), nil })
	case "status":
		return s.status(), nil
	case "sync":
		return nil, s.managers[0].Sync(ctx)
	case "miss":
		return worker.Do(q, func(a miss) (any, error) { return s.miss(ctx, a), nil })
	case "die":
		return worker.Do(q, func(a death) (any, error) { return nil, s.die(a) })
	}
	return nil, fmt.Errorf("no such request: %s", q.Do)
}
