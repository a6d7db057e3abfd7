package peers

import (
	"testing"
	"time"
)

// A table compares peers that do what is asked of them: each is seen to read
// what it holds, without a miss, and to see what changes.

// open opens a peer for this test or benchmark alone.
func open(t testing.TB, p Peer, size int) Store {
	t.Helper()
	s, err := p.Open(t.Context(), size)
	if err != nil {
		t.Fatalf("open %s: %v", p.Name, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", p.Name, err)
		}
	})
	return s
}

// eventually waits for what another goroutine or process does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestEveryPeerReadsWhatItHolds(t *testing.T) {
	const size = 1000
	keys := Keys(size)
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			s := open(t, p, size)
			ask := NewAsk(Zipf, size, 5000, 1)
			if got, want := s.Sum(ask), expected(ask, size); got != want {
				t.Errorf("the sum is %d, want %d", got, want)
			}
			if got := s.Walk(keys, 7, size); got != 7 {
				t.Errorf("a walk through all keys from 7 ends at %d", got)
			}
			if got := s.Walk(keys, 7, size/2); got == 7 {
				t.Error("a walk through half of the keys ends where it began")
			}
			if got := s.Misses(); got != 0 {
				t.Errorf("%d misses", got)
			}
			if r, ok := s.(Requester); ok {
				first := Ask{At: make([]int, RequestSize), Keys: keys[:RequestSize]}
				for i := range first.At {
					first.At[i] = i
				}
				if got, want := r.Requests(3), 3*expected(first, size); got != want {
					t.Errorf("the sum of three requests is %d, want %d", got, want)
				}
			}
			one := Ask{At: []int{9}, Keys: keys[9:10]}
			if err := s.Set(9, keys[9], 123); err != nil {
				t.Fatal(err)
			}
			eventually(t, "what was set is not read", func() bool { return s.Sum(one) == 123 })
			if err := s.Set(9, keys[9], values(size)[9]); err != nil {
				t.Fatal(err)
			}
			eventually(t, "what was set again is not read", func() bool { return s.Sum(one) == expected(one, size) })
		})
	}
}

// What is invalidated is read again from where it came from.
func TestInvalidatedIsReadAgain(t *testing.T) {
	const size = 100
	keys := Keys(size)
	for _, p := range All() {
		if p.Job == DoesMore {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			s := open(t, p, size)
			one := Ask{At: []int{9}, Keys: keys[9:10]}
			s.Sum(one)
			if err := s.Invalidate(9, keys[9]); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it was not read again", func() bool {
				return s.Sum(one) == expected(one, size) && s.Misses() > 0
			})
		})
	}
}

func TestNamesOfPeersDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range All() {
		if seen[p.Name] {
			t.Errorf("there are two peers named %s", p.Name)
		}
		seen[p.Name] = true
		if q, ok := Named(p.Name); !ok || q.Name != p.Name {
			t.Errorf("%s is not found", p.Name)
		}
		if p.Note == "" && !p.Ours {
			t.Errorf("%s has no note", p.Name)
		}
	}
	if p, ok := Named("nobody"); ok {
		t.Errorf("nobody is %s", p.Name)
	}
}
