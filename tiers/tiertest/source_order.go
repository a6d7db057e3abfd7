package tiertest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a source does with many writers: their writes have one order, which
// every reader sees.

const (
	writers   = 8
	perWriter = 20
)

// crowd runs f once for each writer and returns when all have.
func crowd(f func(writer int)) {
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() { f(w) })
	}
	all.Wait()
}

func loadIsOneInstant(p *sourceProbe) {
	pair := func(i int) []tiers.Write {
		data := fmt.Append(nil, i)
		return []tiers.Write{{Name: "a", Data: data}, {Name: "b", Data: data}}
	}
	p.write(pair(0)...)
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5 * perWriter {
			if _, err := p.source.Write(p.ctx, p.ns, pair(i)); err != nil {
				failed <- err
				return
			}
		}
	}()
	defer func() { <-done }()
	var last tiers.Stamp
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		rs := p.load("a", "none", "b")
		if rs[0].Stamp != rs[2].Stamp || rs[1].Stamp != rs[0].Stamp || string(rs[0].Data) != string(rs[2].Data) {
			p.Fatalf("written together, loaded apart: %v and %v, head %v", rs[0].Stamp, rs[2].Stamp, rs[1].Stamp)
		}
		if last.Newer(rs[0].Stamp) {
			p.Fatalf("loaded %v after %v", rs[0].Stamp, last)
		}
		last = rs[0].Stamp
	}
	select {
	case err := <-failed:
		p.Fatalf("write: %v", err)
	default:
	}
}

func concurrentWritesAreOrdered(p *sourceProbe) {
	before := p.set("shared", `"before"`)
	var mu sync.Mutex
	byRevision := map[uint64]string{} // what was written to shared, guarded by mu
	var failed error                  // guarded by mu
	crowd(func(w int) {
		for i := range perWriter {
			data := strconv.Itoa(w*perWriter + i)
			stamp, err := p.source.Write(p.ctx, p.ns, []tiers.Write{
				{Name: "shared", Data: []byte(data)}, {Name: fmt.Sprintf("own%d", w), Data: []byte(data)},
			})
			mu.Lock()
			if _, taken := byRevision[stamp.Revision]; err == nil && taken {
				err = fmt.Errorf("two transactions have stamp %v", stamp)
			}
			if err == nil && stamp.Epoch != before.Epoch {
				err = fmt.Errorf("stamp %v after %v", stamp, before)
			}
			failed = errors.Join(failed, err)
			byRevision[stamp.Revision] = data
			mu.Unlock()
		}
	})
	if failed != nil {
		p.Fatalf("concurrent writes: %v", failed)
	}
	revisions := slices.Sorted(maps.Keys(byRevision))
	first, last := revisions[0], revisions[len(revisions)-1]
	if first != before.Revision+1 || last != before.Revision+writers*perWriter {
		p.Fatalf("%d writes after revision %d have revisions %d to %d", writers*perWriter, before.Revision, first, last)
	}
	p.holds("shared", byRevision[last], tiers.Stamp{Epoch: before.Epoch, Revision: last})
}

func concurrentUpdatesAreNotLost(p *sourceProbe) {
	const each = 4
	p.set("counter", `0`)
	failed := make([]error, writers)
	crowd(func(w int) {
		for range each {
			if failed[w] = p.increment("counter"); failed[w] != nil {
				return
			}
		}
	})
	if err := errors.Join(failed...); err != nil {
		p.Fatalf("concurrent updates: %v", err)
	}
	r := p.load("counter")[0]
	if got := string(r.Data); got != strconv.Itoa(writers*each) {
		p.Fatalf("%d updates by the stamp they had read, counted %s", writers*each, got)
	}
}

// increment adds one to name, trying again as long as others come first.
func (p *sourceProbe) increment(name string) error {
	for {
		r := p.source.Load(p.ctx, p.ns, []string{name})[0]
		if r.Err != nil {
			return r.Err
		}
		n, err := strconv.Atoi(string(r.Data))
		if err != nil {
			return err
		}
		w := tiers.Write{Name: name, Data: fmt.Append(nil, n+1), If: &r.Stamp}
		_, err = p.source.Write(p.ctx, p.ns, []tiers.Write{w})
		if err == nil || !errors.Is(err, tiers.ErrConflict) {
			return err
		}
	}
}
