package redis

// What was read in a cluster, for when slots move. A key that leaves a node is
// announced by that on most servers, and a key that is not there on none: who
// creates it elsewhere is not heard here. So all that was read and has moved is announced.

import (
	"errors"
	"sync"
)

// maxRead bounds the memory of a session, some 10 MB. With more keys a move is a loss.
const maxRead = 100_000

// reads are the keys that were read and not announced since.
type reads struct {
	mu   sync.Mutex
	keys map[string]struct{} // guarded by mu
	full bool                // guarded by mu; not all are kept
}

var errMoved = errors.New("slots have moved, and more keys were read than are kept in mind")

// add remembers the keys that were answered, be it by their being of another type.
func (r *reads) add(keys []string, all []reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = map[string]struct{}{}
	}
	for i, key := range keys {
		if _, ok := headOf(all[i]); !ok {
			continue
		}
		if len(r.keys) < maxRead {
			r.keys[key] = struct{}{}
		} else if _, ok := r.keys[key]; !ok {
			r.full = true
		}
	}
}

// forget is told of a key that was announced.
func (r *reads) forget(key string) {
	r.mu.Lock()
	delete(r.keys, key)
	r.mu.Unlock()
}

// leave returns, and forgets, the keys whose owner has changed.
func (r *reads) leave(old, now *slots) (left []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.keys {
		if slot := slotOf(key); old.owner[slot] != now.owner[slot] {
			left = append(left, key)
			delete(r.keys, key)
		}
	}
	if r.full {
		return nil, errMoved
	}
	return left, nil
}

// readInCluster notes what it reads. If the map has changed since that was sent,
// the announcements of the change may have passed it by.
func (s *session) readInCluster(keys []string, read func() []reply) []reply {
	before := s.slots.Load()
	all := read()
	s.reads.add(keys, all)
	if now := s.slots.Load(); now != before {
		s.announceMoved(before, now)
	}
	return all
}

// announceMoved announces the keys whose owner has changed.
func (s *session) announceMoved(old, now *slots) {
	left, err := s.reads.leave(old, now)
	if err != nil {
		s.fail(err)
	}
	for _, key := range left {
		s.hub.changed(s, key)
	}
}
