// Package worker runs a program again as processes that it tells what to do.
package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A process is a worker as the command sees it. A worker is this program again,
// told so by its environment.

const env = "FASTOPT_BENCH_WORKER"

// ErrGone: the process of a call has ended.
var ErrGone = errors.New("the worker has ended")

// IsOne reports whether this process is a worker: its main then calls Serve.
func IsOne() bool { return os.Getenv(env) != "" }

// A Process is a worker that answers calls until it is killed.
type Process struct {
	Number int           // immutable; 1 and on within a fleet
	pid    int           // immutable
	ended  chan struct{} // closed when the process is gone and no reply will come

	write sync.Mutex
	stdin io.WriteCloser // guarded by write

	mu    sync.Mutex
	last  int                // guarded by mu; of the ids given
	calls map[int]chan reply // guarded by mu
}

// Start starts a worker, which ends with this process, at the latest.
func Start(number int) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = orphanless()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &Process{Number: number, ended: make(chan struct{}), stdin: stdin, calls: map[int]chan reply{}}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel takes the end of this thread for ours
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		p.listen(stdout)
		_ = cmd.Wait() // it was killed, or told to end: how it went does not matter
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	return p, nil
}

// listen hands each reply to whoever waits for it, until the worker ends.
func (p *Process) listen(stdout io.Reader) {
	in := json.NewDecoder(bufio.NewReaderSize(stdout, 1<<16))
	for {
		var r reply
		if in.Decode(&r) != nil {
			return
		}
		p.mu.Lock()
		wait := p.calls[r.ID]
		delete(p.calls, r.ID)
		p.mu.Unlock()
		if wait != nil {
			wait <- r
		}
	}
}

// Send asks a worker and waits for no answer.
func (p *Process) Send(do string, args any) error {
	_, _, err := p.send(do, args)
	return err
}

func (p *Process) send(do string, args any) (int, chan reply, error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return 0, nil, err
	}
	wait := make(chan reply, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	p.calls[id] = wait
	p.mu.Unlock()
	line, err := json.Marshal(Request{ID: id, Do: do, Args: raw})
	if err != nil {
		return 0, nil, err
	}
	p.write.Lock()
	defer p.write.Unlock()
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		return 0, nil, ErrGone
	}
	return id, wait, nil
}

// Call asks a worker and waits for its answer, for ctx, or for its end: ErrGone.
func Call[Out any](ctx context.Context, p *Process, do string, args any) (out Out, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("worker %d: %s: %w", p.Number, do, err)
		}
	}()
	id, wait, err := p.send(do, args)
	if err != nil {
		return out, err
	}
	select {
	case r := <-wait:
		if r.Err != "" {
			return out, errors.New(r.Err)
		}
		return out, json.Unmarshal(r.Out, &out)
	case <-p.ended:
		return out, ErrGone
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.calls, id)
		p.mu.Unlock()
		return out, ctx.Err()
	}
}

// Each calls all of ps at once. The first error is the error.
func Each[Out any](ctx context.Context, ps []*Process, do string, args any) ([]Out, error) {
	outs, errs := make([]Out, len(ps)), make([]error, len(ps))
	var all sync.WaitGroup
	for i, p := range ps {
		all.Go(func() { outs[i], errs[i] = Call[Out](ctx, p, do, args) })
	}
	all.Wait()
	return outs, errors.Join(errs...)
}

// Signal sends a signal to a worker that has not been reaped.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.ended:
		return fmt.Errorf("worker %d: %w", p.Number, ErrGone)
	default:
		return syscall.Kill(p.pid, s)
	}
}

// Kill ends a worker, frozen or not, and waits until it has ended.
func (p *Process) Kill() {
	if p.Signal(syscall.SIGKILL) == nil {
		<-p.ended
	}
}

// Stop lets a worker close what it has; one that does not is killed.
func (p *Process) Stop() {
	p.write.Lock()
	p.stdin.Close()
	p.write.Unlock()
	select {
	case <-p.ended:
	case <-time.After(8 * time.Second):
		p.Kill()
	}
}
