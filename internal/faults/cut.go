package faults

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
)

// A cut says at which byte of which connection a flow is to end.
type cut struct {
	start func() look // for one connection
	spent atomic.Bool // the connection was found
}

// A look is shown each piece of one connection's flow, in order. It says how many
// of its bytes may still be delivered, and whether it is over with the connection.
type look func(piece []byte) (pass int, over bool)

// inspect shows b to the order c. Of several connections that hit it at the same
// time one is cut.
func (p *pipe) inspect(c *cut, b []byte) (pass int, over bool) {
	if c == nil || c.spent.Load() {
		return len(b), false
	}
	if c != p.cut {
		p.cut, p.look = c, c.start()
	}
	pass, over = p.look(b)
	if over && !c.spent.CompareAndSwap(false, true) {
		return len(b), false
	}
	return pass, over
}

func afterBytes(n int64) *cut {
	var flowed atomic.Int64
	return &cut{start: func() look {
		return func(piece []byte) (int, bool) {
			beyond := flowed.Add(int64(len(piece))) - n
			return max(0, len(piece)-int(max(0, beyond))), beyond >= 0
		}
	}}
}

func whenHit(hit func([]byte) bool) *cut {
	return &cut{start: func() look {
		return func(piece []byte) (int, bool) {
			if hit(piece) {
				return 0, true
			}
			return len(piece), false
		}
	}}
}

// atPatterns withholds from the first pattern on: after a gap a pipe delivers
// nothing more. A pattern that is split over pieces is found, but its first part may
// have been delivered.
func atPatterns(patterns [][]byte) *cut {
	return &cut{start: func() look {
		found := 0
		var tail []byte // of the flow so far: may begin the next pattern
		return func(piece []byte) (pass int, over bool) {
			pass = len(piece)
			window, seen := append(tail, piece...), len(tail)
			for found < len(patterns) {
				at := bytes.Index(window, patterns[found])
				if at < 0 {
					break
				}
				if found == 0 {
					pass = max(0, at-seen)
				}
				rest := at + len(patterns[found])
				window, seen = window[rest:], seen-rest
				found++
			}
			if found == len(patterns) {
				return pass, true
			}
			keep := min(len(window), len(patterns[found])-1)
			tail = bytes.Clone(window[len(window)-keep:])
			return pass, false
		}
	}}
}

// CommandComplete returns the bytes by which Postgres reports a statement as done,
// by its tag: "COMMIT", "INSERT 0 1". Outside a transaction block the statement is
// committed only by the time of the ReadyForQuery behind it.
func CommandComplete(tag string) []byte {
	message := binary.BigEndian.AppendUint32([]byte{'C'}, uint32(4+len(tag)+1))
	return append(append(message, tag...), 0)
}

// ReadyForQuery returns the bytes by which Postgres says that no transaction is
// open on the connection: what came before is committed or rolled back. They also
// end the start of a connection.
func ReadyForQuery() []byte { return []byte{'Z', 0, 0, 0, 5, 'I'} }
