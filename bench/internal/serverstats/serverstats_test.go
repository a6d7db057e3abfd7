package serverstats

import (
	"bufio"
	"reflect"
	"strings"
	"testing"
)

func TestCommandStatsAreParsed(t *testing.T) {
	before, err := parseCommandStats("# Commandstats\r\ncmdstat_get:calls=21,usec=175,usec_per_call=8.33\r\ncmdstat_info:calls=9,usec=1\r\n" +
		"cmdstat_client|caching:calls=3,usec=2\r\ncmdstat_ping:calls=4,usec=1\r\n")
	if want := (Counts{"get": 21, "client|caching": 3, "ping": 4}); err != nil || !reflect.DeepEqual(before, want) {
		t.Fatalf("%v, %v", before, err)
	}
	after := Counts{"get": 25, "client|caching": 3, "ping": 4, "set": 2, "evalsha": 3}
	diff := after.Since(before)
	if want := (Counts{"get": 4, "set": 2, "evalsha": 3}); !reflect.DeepEqual(diff, want) {
		t.Errorf("%v", diff)
	}
	if diff.Total(nil) != 9 || Scripts(diff) != 3 || Stored(diff) != 2 {
		t.Errorf("%v: total %d, scripts %d, stored %d", diff, diff.Total(nil), Scripts(diff), Stored(diff))
	}
	if _, err := parseCommandStats("cmdstat_get:calls=many,usec=1"); err == nil {
		t.Error("no error for a count that is none")
	}
}

func TestAnswersOfRedisAreRead(t *testing.T) {
	in := bufio.NewReader(strings.NewReader("+OK\r\n:12\r\n$5\r\na\r\nbc\r\n$-1\r\n*2\r\n$1\r\nx\r\n:3\r\n-ERR no\r\n?\r\n"))
	for _, want := range []string{"OK", "12", "a\r\nbc", "", "x\n3"} {
		if got, err := readAnswer(in); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	for _, want := range []string{"ERR no", "unknown kind", "EOF"} {
		if got, err := readAnswer(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, %v; want the error %q", got, err, want)
		}
	}
}
