//go:build unix

// How long starts and stops take.

package servers

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func BenchmarkStartRedis(b *testing.B) {
	for b.Loop() {
		r, err := StartRedis(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ask(r.Addr(), "PING", patience); err != nil {
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
		conn, err := pgx.Connect(b.Context(), p.URL()) // the first connection counts
		if err != nil {
			b.Fatal(err)
		}
		_ = conn.Close(b.Context())
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
