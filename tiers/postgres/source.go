// Package postgres is a tiers.Source over PostgreSQL 14 or newer, by pgx.
//
// The database gives the stamps, by triggers behind one writer lock, so that
// plain SQL obeys them as the library does (schema_v1.sql). Every statement of
// this package returns, beside its answer, whose history it is; if that is not
// the newest known, as the primary of it, the answer is none, and a database that
// is later gets a new epoch from who has the right to give one (history.go).
//
//	load.go     read names in one statement
//	write.go    one batch, one transaction, and what became of it
//	blocked.go  whose session a refused write has waited for
//	changes.go  what changed since, and everything
//	compact.go  forget what was deleted long ago
//	watch.go    LISTEN, with catch-up and heartbeat
//	elect.go    who leads, by advisory locks
//	pace.go     how often those two come back to a server that fails
//	probe.go    whether a server that failed answers again
//	pool.go     few connections, one dial at a time to a server that fails
//	conn.go     connections that never outstay a context
//	pooler.go   what is different behind PgBouncer
//	history.go  whose history an answer belongs to
//	migrate.go  versions of the schema
//	check.go    what is wrong with the schema, and what mends it
//	errors.go   SQLSTATE to the errors of package tiers
//
// # Setting up
//
// [Migrate] creates the schema fastopt, or brings it up to date; its role owns
// the schema. Schema and library may be one version apart, so they are updated
// in any order, one version at a time. When a [Source] is first used, it checks
// the schema; what is missing, altered or not granted is an error wrapping
// tiers.ErrSetup that says which, and what mends it.
//
// # Roles
//
// [Roles] is SQL, also in roles.sql, that creates four groups with the least
// rights: fastopt_reader, fastopt_writer (sets, and may not delete),
// fastopt_deleter (beside it) and fastopt_relay. A service gets those whose
// work it does. Without fastopt_writer a Write fails with tiers.ErrReadOnly,
// without fastopt_deleter a delete does; without fastopt_relay Elect does, so
// such a process never stands. At least one process of each namespace needs
// fastopt_relay, beside fastopt_writer if it writes: nobody else gives the
// database an epoch of its own after a failover or a restore, and until then
// it gives no answers.
//
// # Restores
//
// A database that was promoted, upgraded, copied, or restored elsewhere is told
// from what it was, and gets a new epoch by itself. One that was set back in
// place is not: by pg_restore --clean, by a snapshot of the disk, or by anything
// that runs with the triggers off (session_replication_role). Run afterwards
//
//	UPDATE fastopt.epoch SET epoch = epoch + 1
//
// as a member of fastopt_relay: from then on what is there outranks all that was
// read before, in every process and cache. Where the error of a process names a
// higher epoch, take that one.
//
// # Poolers
//
// Through PgBouncer in transaction mode, which need not be told anything, all
// works but Watch and Elect. These need Config.DirectURL, an address of the
// server itself, and without it fail with tiers.ErrSetup. The default of the
// role for default_transaction_isolation has to be read committed there, as it
// is unless someone changed it.
package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Config configures a Source.
type Config struct {
	// URL names the server, database and role, as libpq understands it:
	// postgres://role:password@host:5432/database?sslmode=verify-full. It may
	// set statement_timeout and lock_timeout (1 s and 500 ms by default) and
	// connect_timeout (in whole seconds, default 1). With several hosts add
	// target_session_attrs=read-write.
	URL string

	// DirectURL names the same database without a pooler in between, for Watch
	// and Elect, which need a session of the server for themselves. Empty: URL
	// does.
	DirectURL string
}

const (
	maxConns       = 4
	idleTime       = 30 * time.Second
	connectTimeout = time.Second
	statementLimit = "1000"     // ms; ends what nobody waits for any more
	lockLimit      = "500"      // ms; a write behind a forgotten psql is refused
	lockClass      = 1718579316 // of the advisory locks; the schema has it, too
)

// A Source is a tiers.Source over one database. It holds up to 4 connections,
// none while idle for 30 s, one more for each running Watch and Elect, and one
// for a Probe. Its methods return at the end of their context, also if the server is frozen.
type Source struct {
	conf    *address // immutable
	direct  *address // immutable; conf, if that is direct enough
	pool    *pool
	done    context.Context // ends with Close
	stop    context.CancelFunc
	seen    lastHistory
	schema  schema
	look    time.Duration // immutable; at least between a candidate's looks for a seat
	probing chan struct{} // full while a probe is under way
}

var _ tiers.Source = (*Source)(nil)

// Open checks config and returns at once; connections are made when they are
// needed, and the schema is checked then. A malformed URL is an error wrapping tiers.ErrSetup that does not
// repeat it.
func Open(config Config) (*Source, error) {
	conf, err := parse("Config.URL", config.URL)
	if err != nil {
		return nil, err
	}
	direct := conf
	if config.DirectURL != "" {
		if direct, err = parse("Config.DirectURL", config.DirectURL); err != nil {
			return nil, err
		}
	}
	s := &Source{conf: conf, direct: direct, look: seatLook, probing: make(chan struct{}, 1)}
	s.done, s.stop = context.WithCancel(context.Background())
	s.pool = newPool(s.done, maxConns, conf.connect)
	return s, nil
}

// Close ends running calls and closes the connections. Later calls fail with
// tiers.ErrUnavailable. It waits until the connections of the calls are closed,
// which takes no answer of the server; Watch, Elect and Probe return by
// themselves soon after.
func (s *Source) Close() {
	s.stop()
	s.pool.close()
}

// Identity tells which history of which database answers.
func (s *Source) Identity(ctx context.Context) (tiers.Identity, error) {
	return s.identity(ctx, "identity")
}

// read runs ask on a connection. It tries once more if the connection turned
// out dead, or if the epoch could be stepped for a database that is not the
// recorded one. Errors are those of fault.
func (s *Source) read(ctx context.Context, op string, ask func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	dead, err := s.once(ctx, ask)
	switch {
	case err == nil || ctx.Err() != nil:
	case dead:
		s.pool.reset() // its siblings have died, too, or will be missed little
		_, err = s.once(ctx, ask)
	case errors.Is(err, errHistory) && s.stepEpoch(ctx):
		_, err = s.once(ctx, ask)
	}
	return fault(op, s.explain(ctx, s.orClosed(err)))
}

// orClosed returns err, or why there is one if s is closed.
func (s *Source) orClosed(err error) error {
	if err != nil && s.done.Err() != nil {
		return errClosed
	}
	return err
}

// once runs ask on a pooled connection. dead: the connection broke under it
// before ctx ended, so that another one may do better.
func (s *Source) once(ctx context.Context, ask func(context.Context, *pgx.Conn) error) (dead bool, err error) {
	c, err := s.pool.get(ctx)
	if err != nil {
		return false, err
	}
	defer s.pool.put(c)
	if err = s.check(ctx, c); err == nil {
		err = ask(ctx, c)
	}
	if notPrimary(err) || errors.Is(err, errLineage) {
		defer hangUp(c) // a demoted primary keeps its connections; the next dial finds the new one
	}
	if codeOf(err) == stateStatement {
		hangUp(c)
	}
	dead = err != nil && c.IsClosed()
	return dead, err
}

// bound returns ctx, ended also by Close.
func (s *Source) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(s.done, cancel)
	return ctx, func() { unhook(); cancel() }
}
