package main

import "testing"

func TestLagIsRememberedForTheWindow(t *testing.T) {
	var l lagMeter
	l.note(70, false)
	l.note(10, false)
	for range window - 1 {
		l.note(20, true)
		if got := l.recent(); got != 70 {
			t.Fatalf("recent lag %d, want 70", got)
		}
	}
	l.note(20, true)
	if got := l.recent(); got != 20 {
		t.Fatalf("after the window the lag is %d, want 20", got)
	}
	if got := l.worst(); got != 70 {
		t.Fatalf("worst lag of the run %d, want 70", got)
	}
}
