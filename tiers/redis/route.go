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
	places  []int  // of its keys among all
	from    string // who replied
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
		next, moved := map[target]*part{}, false
		for _, p := range parts {
			for j, place := range p.places {
				all[place] = p.replies[j]
				if to, ok := redirect(p.replies[j].err, p.from); ok {
					add(next, to, place)
					moved = moved || !to.asking
				}
			}
		}
		if len(next) == 0 {
			break
		}
		if moved { // a slot on its way is not in any map
			s.lookAgain()
		}
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
			s.one(to, p, run)
		} else {
			others.Go(func() { s.one(to, p, run) })
		}
	}
	others.Wait()
}

func (s *session) one(to target, p *part, run run) {
	n, err := (*s.nodes.Load())[0], error(nil)
	if to.addr != "" { // else nobody owns it: any node will say so
		n, err = s.join(to.addr)
	}
	if err != nil {
		p.replies = make([]reply, len(p.places))
		for i := range p.replies {
			p.replies[i].err = err
		}
		return
	}
	p.from, p.replies = n.addr, run(n.client, p.places, to.asking)
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

// redirect returns where an error of the node at from sends its command; ok is
// false if it does not, or to a node without a name.
func redirect(err error, from string) (to target, ok bool) {
	re, ok := rueidis.IsRedisErr(err)
	if !ok {
		return to, false
	}
	words := strings.Fields(re.Error())
	if len(words) != 3 || words[0] != "MOVED" && words[0] != "ASK" {
		return to, false
	}
	colon := strings.LastIndexByte(words[2], ':') // an IPv6 address stands there without brackets
	if colon < 0 {
		return to, false
	}
	addr := announced(words[2][:colon], words[2][colon+1:], from)
	return target{addr, words[0] == "ASK"}, addr != ""
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
