package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// A worker is one process of the fleet. It does what it is told on its standard
// input, several things at once, and ends with it.

// runWorker serves requests from in until it ends.
func runWorker(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	var s service
	var busy sync.WaitGroup
	defer s.close()
	defer busy.Wait()
	defer cancel()
	var mu sync.Mutex
	w := bufio.NewWriter(out)
	answer := func(r reply) error {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		w.Write(append(line, '\n'))
		return w.Flush()
	}
	lines := json.NewDecoder(in)
	for {
		var q request
		if err := lines.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		busy.Go(func() {
			r := reply{ID: q.ID}
			value, err := s.do(ctx, q)
			if err == nil {
				r.Out, err = json.Marshal(value)
			}
			if err != nil {
				r.Err = err.Error()
			}
			_ = answer(r) // nobody reads it any more: the end of in follows
		})
	}
}

// do carries out one request.
func (s *service) do(ctx context.Context, q request) (any, error) {
	switch q.Do {
	case "open":
		return done(q, func(a spec) (any, error) { return nil, s.open(ctx, a) })
	case "write":
		return done(q, func(a pace) (any, error) { return s.write(ctx, a) })
	case "arrivals":
		return s.takeArrivals(), nil
	case "await":
		return done(q, func(a wish) (any, error) { return s.await(ctx, a), nil })
	case "status":
		return s.status(), nil
	case "sync":
		return nil, s.managers[0].Sync(ctx)
	case "miss":
		return done(q, func(a miss) (any, error) { return s.miss(ctx, a), nil })
	case "die":
		return done(q, func(a death) (any, error) { return nil, s.die(a) })
	}
	return nil, fmt.Errorf("no such request: %s", q.Do)
}

func done[Args any](q request, f func(Args) (any, error)) (any, error) {
	var args Args
	if err := json.Unmarshal(q.Args, &args); err != nil {
		return nil, err
	}
	return f(args)
}
