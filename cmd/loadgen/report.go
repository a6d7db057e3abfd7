package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// The report: what was done, how fast, what broke, and what was wrong.

func (r *run) report(out io.Writer) {
	c := r.conf
	fmt.Fprintf(out, "loadgen -backend %s -duration %v -options %d -processes %d -readers %d -duty %d -writes %d -seed %d\n",
		c.backend, c.duration, c.options, c.processes, c.readers, c.duty, c.writes, c.seed)
	fmt.Fprintf(out, "%d processors, %s, ran %v\n\n", runtime.GOMAXPROCS(0), runtime.Version(), r.took.Round(10*time.Millisecond))
	r.reportReads(out)
	r.reportWrites(out)
	r.reportFaults(out)
	r.reportViolations(out)
}

func (r *run) reportReads(out io.Writer) {
	var healthy, faulty, controls histogram
	var excused int64
	for _, rd := range r.readers {
		healthy.merge(&rd.healthy)
		faulty.merge(&rd.faulty)
		controls.merge(&rd.controls)
		excused += rd.excused
	}
	reads := r.reads()
	fmt.Fprintf(out, "reads      %s, every one verified, %s per second\n", count(reads), count(int64(float64(reads)/r.took.Seconds())))
	fmt.Fprintf(out, "           %s by Inspect, Load and Watch; %s gave a default because of a fault\n\n", count(r.deep.Load()), count(excused))
	fmt.Fprintf(out, "ns per read, batches of %d   %8s %8s %8s %8s %8s %10s\n", batch, "p50", "p90", "p99", "p99.9", "p99.99", "max")
	for _, row := range []struct {
		name string
		h    *histogram
	}{{"Get, healthy", &healthy}, {"Get, faults", &faulty}, {"bare atomic load", &controls}} {
		if row.h.total == 0 {
			continue
		}
		fmt.Fprintf(out, "  %-26s", row.name)
		for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 0.9999} {
			fmt.Fprintf(out, " %8.2f", float64(row.h.percentile(q))/batch)
		}
		fmt.Fprintf(out, " %10.1f\n", float64(row.h.max)/batch)
	}
	ratio := func(h *histogram) string {
		if h.total == 0 || controls.percentile(0.5) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", float64(h.percentile(0.5))/float64(controls.percentile(0.5)))
	}
	note := ""
	if duty := r.conf.duty; duty < 100 { // entries are larger than what the control reads
		note = fmt.Sprintf("; caches went cold, as readers read %d %% of the time", duty)
	}
	fmt.Fprintf(out, "  %-26s %s healthy, %s during faults%s\n\n", "p50 against bare loads", ratio(&healthy), ratio(&faulty), note)
}

func (r *run) reportWrites(out io.Writer) {
	var acked, refused, unknown int64
	for _, w := range r.writers {
		acked, refused, unknown = acked+w.acked, refused+w.refused, unknown+w.unknown
	}
	fmt.Fprintf(out, "writes     %s acknowledged, %s refused, %s of unknown outcome (%d not decided)\n",
		count(acked), count(refused), count(unknown), len(r.doubts.all()))
	s := &r.spread.heard
	fmt.Fprintf(out, "propagation, healthy        p50 %v, p99 %v, max %v, of %s arrivals\n",
		tidy(s.at(0.5)), tidy(s.at(0.99)), tidy(time.Duration(s.max)), count(int64(s.total)))
	fmt.Fprintf(out, "expirer    %d falls to a default, at most %v late\n", r.final.expiries, tidy(r.final.worstFall))
	for l, n := range r.final.requests {
		b := budgets[l]
		fmt.Fprintf(out, "source     requests for %s: at most %.0f of a burst of %d and %v per second\n", laneNames[l], n, b.Burst, b.Rate)
	}
	fmt.Fprintf(out, "log        at most %d lines by one process per fault (%s)\n", r.loudest, cmp.Or(r.loudestOf, "none"))
	if r.loudest > linesPerFault {
		fmt.Fprintf(out, "        %s\n", r.loudestText)
	}
	fmt.Fprintf(out, "processes  begun anew %d times; memory %d MiB\n", r.reopened.Load(), footprint()>>20)
	fmt.Fprintf(out, "timer lag  at most %v; the bounds allow for what was measured in the last %d s;\n", tidy(r.lag.worst()), window)
	fmt.Fprintf(out, "           %.1f %% of the time it was more than %v, so that recovery, staleness,\n           log lines, Ready and falls to defaults were not judged\n\n",
		100*r.slowFor.Seconds()/r.took.Seconds(), r.stores.tooLate())
}

func (r *run) reportFaults(out io.Writer) {
	width, missed := len("storms of several"), 0
	for _, t := range r.tallies {
		width = max(width, len(t.name))
	}
	fmt.Fprintf(out, "%-*s   injected     bit   in storms   worst recovery\n", width, "faults")
	for _, t := range r.tallies {
		if t.injected == 0 {
			missed++
			fmt.Fprintf(out, "%-*s   %8s %7s   %9d   %14s\n", width, t.name, "not run", "-", t.stormed, "-")
			continue
		}
		fmt.Fprintf(out, "%-*s   %8d %7d   %9d   %14v\n", width, t.name, t.injected, t.bitten, t.stormed, tidy(t.recovery))
	}
	fmt.Fprintf(out, "%-*s   %8d %7s   %9s   %14v\n", width, "storms of several", r.storms.injected, "", "", tidy(r.storms.recovery))
	if missed > 0 {
		fmt.Fprintf(out, "%d kinds were not reached in so short a run, or only in storms\n", missed)
	}
	fmt.Fprintln(out)
}

func (r *run) reportViolations(out io.Writer) {
	v := &r.found
	fmt.Fprintf(out, "violations %d\n", v.total.Load())
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, n := range v.counts {
		if n > 0 {
			fmt.Fprintf(out, "  %-24v %d\n", kind(k), n)
		}
	}
	for _, text := range v.kept {
		fmt.Fprintf(out, "\n  %s\n", text)
	}
}

// count writes n with its thousands apart.
func count(n int64) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// tidy drops digits that say nothing.
func tidy(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}
