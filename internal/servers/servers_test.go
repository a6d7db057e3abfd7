//go:build unix

package servers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ping asks a redis-server whether it answers within the limit.
func ping(addr string, limit time.Duration) error {
	_, err := ask(addr, "PING", limit)
	return err
}

func ask(addr, command string, limit time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

// query runs a statement that returns one number.
func query(url, sql string, limit time.Duration) (n int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, sql).Scan(&n)
	return n, err
}

func BenchmarkStartRedis(b *testing.B) {
	for b.Loop() {
		r, err := StartRedis(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := ping(r.Addr(), time.Second); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.Stop(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkStartPostgres(b *testing.B) {
	for b.Loop() {
		p, err := StartPostgres(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := query(p.URL(), "SELECT 1", time.Second); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := p.Stop(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkStopPostgres(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		p, err := StartPostgres(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := p.Stop(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDatabase(b *testing.B) {
	p, err := sharedPostgres()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.NewDatabase(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
