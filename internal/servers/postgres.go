// Postgres with a database "fastopt" and fsync off: every commit survives a Kill,
// none the machine's end.

package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// A PostgresServer is a postgres and one of its databases, empty at first.
type PostgresServer struct {
	handle
	url, addr string
}

// StartPostgres starts a postgres of one's own, in about 0.2 s, whatever
// FASTOPT_TEST_POSTGRES says. It waits until the server is ready, at the latest
// until ctx ends or 30 s have passed; ctx has no say afterwards. The error is
// ErrMissing if there is no postgres, else it carries the end of its log.
//
// Its data is a copy of a template, which is built when there is none (1 s): so
// all servers have the same system identifier, as a server and its copy have,
// except for those that are started Fresh.
func StartPostgres(ctx context.Context, o Options) (*PostgresServer, error) {
	if err := checkSettings(o.Settings); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	srv, err := startPostgres(ctx, o)
	if err != nil {
		return nil, err
	}
	return newPostgresServer(srv), nil
}

func newPostgresServer(srv *server) *PostgresServer {
	addr := srv.addr()
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Host: addr, Path: database, RawQuery: "sslmode=disable"}
	return &PostgresServer{handle: handle{srv}, addr: addr, url: u.String()}
}

// The names in a new server's URL. The user is a superuser without a password.
const (
	superuser = "fastopt"
	database  = "fastopt"
)

// externalPostgres is the server and database that a URL names.
func externalPostgres(rawURL string) (*PostgresServer, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, fmt.Errorf("%s: want postgres://user@host:port/database", PostgresEnv) // never its text: it may hold a password
	}
	return &PostgresServer{url: rawURL, addr: u.Host}, nil
}

// URL returns postgres://fastopt@127.0.0.1:port/fastopt?sslmode=disable, the
// same after a Restart.
func (p *PostgresServer) URL() string { return p.url }

// Addr returns 127.0.0.1:port, the same after a Restart.
func (p *PostgresServer) Addr() string { return p.addr }

// NewDatabase creates an empty database beside the others, in about 20 ms, and
// returns its URL. The user needs the right to do so.
func (p *PostgresServer) NewDatabase(ctx context.Context) (string, error) {
	name := fmt.Sprintf("fastopt_%016x", rand.Uint64())
	u, err := url.Parse(p.url)
	if err != nil {
		return "", errors.New("create a database: the server's URL is malformed")
	}
	if err := p.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", fmt.Errorf("create a database: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

// dropDatabase removes a database that NewDatabase has created, and whoever is
// still connected to it.
func (p *PostgresServer) dropDatabase(ctx context.Context, databaseURL string) error {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return errors.New("drop a database: its URL is malformed")
	}
	if err := p.exec(ctx, "DROP DATABASE "+pgx.Identifier{u.Path[1:]}.Sanitize()+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop a database: %w", err)
	}
	return nil
}

func (p *PostgresServer) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}
