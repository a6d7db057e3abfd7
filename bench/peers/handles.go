// Peers that are read through a variable: the least there is, and the honest
// rival, one pointer to all of a service's options.

package peers

import (
	"context"
	"slices"
	"sync/atomic"
)

// An entry is as large as one of the library: a value and a pointer.
type entry struct {
	value int
	_     *int
}

// pointers is an array of atomic pointers.
type pointers struct {
	*truth
	slots   []atomic.Pointer[entry]
	request [RequestSize]*atomic.Pointer[entry]
}

func openPointers(_ context.Context, size int) (Store, error) {
	s := &pointers{truth: newTruth(size), slots: make([]atomic.Pointer[entry], size)}
	for i, v := range s.values {
		s.slots[i].Store(&entry{value: v})
	}
	for i := range s.request {
		s.request[i] = &s.slots[i%size]
	}
	return s, nil
}

func (s *pointers) Sum(ask Ask) (total int) {
	slots := s.slots
	for _, i := range ask.At {
		total += slots[i].Load().value
	}
	return total
}

func (s *pointers) Walk(_ []string, at, n int) int {
	slots := s.slots
	for range n {
		at = slots[at].Load().value
	}
	return at
}

func (s *pointers) Requests(n int) (total int) {
	for range n {
		for _, p := range &s.request {
			total += p.Load().value
		}
	}
	return total
}

func (s *pointers) Set(at int, _ string, value int) error {
	s.slots[at].Store(&entry{value: value})
	return nil
}

func (s *pointers) Invalidate(at int, key string) error { return s.Set(at, key, s.load(key)) }
func (s *pointers) Close() error                        { return nil }

// A config is all options of a service in one value.
type config struct{ fields []int }

// whole is one pointer to a config. Who changes an option copies it.
type whole struct {
	*truth
	current atomic.Pointer[config]
}

func openStruct(_ context.Context, size int) (Store, error) {
	s := &whole{truth: newTruth(size)}
	s.current.Store(&config{fields: slices.Clone(s.values)})
	return s, nil
}

func (s *whole) Sum(ask Ask) (total int) {
	for _, i := range ask.At {
		total += s.current.Load().fields[i]
	}
	return total
}

func (s *whole) Walk(_ []string, at, n int) int {
	for range n {
		at = s.current.Load().fields[at]
	}
	return at
}

// Requests loads the pointer once per request: all fields are of one moment.
func (s *whole) Requests(n int) (total int) {
	for range n {
		for _, v := range s.current.Load().fields[:RequestSize] {
			total += v
		}
	}
	return total
}

func (s *whole) Set(at int, _ string, value int) error {
	fields := slices.Clone(s.current.Load().fields)
	fields[at] = value
	s.current.Store(&config{fields: fields})
	return nil
}

func (s *whole) Invalidate(at int, key string) error { return s.Set(at, key, s.load(key)) }
func (s *whole) Close() error                        { return nil }

// words is an array of atomic integers.
type words struct {
	*truth
	slots   []atomic.Int64
	request [RequestSize]*atomic.Int64
}

func openWords(_ context.Context, size int) (Store, error) {
	s := &words{truth: newTruth(size), slots: make([]atomic.Int64, size)}
	for i, v := range s.values {
		s.slots[i].Store(int64(v))
	}
	for i := range s.request {
		s.request[i] = &s.slots[i%size]
	}
	return s, nil
}

func (s *words) Sum(ask Ask) (total int) {
	slots := s.slots
	for _, i := range ask.At {
		total += int(slots[i].Load())
	}
	return total
}

func (s *words) Walk(_ []string, at, n int) int {
	slots := s.slots
	for range n {
		at = int(slots[at].Load())
	}
	return at
}

func (s *words) Requests(n int) (total int) {
	for range n {
		for _, w := range &s.request {
			total += int(w.Load())
		}
	}
	return total
}

func (s *words) Set(at int, _ string, value int) error {
	s.slots[at].Store(int64(value))
	return nil
}

func (s *words) Invalidate(at int, key string) error { return s.Set(at, key, s.load(key)) }
func (s *words) Close() error                        { return nil }
