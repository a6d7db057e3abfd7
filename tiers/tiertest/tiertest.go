// Package tiertest checks that a store keeps the contract of package tiers. A
// store's own tests call TestSource, TestReadOnlySource or TestCache; the suite needs the standard
// library alone, and runs in real time.
//
// Each promise is one check, a subtest named after it. A check works in a
// namespace of its own with a random name, so one server may serve all checks,
// several runs at once, and other users.
package tiertest

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

// patience is how long a check waits for what must happen.
const patience = 5 * time.Second

// TestSource checks a source. open is called once, with t, and may use its
// Cleanup to close what it returns. The store may hold other namespaces. A
// source that is a tiers.Elector, a tiers.Compacter or a tiers.Prober is checked
// for that, too.
func TestSource(t *testing.T, open func(t *testing.T) tiers.Source) {
	source := open(t)
	for _, c := range sourceChecks {
		t.Run(c.name, func(t *testing.T) {
			c.run(&sourceProbe{newProbe(t.Context(), t, patience), source})
		})
	}
	if elector, ok := source.(tiers.Elector); ok {
		testElector(t, elector)
	}
	if compacter, ok := source.(tiers.Compacter); ok {
		testCompacter(t, source, compacter)
	}
	testProber(t, source)
}

// TestCache checks a cache, as TestSource does a source. A cache that is a
// tiers.Marker or a tiers.Prober is checked for that, too. Checks of damaged entries and marks run
// only if the cache is a Corrupter or a MarkCorrupter.
func TestCache(t *testing.T, open func(t *testing.T) tiers.Cache) {
	cache := open(t)
	for _, c := range cacheChecks {
		t.Run(c.name, func(t *testing.T) {
			c.run(&cacheProbe{newProbe(t.Context(), t, patience), cache})
		})
	}
	if marker, ok := cache.(tiers.Marker); ok {
		testMarker(t, cache, marker)
	}
	testProber(t, cache)
	corrupter, ok := cache.(Corrupter)
	if !ok {
		return
	}
	for _, c := range corruptChecks {
		t.Run(c.name, func(t *testing.T) {
			c.run(&cacheProbe{newProbe(t.Context(), t, patience), cache}, corrupter)
		})
	}
}

// A Corrupter is a cache whose entries a test can damage: afterwards Load finds
// raw under name, where an entry was, and answers with a *tiers.CorruptError.
type Corrupter interface {
	Corrupt(namespace, name string, raw []byte)
}

// A MarkCorrupter is a tiers.Marker whose marks a test can damage: afterwards
// Mark finds raw, where a mark was, and answers with a *tiers.CorruptError.
type MarkCorrupter interface {
	CorruptMark(namespace string, raw []byte)
}

// A tester is told of a broken promise. It is the part of testing.TB that
// checks use; Fatalf does not return.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// A probe is what a check works with.
type probe struct {
	tester
	ctx  context.Context // for calls that must succeed
	ns   string          // no other check's
	wait time.Duration   // how long to wait for what must happen
}

func newProbe(ctx context.Context, t tester, wait time.Duration) *probe {
	return &probe{tester: t, ctx: ctx, ns: "tiertest-" + rand.Text(), wait: wait}
}

// eventually polls until ok holds, and breaks the check if it never does.
func (p *probe) eventually(ok func() bool, format string, args ...any) {
	p.Helper()
	deadline := time.After(p.wait)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			p.Fatalf("still not so after %v: "+format, append([]any{p.wait}, args...)...)
		}
	}
}

// promptly breaks the check unless f returns within the time it waits.
func (p *probe) promptly(what string, f func()) {
	p.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(p.wait):
		p.Fatalf("%s has not returned after %v", what, p.wait)
	}
}

// checkResult breaks the check unless r is a well-formed outcome for name that
// arrived now from a call made at start, of a tier that may be as late as lag.
func (p *probe) checkResult(r tiers.Result, name string, start time.Time, lag time.Duration) {
	p.Helper()
	now := time.Now()
	switch {
	case r.Name != name:
		p.Fatalf("result for %q stands in the place of %q", r.Name, name)
	case r.Err != nil && (r.Kind != 0 || r.Data != nil || !r.Stamp.IsZero()):
		p.Fatalf("load %q: an error and a record in one result", name)
	case r.Err != nil:
		return
	case r.Kind != tiers.Value && r.Kind != tiers.Absent:
		p.Fatalf("load %q: neither an error, nor a value, nor absent: %v", name, r.Kind)
	case r.Kind == tiers.Absent && r.Data != nil:
		p.Fatalf("load %q: absent, but with data", name)
	case r.Kind == tiers.Value && r.NoRow:
		p.Fatalf("load %q: a value with NoRow", name)
	case r.AsOf == r.AsOf.Round(0):
		p.Fatalf("load %q: AsOf has no monotonic reading", name)
	case r.AsOf.Before(start.Add(-lag)):
		p.Fatalf("load %q: AsOf is %v before the call", name, start.Sub(r.AsOf))
	case r.AsOf.After(now):
		p.Fatalf("load %q: AsOf is in the future", name)
	}
}

// oddNames are legal and invite mistakes in quoting, escaping, globbing, case
// and cutting.
var oddNames = []string{
	"a", "A", " a", "a ", "a b", "a*", "a?", "[a]", "{a}", "a%", "a_", `a\`, "a:b", "a::b", "a/b", "a.b",
	"'", "\"", "''", "a'; --", "$1", "\n", "\t", "\x01", "ä", "a\u0308", "名前", "🙂", "\u2028", "NULL", "null", "0",
	string(longest('x')), string(longest('y')),
}

func longest(c byte) []byte {
	name := make([]byte, tiers.MaxName)
	for i := range name {
		name[i] = c
	}
	return name
}

// badNames are no names; each gets an error of its own.
var badNames = []string{"", "a\x00b", "\x00", "\xff", "a\xc3", "\xed\xa0\x80", string(append(longest('x'), 'x'))}

// falsyData are values, whatever they look like.
var falsyData = []string{`false`, `0`, `""`, `[]`, `{}`, `null`, `0.0`, `"null"`}

// longestData is a JSON text of exactly tiers.MaxData bytes.
func longestData() []byte {
	data := make([]byte, tiers.MaxData)
	for i := range data {
		data[i] = 'd'
	}
	data[0], data[len(data)-1] = '"', '"'
	return data
}
