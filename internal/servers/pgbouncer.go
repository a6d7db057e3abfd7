// PgBouncer in front of a postgres, in transaction mode: what a client takes for
// its connection is another one at each transaction, so session settings, LISTEN,
// session locks and prepared statements are not where they were.

package servers

import (
	"context"
	"fmt"
	"net/url"
)

// A PgBouncer is a pooler in front of a postgres.
type PgBouncer struct {
	handle
	url, addr string
}

// StartPgBouncer starts a pooler in transaction mode in front of p, in about 50 ms,
// which gives every role of p access to every database of p without a password. o
// has further settings of the section [pgbouncer]: "pool_mode=session",
// "default_pool_size=2", "ignore_startup_parameters=statement_timeout". It waits
// until the pooler takes connections, as StartPostgres does; p need not answer. The
// error is ErrMissing if there is no pgbouncer, and ErrExternal if p is not one's
// own.
func StartPgBouncer(ctx context.Context, p *PostgresServer, o Options) (*PgBouncer, error) {
	err := checkSettings(o.Settings)
	if p.srv == nil {
		err = ErrExternal
	}
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	srv, err := startPgBouncer(ctx, p, o)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(p.url)
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: the server's URL is malformed")
	}
	u.Host = srv.addr()
	return &PgBouncer{handle: handle{srv}, addr: u.Host, url: u.String()}, nil
}

// URL returns p's URL with the pooler's address, the same after a Restart.
func (b *PgBouncer) URL() string { return b.url }

// Addr returns 127.0.0.1:port, the same after a Restart.
func (b *PgBouncer) Addr() string { return b.addr }

// pgBouncerConfig is the file that a pooler is started with. Whom p knows, the
// pooler asks p itself.
func pgBouncerConfig(p *PostgresServer, port int, settings []string) string {
	text := fmt.Sprintf(`[databases]
* = %s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
pool_mode = transaction
auth_type = trust
auth_user = %s
auth_query = SELECT rolname, '' FROM pg_roles WHERE rolname = $1
auth_file = users
admin_users = %s
`, p.target(), port, superuser, superuser)
	for _, s := range settings {
		name, value, _ := cutSetting(s)
		text += name + " = " + value + "\n"
	}
	return text
}
