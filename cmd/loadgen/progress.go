package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/metrics"
	"time"
)

// The progress line: every second, rewritten in place on a terminal; elsewhere
// a line every 10 s.

func (r *run) progressLoop(ctx context.Context, out io.Writer) {
	terminal := isTerminal(out)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, lastReads := time.Now(), r.reads()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			if terminal {
				fmt.Fprint(out, "\r\033[K")
			}
			return
		case <-tick.C:
		}
		if !terminal && n%10 != 0 {
			continue
		}
		now, reads := time.Now(), r.reads()
		line := r.progressLine(float64(reads-lastReads) / now.Sub(last).Seconds())
		last, lastReads = now, reads
		if terminal {
			fmt.Fprintf(out, "\r\033[K%s", line)
		} else {
			fmt.Fprintln(out, line)
		}
	}
}

func (r *run) progressLine(rate float64) string {
	weather := r.weather.now.Load()
	state := "healthy"
	switch {
	case weather.fault != "":
		state = weather.fault
	case !weather.healthy:
		state = "recovering"
	}
	return fmt.Sprintf("%4.0fs  %6.1f M reads/s  %6d writes  %4d MiB  %-28s  %d violations",
		time.Duration(r.now()).Seconds(), rate/1e6, r.writes.Load(), footprint()>>20, state, r.found.total.Load())
}

func (r *run) reads() (sum int64) {
	for _, rd := range r.readers {
		sum += rd.reads.Load()
	}
	return sum
}

// footprint is the memory that this process has from the system, in bytes.
func footprint() uint64 {
	of := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(of)
	return of[0].Value.Uint64() - of[1].Value.Uint64()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
