package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// A worker does what it is told on its standard input, several things at once,
// and ends with it: one JSON object a line, requests on standard input, replies on
// standard output, in any order.

// A Request is what a worker is asked to do.
type Request struct {
	ID   int
	Do   string
	Args json.RawMessage
}

type reply struct {
	ID  int
	Err string `json:",omitempty"`
	Out json.RawMessage
}

// Serve lets do carry out the requests of in, each on a goroutine of its own,
// until in ends. Then it ends the context of do and waits for all of them.
func Serve(in io.Reader, out io.Writer, do func(context.Context, Request) (any, error)) error {
	ctx, cancel := context.WithCancel(context.Background())
	var busy sync.WaitGroup
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
		var q Request
		if err := lines.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		busy.Go(func() {
			r := reply{ID: q.ID}
			value, err := do(ctx, q)
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

// Do carries out q by f, whose arguments it carries.
func Do[Args any](q Request, f func(Args) (any, error)) (any, error) {
	var args Args
	if err := json.Unmarshal(q.Args, &args); err != nil {
		return nil, err
	}
	return f(args)
}

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
