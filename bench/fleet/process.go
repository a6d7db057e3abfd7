package main

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

// A process is a worker as the command sees it: it answers calls until it is
// killed. A worker is this program again, told so by its environment.

const workerEnv = "FASTOPT_FLEET_WORKER"

var errGone = errors.New("the worker has ended")

type process struct {
	number int           // immutable; 1 and on within a fleet
	pid    int           // immutable
	ended  chan struct{} // closed when the process is gone and no reply will come

	write sync.Mutex
	stdin io.WriteCloser // guarded by write

	mu    sync.Mutex
	last  int                // guarded by mu; of the ids given
	calls map[int]chan reply // guarded by mu
}

// startProcess starts a worker, which ends with this process, at the latest.
func startProcess(number int) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
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
	p := &process{number: number, ended: make(chan struct{}), stdin: stdin, calls: map[int]chan reply{}}
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
func (p *process) listen(stdout io.Reader) {
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

func (p *process) send(do string, args any) (int, chan reply, error) {
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
	line, err := json.Marshal(request{ID: id, Do: do, Args: raw})
	if err != nil {
		return 0, nil, err
	}
	p.write.Lock()
	defer p.write.Unlock()
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		return 0, nil, errGone
	}
	return id, wait, nil
}

// call asks a worker and waits for its answer, for ctx, or for its end: errGone.
func call[Out any](ctx context.Context, p *process, do string, args any) (out Out, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("worker %d: %s: %w", p.number, do, err)
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
		return out, errGone
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.calls, id)
		p.mu.Unlock()
		return out, ctx.Err()
	}
}

// each calls all of ps at once. The first error is the error.
func each[Out any](ctx context.Context, ps []*process, do string, args any) ([]Out, error) {
	outs, errs := make([]Out, len(ps)), make([]error, len(ps))
	var all sync.WaitGroup
	for i, p := range ps {
		all.Go(func() { outs[i], errs[i] = call[Out](ctx, p, do, args) })
	}
	all.Wait()
	return outs, errors.Join(errs...)
}

// signal sends a signal to a worker that has not been reaped.
func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.ended:
		return fmt.Errorf("worker %d: %w", p.number, errGone)
	default:
		return syscall.Kill(p.pid, s)
	}
}

// kill ends a worker, frozen or not, and waits until it has ended.
func (p *process) kill() {
	if p.signal(syscall.SIGKILL) == nil {
		<-p.ended
	}
}

// stop lets a worker close what it has; one that does not is killed.
func (p *process) stop() {
	p.write.Lock()
	p.stdin.Close()
	p.write.Unlock()
	select {
	case <-p.ended:
	case <-time.After(8 * time.Second):
		p.kill()
	}
}
