//go:build !unix

// Systems without Unix signals have no servers to freeze: nothing starts here,
// so that whatever imports the package still compiles.

package servers

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

type server struct{}

func startRedis(context.Context, Options) (*server, error)    { return nil, unsupported("redis") }
func startPostgres(context.Context, Options) (*server, error) { return nil, unsupported("postgres") }

func unsupported(name string) error {
	return fmt.Errorf("start %s on %s: %w", name, runtime.GOOS, errors.ErrUnsupported)
}

// No value of the type exists, so nobody calls these.
func (*server) stop() error                   { return errors.ErrUnsupported }
func (*server) kill() error                   { return errors.ErrUnsupported }
func (*server) restart(context.Context) error { return errors.ErrUnsupported }
func (*server) freeze() error                 { return errors.ErrUnsupported }
func (*server) thaw() error                   { return errors.ErrUnsupported }
func (*server) pid() int                      { return 0 }
func (*server) addr() string                  { return "" }
