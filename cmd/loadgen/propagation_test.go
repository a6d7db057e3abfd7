package main

import "testing"

func TestLateNewsIsReportedOnce(t *testing.T) {
	var s propagation
	sp := s.begin(1, 0, 3, 0, 7)
	s.end(sp, true, 10)
	s.hear(1, 1, 20, 7, true)
	bound := 10 + int64(spreadBound)
	if late := s.judge(bound, 0, 7, true); len(late) != 0 {
		t.Fatalf("late before the time is up: %v", late)
	}
	if late := s.judge(bound+1, 5, 7, true); len(late) != 0 {
		t.Fatalf("late although timers are: %v", late)
	}
	if late := s.judge(bound+6, 5, 7, true); len(late) != 1 || late[0].process != 2 {
		t.Fatalf("late: %v, want process 2 alone", late)
	}
	if late := s.judge(bound+7, 5, 7, true); len(late) != 0 {
		t.Fatalf("reported again: %v", late)
	}
	if s.heard.total != 1 || s.heard.max != 20 {
		t.Fatalf("%d arrivals measured, the last took %d", s.heard.total, s.heard.max)
	}
}

func TestNewsIsNotJudgedInBadWeather(t *testing.T) {
	for _, c := range []struct {
		name string
		turn uint64
		calm bool
	}{{"a fault is at work", 8, false}, {"one has been", 8, true}} {
		var s propagation
		s.end(s.begin(1, 0, 2, 0, 7), true, 10)
		if late := s.judge(100*second, 0, c.turn, c.calm); len(late) != 0 {
			t.Errorf("%s: late %v", c.name, late)
		}
	}
	var s propagation
	s.end(s.begin(1, 0, 2, 0, 7), false, 10)
	if late := s.judge(100*second, 0, 7, true); len(late) != 0 {
		t.Errorf("a write that failed need not arrive: %v", late)
	}
}

func TestNewerNewsTellsOfOlder(t *testing.T) {
	var s propagation
	for n := range uint32(3) {
		s.end(s.begin(n+1, 0, 2, int64(n), 1), true, int64(n))
	}
	s.hear(1, 3, 5, 1, true) // a watcher may skip to the newest
	if late := s.judge(100*second, 0, 1, true); len(late) != 0 {
		t.Fatalf("late: %v", late)
	}
	if s.heard.total != 3 || s.heard.max != 5 {
		t.Fatalf("%d arrivals, the last took %d", s.heard.total, s.heard.max)
	}
}
