//go:build unix

// A server is what Redis and Postgres have in common: a folder, a guard, a port
// and, most of the time, a process. It is started, frozen, killed and started
// again on the same port.

package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A kind says how one program is run and when it is ready.
type kind struct {
	name    string
	program string
	prepare func(data string, port int) error // before each start; nil: nothing to do
	args    func(data string, port int) []string
	account *account
	quit    syscall.Signal                              // asks for a quick and orderly end
	ready   func(pid int, data string, log string) bool // log: what this run has printed
}

type server struct {
	kind  kind   // immutable
	dir   string // immutable
	guard *guard // immutable

	port int // immutable once newServer has returned

	mu      sync.Mutex // held for as long as a start or a stop takes
	run     *process   // nil before the first start
	stopped bool       // by Stop: folder and guard are gone
}

// newServer starts a server of the kind on a port given by pick. fill puts its
// data into the data folder.
func newServer(ctx context.Context, k kind, pick func() (int, error), fill func(data string) error) (*server, error) {
	dir, err := newFolder(k.name, k.account)
	if err != nil {
		return nil, err
	}
	g, err := startGuard(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &server{kind: k, dir: dir, guard: g}
	if err := fill(s.data()); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.mu.Lock()
	s.port, err = s.startLocked(ctx, pick)
	s.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

// startLocked starts the process on a port given by pick, asks for another one
// when that is taken, and waits until the server is ready.
func (s *server) startLocked(ctx context.Context, pick func() (int, error)) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	const tries = 20
	for try := 1; ; try++ {
		port, err := pick()
		if err != nil {
			return 0, err
		}
		err = s.startOnceLocked(ctx, port)
		if err == nil || !errors.Is(err, errPortTaken) || try == tries {
			return port, err
		}
	}
}

func (s *server) startOnceLocked(ctx context.Context, port int) error {
	logPath := filepath.Join(s.dir, "log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.kind.name, err)
	}
	defer log.Close()
	earlier, err := log.Stat()
	if err != nil {
		return fmt.Errorf("start %s: %w", s.kind.name, err)
	}
	printed := func() string {
		text, _ := os.ReadFile(logPath) // unreadable: nothing to show
		return string(text[min(int(earlier.Size()), len(text)):])
	}

	if s.kind.prepare != nil {
		if err := s.kind.prepare(s.data(), port); err != nil {
			return fmt.Errorf("start %s: %w", s.kind.name, err)
		}
	}
	cmd := command(s.kind.program, s.kind.account, s.kind.args(s.data(), port)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = s.data() // by which the guard finds it
	run, err := startProcess(cmd, s)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.kind.name, err)
	}
	s.run = run
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !s.kind.ready(run.pid, s.data(), printed()) {
		select {
		case <-tick.C:
		case <-run.ended:
			reason := errors.New("it ended at once")
			if strings.Contains(printed(), "Address already in use") { // the words of LC_ALL=C
				reason = errPortTaken
			}
			return fmt.Errorf("start %s: %w; it says:\n%s", s.kind.name, reason, tail(printed()))
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("start %s: %w; it says:\n%s", s.kind.name, ctx.Err(), tail(printed())), run.kill())
		}
	}
	return nil
}

// command is the program with nothing of our surroundings: no PG… variables, no
// language, no working directory that another user may not enter.
func command(program string, a *account, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = a.attr()
	return cmd
}

// quitLocked ends the process, if it runs: by the kind's signal, else by SIGKILL.
func (s *server) quitLocked() error {
	if s.run == nil || !s.run.running() {
		return nil
	}
	if s.kind.quit == syscall.SIGKILL {
		return s.run.kill()
	}
	err := s.run.thaw() // a stopped process hears nothing else
	if err == nil {
		err = syscall.Kill(s.run.pid, s.kind.quit)
	}
	if err == nil && s.run.waitEnd(stopLimit) {
		return nil
	}
	return s.run.kill()
}

func (s *server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	if err := errors.Join(s.quitLocked(), s.guard.release()); err != nil {
		return fmt.Errorf("stop %s: %w", s.kind.name, err)
	}
	return nil
}

func (s *server) restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("restart %s: %w", s.kind.name, ErrNotRunning)
	}
	if err := s.quitLocked(); err != nil {
		return fmt.Errorf("restart %s: %w", s.kind.name, err)
	}
	_, err := s.startLocked(ctx, func() (int, error) { return s.port, nil })
	return err
}

func (s *server) kill() error { return s.signal("kill", (*process).kill) }
func (s *server) thaw() error { return s.signal("thaw", (*process).thaw) }
func (s *server) freeze() error {
	return s.signal("freeze", func(p *process) error { _, err := p.freeze(); return err })
}

// signal does to the running process what name says.
func (s *server) signal(name string, do func(*process) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := ErrNotRunning
	if s.run != nil && s.run.running() {
		err = do(s.run)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", name, s.kind.name, err)
	}
	return nil
}

func (s *server) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil || !s.run.running() {
		return 0
	}
	return s.run.pid
}

// log returns all that the server has printed, "" if that is gone.
func (s *server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

func (s *server) addr() string { return address(s.port) }
