//go:build unix

package faults_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/fastopt/fastopt-go/internal/faults"
	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/jackc/pgx/v5"
)

// What cutting an acknowledgement is for: the server has committed, and the
// client cannot know.

func TestLostAcknowledgementOfACommit(t *testing.T) {
	direct := servers.Database(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, u.Host)
	u.Host = p.Addr()
	control := connect(t, direct)
	if _, err := control.Exec(t.Context(), "CREATE TABLE rows (n int)"); err != nil {
		t.Fatal(err)
	}
	writes := map[string]func(*pgx.Conn) error{
		"INSERT 0 1": func(c *pgx.Conn) error {
			_, err := c.Exec(t.Context(), "INSERT INTO rows VALUES ($1)", 1)
			return err
		},
		"COMMIT": func(c *pgx.Conn) error {
			return pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "INSERT INTO rows VALUES ($1)", 2)
				return err
			})
		},
		"UPDATE 1": func(c *pgx.Conn) error { // the last statement of a batch, which is one transaction
			var b pgx.Batch
			b.Queue("INSERT INTO rows VALUES (3)")
			b.Queue("UPDATE rows SET n = 4 WHERE n = 3")
			return c.SendBatch(t.Context(), &b).Close()
		},
	}
	want := 0
	for tag, write := range writes {
		c := connect(t, u.String())
		cuts := p.Traffic(faults.ToClient).Cuts
		p.CutAt(faults.ToClient, faults.CommandComplete(tag), faults.ReadyForQuery())
		if err := write(c); err == nil {
			t.Errorf("%s: the acknowledgement came", tag)
		}
		if n := p.Traffic(faults.ToClient).Cuts - cuts; n != 1 {
			t.Errorf("%s: %d cuts, want 1", tag, n)
		}
		want++
		got := 0
		if err := control.QueryRow(t.Context(), "SELECT count(*) FROM rows").Scan(&got); err != nil || got != want {
			t.Errorf("%s: %d rows, %v; want %d", tag, got, err, want)
		}
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
