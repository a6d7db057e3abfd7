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

func startSentinel(context.Context, []int, int, []string) (*server, error) {
	return nil, unsupported("sentinel")
}
func startPgBouncer(context.Context, *PostgresServer, Options) (*server, error) {
	return nil, unsupported("pgbouncer")
}
func startStandby(context.Context, *PostgresServer, Options) (*server, error) {
	return nil, unsupported("postgres")
}
func restorePostgres(context.Context, *PostgresBackup, string, Options) (*server, error) {
	return nil, unsupported("postgres")
}
func upgradePostgres(context.Context, *server, Options) (*server, error) {
	return nil, unsupported("postgres")
}
func baseBackup(context.Context, *PostgresServer) (string, error) {
	return "", unsupported("pg_basebackup")
}
func dumpPostgres(context.Context, string, string) error { return unsupported("pg_dump") }

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
func (*server) log() string                   { return "" }
