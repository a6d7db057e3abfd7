// What is done to a server of either kind.

package servers

import (
	"context"
	"fmt"
)

// A handle is embedded in RedisServer and PostgresServer. Its methods may be
// called from any goroutine; one that changes the server waits for another.
type handle struct {
	srv *server // nil: the server was there before us
}

// Stop ends the server, frozen or not, and removes its folder. Further calls do
// nothing, as do all for a server that was there before. It may wait as long as
// the server takes to end, at most some ten seconds.
func (h handle) Stop() error {
	if h.srv == nil {
		return nil
	}
	return h.srv.stop()
}

// Kill ends the server by SIGKILL, with all processes it has, and returns when
// they are gone; Restart brings it back. ErrNotRunning, ErrExternal.
func (h handle) Kill() error {
	if h.srv == nil {
		return fmt.Errorf("kill: %w", ErrExternal)
	}
	return h.srv.kill()
}

// Restart ends the server if it runs, frozen or not, and starts it on the same
// port: Redis by SIGKILL and empty, Postgres by a fast shutdown (after a Kill by
// crash recovery) and with every commit. It returns when the server is ready, at the
// latest when ctx ends or after 30 s. ErrNotRunning after Stop, ErrExternal.
func (h handle) Restart(ctx context.Context) error {
	if h.srv == nil {
		return fmt.Errorf("restart: %w", ErrExternal)
	}
	return h.srv.restart(ctx)
}

// Freeze stops the server by SIGSTOP, with all processes it has, and returns
// when none runs any more. The kernel goes on accepting its connections, as for
// any server that hangs. ErrNotRunning, ErrExternal.
func (h handle) Freeze() error {
	if h.srv == nil {
		return fmt.Errorf("freeze: %w", ErrExternal)
	}
	return h.srv.freeze()
}

// Thaw lets a frozen server go on; one that is not frozen does not notice.
// ErrNotRunning, ErrExternal.
func (h handle) Thaw() error {
	if h.srv == nil {
		return fmt.Errorf("thaw: %w", ErrExternal)
	}
	return h.srv.thaw()
}

// PID returns the process id of redis-server or of the postmaster, and 0 while
// none runs or if the server was there before.
func (h handle) PID() int {
	if h.srv == nil {
		return 0
	}
	return h.srv.pid()
}
