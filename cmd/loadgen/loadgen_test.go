package main

import (
	"bytes"
	"context"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestScheduleFollowsFromTheSeed(t *testing.T) {
	faults := []fault{
		{uses: []resource{cacheServer}}, {uses: []resource{cacheServer}}, {uses: []resource{cachePath}}, {uses: []resource{sourceServer}},
		{alone: true}, {outlasts: true}, {uses: []resource{sourceServer, sourcePath}},
	}
	steps := func(seed uint64) (list []step) {
		p := newPlan(seed, faults, time.Minute)
		for singles := 0; singles < 21; {
			s := p.next()
			list = append(list, s)
			if len(s.parts) == 1 {
				singles++
			}
		}
		return list
	}
	if a, b := steps(1), steps(1); !reflect.DeepEqual(a, b) {
		t.Errorf("one seed, two schedules:\n%v\n%v", a, b)
	}
	if reflect.DeepEqual(steps(1), steps(2)) {
		t.Error("two seeds, one schedule")
	}
	kinds, storms := map[int]int{}, 0
	for _, s := range steps(3) {
		for _, p := range s.parts {
			if p.length < shortestFault || p.length > longestFault {
				t.Errorf("a fault of %v", p.length)
			}
		}
		if len(s.parts) == 1 {
			kinds[s.parts[0].fault]++
			continue
		}
		storms++
		used := map[resource]bool{}
		for _, p := range s.parts {
			f := faults[p.fault]
			if f.alone || f.outlasts {
				t.Errorf("fault %d in a storm", p.fault)
			}
			for _, u := range f.uses {
				if used[u] {
					t.Errorf("a storm with two faults of resource %d: %v", u, s.parts)
				}
				used[u] = true
			}
		}
	}
	for f, n := range kinds {
		if n != 3 {
			t.Errorf("fault %d came %d times in 3 rounds", f, n)
		}
	}
	if len(kinds) != len(faults) || storms != 5 {
		t.Errorf("%d kinds and %d storms", len(kinds), storms)
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range []string{
		"-backend nowhere", "-duration 0s", "-duration 25h", "-options 9", "-processes 1", "-readers 0", "-duty 0", "-duty 101", "-writes 0",
		"-writes ten", "-unknown", "extra",
	} {
		var stderr bytes.Buffer
		if code := command(context.Background(), strings.Fields(args), io.Discard, &stderr); code != exitUsage {
			t.Errorf("%s: exit code %d", args, code)
		}
		if stderr.Len() == 0 {
			t.Errorf("%s: no reason given", args)
		}
	}
	if code := command(context.Background(), []string{"-h"}, io.Discard, io.Discard); code != exitRight {
		t.Errorf("-h: exit code %d", code)
	}
}

func TestShortSoakIsClean(t *testing.T) {
	before := runtime.NumGoroutine()
	var stdout, stderr bytes.Buffer
	args := strings.Fields("-duration 3s -options 20 -processes 2 -readers 1 -writes 50 -seed 1")
	if code := command(context.Background(), args, &stdout, &stderr); code != exitRight {
		t.Fatalf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
	for _, want := range []string{"every one verified", "bare atomic load", "violations 0", "-seed 1"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &stdout)
		}
	}
	awaitGoroutines(t, before)
}

func TestAnInterruptedSoakReports(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	var stdout bytes.Buffer
	args := strings.Fields("-duration 1h -options 20 -processes 2 -readers 1 -writes 50 -seed 1")
	if code := command(ctx, args, &stdout, io.Discard); code != exitRight {
		t.Fatalf("exit code %d\n%s", code, &stdout)
	}
	if !strings.Contains(stdout.String(), "every one verified") {
		t.Fatalf("no report:\n%s", &stdout)
	}
}

// All plants are tried by -selftest; here those that need no waiting.
func TestPlantedBugsAreSeen(t *testing.T) {
	for _, p := range plants() {
		if p.want != tornValue && p.want != invented && p.want != resurrected {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			r, err := soakPlanted(ctx, 1, p)
			if err != nil {
				t.Fatal(err)
			}
			if r.found.count(p.want) == 0 {
				t.Fatalf("not reported as %q", p.want)
			}
		})
	}
}

// awaitGoroutines waits until no more run than before.
func awaitGoroutines(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}
