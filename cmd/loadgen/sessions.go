package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What sessions of others do to a postgres that is well: one holds a lock on the
// table of options, or they use up all connections that it has.

func (s *localStores) sessionFaults() []fault {
	return []fault{s.tableLocked(), s.connectionsUsedUp()}
}

const sessionTimeout = 5 * time.Second

func (s *localStores) session(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	return pgx.Connect(ctx, s.postgres.URL())
}

// tableLocked holds the lock until it is mended. It has bitten if the server says
// that others wait for it.
func (s *localStores) tableLocked() fault {
	var holder *pgx.Conn
	end := func() {
		if holder != nil {
			ctx, cancel := context.WithTimeout(context.Background(), sessionTimeout)
			defer cancel()
			_ = holder.Close(ctx) // the lock goes with the session, whatever Close says
			holder = nil
		}
	}
	waiting := 0
	look := func(ctx context.Context) error {
		n := 0
		err := holder.QueryRow(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'fastopt.options'::regclass").Scan(&n)
		waiting = max(waiting, n)
		return err
	}
	return fault{name: "table locked", effects: effects{sourceOut: true}, uses: []resource{sourceServer}, least: unanswered,
		strike: func(ctx context.Context) (err error) {
			waiting = 0
			if holder, err = s.session(ctx); err != nil {
				return err
			}
			for _, q := range []string{"BEGIN", "LOCK TABLE fastopt.options IN ACCESS EXCLUSIVE MODE"} {
				if _, err = holder.Exec(ctx, q); err != nil {
					end()
					return err
				}
			}
			return nil
		},
		during: func(ctx context.Context) error {
			for until := time.Now().Add(unanswered); time.Now().Before(until); pause(ctx, 20*time.Millisecond) {
				if err := look(ctx); err != nil {
					return err
				}
			}
			return nil
		},
		mend:   func(context.Context) error { end(); return nil },
		bitten: func(context.Context) bool { return waiting > 0 },
	}
}

// stateTooMany is the SQLSTATE of a server without a connection left.
const stateTooMany = "53300"

// connectionsUsedUp ends the sessions of all others and takes the connections
// that the server has, over and over until it refuses one. It has bitten if it
// refuses now.
func (s *localStores) connectionsUsedUp() fault {
	var hogs []*pgx.Conn
	take := func(ctx context.Context) (full bool, err error) {
		c, err := s.session(ctx)
		if state, ok := errors.AsType[*pgconn.PgError](err); ok && state.Code == stateTooMany {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		hogs = append(hogs, c)
		return false, nil
	}
	free := func() {
		for _, c := range hogs {
			ctx, cancel := context.WithTimeout(context.Background(), sessionTimeout)
			_ = c.Close(ctx) // a session that is lost is as well as closed
			cancel()
		}
		hogs = nil
	}
	return fault{name: "connections used up", effects: effects{sourceOut: true, partly: true}, uses: []resource{sourceServer}, least: unanswered,
		strike: func(ctx context.Context) error {
			for range 3 {
				for full := false; !full; {
					var err error
					if full, err = take(ctx); err != nil {
						free()
						return fmt.Errorf("take a connection: %w", err)
					}
				}
				_, err := hogs[0].Exec(ctx, `SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
					WHERE backend_type = 'client backend' AND pid <> ALL($1)`, pids(hogs))
				if err != nil {
					free()
					return fmt.Errorf("end the sessions of others: %w", err)
				}
			}
			return nil
		},
		mend: func(context.Context) error { free(); return nil },
		bitten: func(ctx context.Context) bool {
			full, err := take(ctx)
			return full && err == nil
		},
	}
}

func pids(conns []*pgx.Conn) (list []int32) {
	for _, c := range conns {
		list = append(list, int32(c.PgConn().PID()))
	}
	return list
}
