package redis

// How the entries of a node are read so that the next change of each is
// announced: either the server tracks what a connection has read and pushes, or
// nobody does, and everything is read again at intervals (poll.go).

import (
	"context"

	"github.com/redis/rueidis"
)

// A tracking is a way to read.
type tracking interface {
	// prepare sets what a connection asks for when it begins.
	prepare(opt *rueidis.ClientOption)
	// read reads keys of one node in one write. asking: their slots are on
	// their way to that node.
	read(c rueidis.Client, keys []string, asking bool) []reply
	// peek reads key, and is told nothing of its changes.
	peek(c rueidis.Client, key string, asking bool) reply
	// ping asks whether the connection lives, and may still do what read needs.
	ping(c rueidis.Client) error
}

// A reply is what the server said about one key; err is [rueidis.Nil] for nothing.
type reply struct {
	msg rueidis.RedisMessage
	err error
}

func replies(results []rueidis.RedisResult) []reply {
	out := make([]reply, len(results))
	for i, r := range results {
		out[i].msg, out[i].err = r.ToMessage()
	}
	return out
}

func (r reply) bytes() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.msg.AsBytes()
}

func (r reply) integer() (int64, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.msg.AsInt64()
}

// pushed is tracking with OPTOUT: the server remembers every key that the
// connection reads, also those it found empty, and forgets it with the push. NOLOOP
// must not be added: after a write of one's own all later pushes would be lost.
//
// Client-side caching (OPTIN) would keep a copy of each value beside ours and take
// two commands for a name instead of one. Its gain, reads of what has not changed,
// is had without any read: an event Alive says as much. BenchmarkTracking compares them.
type pushed struct{}

func (pushed) prepare(opt *rueidis.ClientOption) {
	opt.ClientTrackingOptions = []string{"OPTOUT"}
}

func (pushed) read(c rueidis.Client, keys []string, asking bool) []reply {
	return readAll(c, keys, asking)
}

// peek needs two commands. Where a slot is on its way they may not stand between
// asking and reading; there it is one that the server does not take for a read.
func (pushed) peek(c rueidis.Client, key string, asking bool) reply {
	if asking {
		return runAll(c, 1, asking, func(b rueidis.Builder, _ int) rueidis.Completed {
			return b.Getex().Key(key).Build()
		})[0]
	}
	return replies(c.DoMulti(context.Background(), c.B().ClientCaching().No().Build(), c.B().Get().Key(key).Build()))[1]
}

func (pushed) ping(c rueidis.Client) error {
	return c.Do(context.Background(), c.B().Ping().Build()).Error()
}

// readAll reads keys by one GET each.
func readAll(c rueidis.Client, keys []string, asking bool) []reply {
	return runAll(c, len(keys), asking, func(b rueidis.Builder, i int) rueidis.Completed {
		return b.Get().Key(keys[i]).Build()
	})
}

// runAll sends n commands to one node in one write.
func runAll(c rueidis.Client, n int, asking bool, build func(b rueidis.Builder, i int) rueidis.Completed) []reply {
	cmds := make([]rueidis.Completed, 0, 2*n)
	for i := range n {
		if asking {
			cmds = append(cmds, c.B().Asking().Build())
		}
		cmds = append(cmds, build(c.B(), i))
	}
	all := replies(c.DoMulti(context.Background(), cmds...))
	if asking {
		for i := range n {
			all[i] = all[2*i+1]
		}
	}
	return all[:n]
}
