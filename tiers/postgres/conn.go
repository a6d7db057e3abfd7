package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fastopt/fastopt-go/tiers"
)

// Connections that never outstay a context. When one ends in the middle of a
// statement, pgx closes the connection politely: it dials again to send a
// cancel request and drains what comes, for up to 15 s, while the place in the
// pool stays taken. Against a frozen server that is the whole pool, for 15 s.
// Here the connection is cut at once instead; the server ends the statement by
// its statement_timeout.

// An address is where connections are made to, and as whom.
type address struct {
	*pgx.ConnConfig
	pooled atomic.Bool // the last connection went through a pooler
}

// parse reads url, which the error calls field, and sets what every connection
// of this package needs. Its errors never repeat the url.
func parse(field, url string) (*address, error) {
	if url == "" {
		return nil, fmt.Errorf("postgres: %w: %s is empty, want postgres://role:password@host:port/database", tiers.ErrSetup, field)
	}
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w: %s does not parse, want postgres://role:password@host:port/database?option=value (not repeated here: it may hold a password)", tiers.ErrSetup, field)
	}
	// Unnamed statements only: nothing is lost by failover or behind a pooler (26000).
	cc.DefaultQueryExecMode = pgx.QueryExecModeExec
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = connectTimeout
	}
	if _, set := cc.RuntimeParams["application_name"]; !set {
		cc.RuntimeParams["application_name"] = "fastopt" // for who asks whose session is in the way
	}
	cc.RuntimeParams["client_encoding"] = "UTF8" // else the database's, whatever it is
	for name, value := range sessionSettings {
		if _, set := cc.RuntimeParams[name]; !set || name == "default_transaction_isolation" {
			cc.RuntimeParams[name] = value
		}
	}
	return &address{ConnConfig: cc}, nil
}

var errNoCancelRequest = errors.New("cancel requests are not sent")

// dialOnce lets cc dial until it is connected, and never again.
func dialOnce(cc *pgx.ConnConfig) {
	var connected atomic.Bool
	dial, after := cc.DialFunc, cc.AfterConnect
	cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if connected.Load() {
			return nil, errNoCancelRequest
		}
		return dial(ctx, network, addr)
	}
	cc.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error {
		connected.Store(true)
		if after != nil {
			return after(ctx, c)
		}
		return nil
	}
}

// dial makes a connection, in one attempt.
func dial(ctx context.Context, cc *pgx.ConnConfig) (*pgx.Conn, error) {
	cc = cc.Copy()
	dialOnce(cc)
	return pgx.ConnectConfig(ctx, cc)
}

// hangUp closes c, waiting no longer than it takes to hand a goodbye to the kernel.
func hangUp(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	c.Close(ctx)
	socket(c).Close()
	<-c.PgConn().CleanupDone()
}

// socket returns the connection below TLS.
func socket(c *pgx.Conn) net.Conn {
	conn := c.PgConn().Conn()
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}
