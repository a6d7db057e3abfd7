package structure

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The races that the contract names by number each have a test that is called by
// that number, enters the race, and was seen to fail without what guards against it.

// races are those that concern one order of changes from the source into every
// process, and outages.
var races = []int{
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, // fill against write
	11, 12, 13, 14, 15, // delete and absence
	16, 17, 18, 19, 20, // gaps in channels
	22, 23, 24, // clocks and pauses
	25, 26, 27, 28, 29, 30, // lost history
	31, 32, 33, 34, 35, 36, // calls that go wrong
	37, 38, 39, 40, // data
	41, 42, 43, 44, 46, 47, 48, 49, 51, 52, 53, 54, // load
}

// others have a number, and concern what is still to come; some are tested already.
var others = []int{21, 45, 50}

var raceTest = regexp.MustCompile(`(?m)^func TestR(\d+)[A-Z]\w*\(t \*testing\.T\)`)

func TestEveryRaceHasItsTest(t *testing.T) {
	tests := map[int]int{}
	for _, file := range tracked(t) {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range raceTest.FindAllStringSubmatch(read(t, file), -1) {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			tests[n]++
		}
	}
	for _, n := range races {
		if tests[n] == 0 {
			t.Errorf("R%d has no test: none is called TestR%d…", n, n)
		}
		delete(tests, n)
	}
	for _, n := range others {
		delete(tests, n)
	}
	for n := range tests {
		t.Errorf("TestR%d… is called by a number that no race has", n)
	}
}
