package main

import (
	"strings"
	"testing"
)

func TestMediansOfRuns(t *testing.T) {
	const in = `goos: linux
BenchmarkGet/int-2   100   4.0 ns/op   1.5 x-bare
BenchmarkGet/int-2   100   1.0 ns/op   1.1 x-bare
BenchmarkGet/int-2   100   2.0 ns/op   1.2 x-bare
BenchmarkSet         10    1.0 ns/op
BenchmarkSet         10    4321.0 ns/op
PASS
`
	const want = `| benchmark | unit | median | least | greatest | runs |
|---|---|---|---|---|---|
| Get/int | ns/op | 2 | 1 | 4 | 3 |
| Get/int | x-bare | 1.2 | 1.1 | 1.5 | 3 |
| Set | ns/op | 2161 | 1 | 4321 | 2 |
`
	var out strings.Builder
	if err := run(strings.NewReader(in), &out); err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestNoBenchmarkIsAnError(t *testing.T) {
	if err := run(strings.NewReader("PASS\n"), &strings.Builder{}); err == nil {
		t.Error("an empty table")
	}
}
