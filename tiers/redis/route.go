package redis

// Commands sent to where their keys are. In a cluster that is a guess by the
// last map; a node that knows better sends us elsewhere: for good (MOVED) or for
// this time (ASK), while a slot is on its way.

import (
	"slices"
	"strings"
	"sync"

	"github.com/redis/rueidis"
)

// maxRounds is how often a command follows a redirection.
const maxRounds = 5

// A target is a node, and whether it has to be asked for keys that it is about to own.
type target struct {
	addr   string
	asking bool
}

// A part is what one target is sent in one round.
type part struct {
	places  []int // of its keys among all
	replies []reply
}

// A run sends one node what concerns the keys at places, in one write.
type run func(c rueidis.Client, places []int, asking bool) []reply

// send has run do what concerns keys, once per node and round, and returns the
// replies in the order of keys.
func (s *session) send(keys []string, run run) []reply {
	m := s.slots.Load()
	if m == nil {
		all := run((*s.nodes.Load())[0].client, upTo(len(keys)), false)
		if slices.ContainsFunc(all, demoted) {
			s.lookAgain()
		}
		return all
	}
	parts := map[target]*part{}
	for i, key := range keys {
		add(parts, target{addr: m.owner[slotOf(key)]}, i)
	}
	all := make([]reply, len(keys))
	for range maxRounds {
		s.round(parts, run)
		next := map[target]*part{}
		for _, p := range parts {
			for j, place := range p.places {
				all[place] = p.replies[j]
				if to := redirect(p.replies[j].err); to != nil {
					add(next, *to, place)
				}
			}
		}
		if len(next) == 0 {
			break
		}
		s.lookAgain()
		parts = next
	}
	return all
}

// round sends all parts at once and waits for their replies.
func (s *session) round(parts map[target]*part, run run) {
	var others sync.WaitGroup
	left := len(parts)
	for to, p := range parts {
		if left--; left == 0 {
			p.replies = s.one(to, p, run)
		} else {
			others.Go(func() { p.replies = s.one(to, p, run) })
		}
	}
	others.Wait()
}

func (s *session) one(to target, p *part, run run) []reply {
	n, err := (*s.nodes.Load())[0], error(nil)
	if to.addr != "" { // else nobody owns it: any node will say so
		n, err = s.join(to.addr)
	}
	if err != nil {
		failed := make([]reply, len(p.places))
		for i := range failed {
			failed[i].err = err
		}
		return failed
	}
	return run(n.client, p.places, to.asking)
}

// demoted reports whether the server has refused to write, as a replica does.
func demoted(r reply) bool {
	re, ok := rueidis.IsRedisErr(r.err)
	return ok && strings.Contains(re.Error(), "READONLY")
}

// lookAgain has it checked soon who owns what.
func (s *session) lookAgain() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

func add(parts map[target]*part, to target, place int) {
	p := parts[to]
	if p == nil {
		p = &part{}
		parts[to] = p
	}
	p.places = append(p.places, place)
}

// redirect returns where an error sends its command, nil if it does not.
func redirect(err error) *target {
	re, ok := rueidis.IsRedisErr(err)
	if !ok {
		return nil
	}
	if addr, ok := re.IsMoved(); ok {
		return &target{addr, false}
	}
	if addr, ok := re.IsAsk(); ok {
		return &target{addr, true}
	}
	return nil
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
