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

// parse reads url, sets what every connection of this package needs, and gives
// errors that never repeat the url.
func parse(url string) (*pgx.ConnConfig, error) {
	if url == "" {
		return nil, fmt.Errorf("postgres: %w: the URL is empty, want postgres://role:password@host:port/database", tiers.ErrSetup)
	}
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w: the URL does not parse, want postgres://role:password@host:port/database?option=value (not repeated here: it may hold a password)", tiers.ErrSetup)
	}
	// Unnamed statements only: nothing is lost by failover or behind a pooler (26000).
	cc.DefaultQueryExecMode = pgx.QueryExecModeExec
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = connectTimeout
	}
	// The snapshots of write.go rely on READ COMMITTED, whatever the role's default.
	cc.RuntimeParams["default_transaction_isolation"] = "read committed"
	cc.RuntimeParams["search_path"] = "pg_catalog"
	for name, limit := range map[string]string{"statement_timeout": statementLimit, "lock_timeout": lockLimit} {
		if _, set := cc.RuntimeParams[name]; !set {
			cc.RuntimeParams[name] = limit
		}
	}
	return cc, nil
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

// connect makes a connection; hangUp ends it.
func connect(ctx context.Context, cc *pgx.ConnConfig) (*pgx.Conn, error) {
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
