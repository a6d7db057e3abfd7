package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
	"github.com/fastopt/fastopt-go/fastopt"
)

// A worker is this program again, in a test the program of the test.
func TestMain(m *testing.M) {
	flag.Parse()
	if worker.IsOne() {
		if err := runWorker(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOneRowIsMeasured(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out, progress strings.Builder
	args := []string{"-rows", "pg-black-hole", "-processes", "2", "-runs", "2", "-window", "1s"}
	if err := run(ctx, args, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, want := range []string{
		"command: go run ./outage -rows", "commit: ", measured.Head,
		"| pg-black-hole | `Get` / bare load, batches of 1,000: p50 | ≤ 1.1 | ",
		"| pg-black-hole | it answers again → ",
		"\npg-black-hole: `Get` / bare load: p99.99: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
}

func TestAFaultThatDoesNotBiteIsSaid(t *testing.T) {
	harmless := redisHole
	harmless.begin = func(context.Context, *world) error { return nil }
	l := &lab{processes: 2, slices: 1, lasts: time.Second, progress: t.Output()}
	_, err := measure(t.Context(), l, row{"harmless", "nothing happens", through(harmless)})
	if !errors.Is(err, errNoBite) {
		t.Errorf("the row ended with %v", err)
	}
}

// What decides whether a fault bites must say no of a world in order.
func TestAHealthyWorldBitesNowhere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := newWorld(ctx, &lab{progress: t.Output()}, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}()
	if w.run, err = w.redisRun(); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]fault{
		"redis killed": redisKilled, "redis slow": redisSlow, "redis empty": redisEmpty,
		"postgres killed": postgresKilled, "postgres full": postgresFull, "postgres locked": postgresLocked,
		"both killed": bothKilled,
	} {
		if err := f.bites(ctx, w); !errors.Is(err, errNoBite) {
			t.Errorf("%s: %v in a world in order", name, err)
		}
	}
}

func TestValuesEndOnTime(t *testing.T) {
	s := &service{lives: 50 * time.Millisecond}
	var e ending
	// An option that was never opened reads its default, and never had a value.
	over, gone := int64(0), false
	s.options = newOptions(1)
	s.lookAt(s.options[0], &over, &gone, &e)
	if !gone || e.Early != 1 || over != 0 {
		t.Errorf("gone %v, early %d, over %d", gone, e.Early, over)
	}
	over, gone = worker.Now()-int64(time.Second), false
	e = ending{}
	s.lookAt(s.options[0], &over, &gone, &e)
	if !gone || e.Early != 0 || e.Late != 0 || e.Inspected != 0 {
		t.Errorf("gone %v, %+v", gone, e)
	}
}

func newOptions(n int) (all []*fastopt.Option[int64]) {
	var r fastopt.Registry
	for i := range n {
		all = append(all, fastopt.New[int64](&r, option(i), nothing))
	}
	return all
}
