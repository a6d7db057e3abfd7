package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/bench/internal/measured"
	"github.com/fastopt/fastopt-go/bench/internal/worker"
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
	var out, progress bytes.Buffer
	if err := run(ctx, []string{"-quick", "-rows", "relay-killed", "-processes", "2"}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, want := range []string{"commit: ", "go: go1.", "processors: ", measured.Head, "| relay-killed | → another leads | ≤ 500 ms | "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "never") {
		t.Errorf("somebody was never right:\n%s%s", out.String(), progress.String())
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for want, args := range map[string][]string{
		`no row "nonsense"`: {"-rows", "idle,nonsense"},
		"-processes of 2":   {"-processes", "1"},
		"-runs of 1":        {"-runs", "0"},
		"other arguments":   {"idle"},
	} {
		var out, progress bytes.Buffer
		err := run(t.Context(), args, &out, &progress)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", args, err, want)
		}
		if out.Len() > 0 {
			t.Errorf("%v: printed %s", args, out.String())
		}
	}
}

func TestRowsAreChosenInTheOrderOfTheTable(t *testing.T) {
	chosen, err := choose("one-set, orphan")
	if err != nil || len(chosen) != 2 || chosen[0].name != "orphan" || chosen[1].name != "one-set" {
		t.Errorf("%v, %v", chosen, err)
	}
	if all, err := choose(""); err != nil || len(all) != len(rows) {
		t.Errorf("%d rows, %v", len(all), err)
	}
	names := map[string]bool{}
	for _, r := range rows {
		if names[r.name] || r.says == "" || r.measure == nil {
			t.Errorf("row %q is incomplete, or there twice", r.name)
		}
		names[r.name] = true
	}
}

func TestAWorkerThatIsKilledFailsItsCalls(t *testing.T) {
	p, err := worker.Start(1)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := worker.Call[status](t.Context(), p, "status", nil); err != nil || s.At == 0 || s.CPU == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := worker.Call[any](t.Context(), p, "nonsense", nil); err == nil || !strings.Contains(err.Error(), "no such request") {
		t.Errorf("a request that does not exist: %v", err)
	}
	failed := make(chan error)
	go func() {
		_, err := worker.Call[granted](t.Context(), p, "miss", miss{Goroutines: 1, At: worker.Now() + int64(time.Hour)})
		failed <- err
	}()
	p.Kill()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), worker.ErrGone.Error()) {
		t.Errorf("the call to a killed worker: %v", err)
	}
	if _, err := worker.Call[status](t.Context(), p, "status", nil); err == nil {
		t.Error("a killed worker answers")
	}
}

func TestClocksOfProcessesAgree(t *testing.T) {
	p, err := worker.Start(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	before := worker.Now()
	s, err := worker.Call[status](t.Context(), p, "status", nil)
	if after := worker.Now(); err != nil || s.At < before || s.At > after {
		t.Errorf("it was %d there, and from %d to %d here; %v", s.At, before, after, err)
	}
}
