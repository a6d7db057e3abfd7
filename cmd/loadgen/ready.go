package main

import (
	"fmt"
	"strings"
	"time"
)

// Ready must name a tier that does not answer, as soon as the process can know:
// a write or a heartbeat has failed. While the cache tells all, a process that
// writes nothing does not ask the source, nor hear that it is gone. And when all has been well for a while, it
// must say so. That it does when all are well again is part of recovery.go.

// readyBound is how long it may be wrong: a heartbeat, and who waits for it.
const readyBound = 2 * time.Second

const readyEvery = 100 * time.Millisecond

// writeEnds is when whatever was sent before an outage has ended.
const writeEnds = time.Second

// judgeReady asks every process.
func (r *run) judgeReady(now, lag int64) {
	if r.starved(lag) {
		return
	}
	cache, source := r.weather.surelyOut()
	_, calm := r.weather.calm()
	late := func(since int64) bool { return since != 0 && now-since > int64(readyBound)+lag }
	for i := range r.slots {
		p := r.hold(i)
		if p == nil {
			continue
		}
		err, stats := p.manager.Ready(), p.manager.Stats()
		if r.pretends {
			err = nil
		}
		r.release(p)
		if n := stats.SourceLoads + stats.Writes + stats.WritesFailed; n != p.asked {
			if p.asked = n; p.firstAsk <= source && now-source > int64(writeEnds) {
				p.firstAsk = now
			}
		}
		text := fmt.Sprint(err)
		switch {
		case late(cache) && !strings.Contains(text, "cache, since"):
			r.wrongReady(i, "the cache", now-cache, text)
		case late(source) && p.firstAsk > source && late(p.firstAsk) && !strings.Contains(text, "source, since"):
			r.wrongReady(i, "the source", now-source, text)
		}
		switch {
		case err == nil || !calm:
			p.unready = 0
		case p.unready == 0:
			p.unready = now
		case late(p.unready):
			r.violate(wrongReady, i, nil, fmt.Sprintf("all has been well for %v, and Ready says %s", time.Duration(now-p.unready), text))
			p.unready = now
		}
	}
}

// wrongReady reports a tier that is out and not named, once per fault.
func (r *run) wrongReady(process int, tier string, since int64, text string) {
	turn, _ := r.weather.calm()
	if at := (readyReport{process, tier, turn}); !r.readyTold[at] {
		r.readyTold[at] = true
		r.violate(wrongReady, process, nil, fmt.Sprintf("%s has been out for %v, and Ready says %s", tier, time.Duration(since).Round(time.Millisecond), text))
	}
}

type readyReport struct {
	process int
	tier    string
	turn    uint64
}
