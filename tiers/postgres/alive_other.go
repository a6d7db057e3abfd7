//go:build !unix

package postgres

import "github.com/jackc/pgx/v5"

// alive reports whether an idle connection may be used: nothing is to be read
// from it, not even an end of file. It waits for 1 ms.
func alive(c *pgx.Conn) bool { return c.PgConn().CheckConn() == nil }
