package postgres

import (
	"math/rand/v2"
	"time"
)

// Pacing: how often Watch and Elect come back to a server that fails. What they
// send it then must not be more than they send one that is well (I20), in
// numbers: connections and statements, for either is work for the server. And
// no two processes come in step.

const (
	retryFirst  = 10 * time.Millisecond   // after a session that lasted: the server may be fine
	retryMost   = 800 * time.Millisecond  // between connections that fail, reached in steps
	retrySpoken = 1200 * time.Millisecond // after a session that came to nothing, which took several statements
	retrySteady = time.Second             // a session that worked for so long had lasted
)

// A pace spaces the attempts of one loop to have a session.
type pace struct {
	pause  time.Duration
	spoken bool      // this attempt has a connection
	since  time.Time // when it got what it is for; zero: it did not
}

// speaks notes that this attempt is connected.
func (p *pace) speaks() { p.spoken = true }

// works notes that this attempt got what it is for.
func (p *pace) works() {
	if p.since.IsZero() {
		p.since = time.Now()
	}
}

// over returns how long to rest after an attempt that has ended, a quarter more or
// less, and begins the next one.
func (p *pace) over() time.Duration {
	switch {
	case !p.since.IsZero() && time.Since(p.since) >= retrySteady:
		p.pause = retryFirst
	case p.spoken && p.since.IsZero():
		p.pause = retrySpoken
	default:
		p.pause = max(retryFirst, min(4*p.pause, retryMost))
	}
	p.spoken, p.since = false, time.Time{}
	return p.pause*3/4 + rand.N(p.pause/2)
}
