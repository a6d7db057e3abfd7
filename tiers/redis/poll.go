package redis

// Polls: for servers that do not push. What was loaded is read again at
// intervals, kind and stamp of it, and what differs from the answer that the
// load gave is announced. As with pushes, once: the next load begins anew.

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/internal/envelope"
	"github.com/fastopt/fastopt-go/tiers"
)

// interest is how long a name is read again after it was loaded. Then it is
// announced, as if changed: who still wants it loads it.
const interest = 10 * time.Minute

// polled is no tracking at all, by the older protocol.
type polled struct{}

func (polled) prepare(opt *rueidis.ClientOption) {
	opt.DisableCache = true
	opt.AlwaysRESP2 = true
	opt.ClientName = "" // CLIENT may be unknown, too
	opt.OnInvalidations = nil
}

func (polled) read(c rueidis.Client, keys []string, asking bool) []reply {
	return readAll(c, keys, asking)
}

func (polled) peek(c rueidis.Client, key string, asking bool) reply {
	return readAll(c, []string{key}, asking)[0]
}

func (polled) ping(c rueidis.Client) error { return pushed{}.ping(c) }

// polls remembers what loads were told.
type polls struct {
	sent atomic.Int64 // when the last poll that was answered in full was sent, on the session's clock

	mu     sync.Mutex
	seen   map[string]seen // guarded by mu; by key
	flying map[*int64]bool // guarded by mu; when the loads that are under way were sent
}

type seen struct {
	head   string // see headOf
	loaded time.Time
}

// depart is called before a load is sent, land after it was answered.
func (p *polls) depart(now int64) (load *int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying[&now] = true
	return &now
}

// land keeps what a load was told of keys. The answers may be older than a poll
// that is under way: the next one finds the difference. What an earlier load was
// told otherwise is announced here, before a poll can find all as it was.
func (p *polls) land(load *int64, keys []string, all []reply, announce func(key string)) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flying, load)
	for i, key := range keys {
		head, ok := headOf(all[i])
		if !ok {
			continue
		}
		if known, again := p.seen[key]; again && known.head != head {
			announce(key)
		}
		p.seen[key] = seen{head, now}
	}
}

// headOf returns what tells entries apart, of the whole entry or of its beginning;
// ok is false for an error that tells nothing about the key.
func headOf(r reply) (head string, ok bool) {
	raw, err := r.bytes()
	switch {
	case wrongType(err):
		return "another type", true
	case rueidis.IsRedisNil(err):
		return "", true
	case err != nil:
		return "", false
	}
	return string(raw[:min(len(raw), envelope.Stamped)]), true
}

// poll reads everything again at intervals until the session ends. A node that
// is silent meanwhile is noticed by its heartbeats.
func (s *session) poll() error {
	ticker := time.NewTicker(phase(s.set.Poll))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			ticker.Reset(s.set.Poll)
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		keys, sent := s.polls.begin(s.now())
		if s.compare(keys) {
			s.polls.sent.Store(sent)
			s.hub.alive(s)
		}
	}
}

// begin returns what a poll that is sent now has to read, and up to when it can
// tell of changes: of names that are being loaded it knows nothing yet.
func (p *polls) begin(now int64) (keys []string, covers int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for sent := range p.flying {
		now = min(now, *sent)
	}
	return slices.Collect(maps.Keys(p.seen)), now
}

// compare announces what differs, and reports whether every key was read.
func (s *session) compare(keys []string) bool {
	for chunk := range slices.Chunk(keys, tiers.MaxBatch) {
		found := s.do(chunk, func(b rueidis.Builder, i int) rueidis.Completed {
			return b.Getrange().Key(chunk[i]).Start(0).End(envelope.Stamped - 1).Build()
		})
		for i, key := range chunk {
			head, ok := headOf(found[i])
			if !ok {
				return false
			}
			if s.polls.differs(key, head) {
				s.hub.changed(s, key)
			}
		}
	}
	return true
}

// differs reports whether key is to be announced, and forgets it then.
func (p *polls) differs(key, head string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.seen[key]
	if !ok || known.head == head && time.Since(known.loaded) < interest {
		return false
	}
	delete(p.seen, key)
	return true
}
