// Package servers starts a redis-server or a postgres of one's own, for tests
// and load generators that break real servers: alone, with replicas, under
// sentinels, as a cluster, with standbys, behind a pooler.
//
// A server listens on a free port of 127.0.0.1, keeps its files in a temporary
// folder and lives no longer than the process that started it: Stop ends it,
// and so do a panic, an exit and a SIGKILL of that process (guard.go).
//
//	redis, err := servers.StartRedis(ctx, servers.Options{})
//	defer redis.Stop()
//	redis.Freeze() // and Thaw, Kill, Restart
//
// What the name of a server cannot tell is said at its methods: a failover that
// loses commits is StartStandby, WithholdWAL and Promote (standby.go), a database
// set back or moved is Restore, DumpInto or Upgrade (restore.go).
//
// Tests write servers.Redis(t), servers.Postgres(t) or, when they need a
// database but no server of their own, servers.Database(t).
//
// Linux is where this is used daily; other Unix systems use ps instead of
// /proc. Elsewhere every Start fails with errors.ErrUnsupported.
package servers

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Options change how a server is started. The zero value suits most tests.
type Options struct {
	// Settings are further settings of the server, each as "name=value". They
	// come after the package's own and win: "maxmemory=1mb" for Redis,
	// "max_connections=20" for Postgres.
	Settings []string

	// Fresh gives a postgres a system identifier of its own, which StartPostgres
	// says of others; it takes a second more. Redis has none.
	Fresh bool

	pick  func() (int, error) // nil: freePort; tests provoke collisions with it
	extra func() []string     // nil: none; arguments of each start of a redis-server
}

// port returns where to listen.
func (o Options) port() (int, error) {
	if o.pick != nil {
		return o.pick()
	}
	return freePort()
}

func (o Options) args() []string {
	if o.extra == nil {
		return nil
	}
	return o.extra()
}

// The environment variables that name a server which is already there, by URL.
// Redis, Postgres and Database use it then instead of starting one. It must be
// a server for tests: they write to it and may empty it.
const (
	RedisEnv    = "FASTOPT_TEST_REDIS"
	PostgresEnv = "FASTOPT_TEST_POSTGRES"
)

var (
	// ErrMissing is in the chain of an error whose text says, in one line, which
	// program is not on this machine and how to install it.
	ErrMissing = errors.New("program not found")

	// ErrExternal is returned by the methods that need a server of one's own,
	// when the server comes from FASTOPT_TEST_REDIS or FASTOPT_TEST_POSTGRES.
	ErrExternal = errors.New("the server belongs to someone else")

	// ErrNotRunning is returned by Kill, Freeze and Thaw when there is no process
	// to send a signal to: killed, stopped, or ended by itself.
	ErrNotRunning = errors.New("the server is not running")

	// errPortTaken: someone else listens on the port.
	errPortTaken = errors.New("port is taken")
)

// A start or a stop that takes longer than its limit has failed: the context
// may shorten it, not lengthen it.
const (
	startLimit = 30 * time.Second
	stopLimit  = 10 * time.Second
)

// checkSettings refuses what would be taken for something else than a setting.
func checkSettings(settings []string) error {
	for i, s := range settings {
		if name, _, ok := cutSetting(s); !ok {
			return fmt.Errorf("setting %d (%q): want name=value", i, name)
		}
	}
	return nil
}

func cutSetting(s string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(s, "=")
	return name, value, ok && name != "" && !strings.HasPrefix(name, "-")
}

// tail returns the last part of a text: as much of a log as an error can carry.
func tail(text string) string {
	const most = 2000
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}
