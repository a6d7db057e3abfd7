package redis

// Ways to track, side by side on the same servers: what a load costs, what the
// servers are asked, what is kept where, and how soon a change is heard. The
// rivals of pushed live here alone.
//
//	go test -run '^$' -bench Tracking -benchtime 1x ./tiers/redis

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/redis/rueidis"

	"github.com/fastopt/fastopt-go/tiers"
)

// copied reads by client-side caching with OPTIN, in its short form: two commands
// for a name, and a copy of it, which answers until a push or an hour later.
type copied struct{ pushed }

func (copied) prepare(opt *rueidis.ClientOption) { opt.CacheSizeEachConn = 16 << 20 }

func (copied) read(c rueidis.Client, keys []string, _ bool) []reply {
	gets := make([]rueidis.CacheableTTL, len(keys))
	for i, key := range keys {
		gets[i] = rueidis.CT(c.B().Get().Key(key).Cache().ToStaticTTL(), time.Hour)
	}
	return replies(c.DoMultiCache(context.Background(), gets...))
}

func (copied) ping(c rueidis.Client) error {
	for _, r := range c.DoMulti(context.Background(), c.B().ClientCaching().Yes().Build(), c.B().Ping().Build()) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// joined is pushed with one MGET for all names, where one server has them all.
// It cannot tell a key of another type from none.
type joined struct{ pushed }

func (joined) read(c rueidis.Client, keys []string, _ bool) []reply {
	if len(keys) == 1 {
		return readAll(c, keys, false)
	}
	all := make([]reply, len(keys))
	found, err := c.Do(context.Background(), c.B().Mget().Key(keys...).Build()).ToArray()
	for i := range all {
		if all[i].err = err; err == nil {
			all[i] = reply{found[i], found[i].Error()}
		}
	}
	return all
}

// A stand is one kind of servers with all that is measured there.
type stand struct {
	what string
	url  string
	ops  []*operator
	ways []way
}

type way struct {
	name  string
	track tracking
}

func BenchmarkTracking(b *testing.B) {
	single, cluster, sentinel := private(b), startCluster(b, 3, false), startGuarded(b)
	two := []way{{"OPTIN, copies", copied{}}, {"OPTOUT, GET", pushed{}}}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "servers\tway\tload 1 cold\twarm\t100 cold\twarm\t1000 cold\twarm\tcommands/reload of 1\tof 1000\tfill→push\tprocess kB\tserver kB\tallocs/s idle")
	for _, s := range []stand{
		{"single", single.URL(), []*operator{operate(b, single.Addr())}, append(two, way{"OPTOUT, MGET", joined{}})},
		{"cluster", cluster.url(), cluster.ops, two},
		{"sentinel", sentinel.url(), sentinel.ops[:1], two},
	} {
		rows := make([][]float64, len(s.ways))
		for i, way := range s.ways {
			rows[i] = s.measure(b, way)
		}
		for i, row := range rows {
			fmt.Fprintf(w, "%s\t%s", s.what, s.ways[i].name)
			for j, x := range row {
				if j < 6 || j == 8 {
					fmt.Fprintf(w, "\t%.0f µs %.2f×", x, x/rows[0][j])
				} else {
					fmt.Fprintf(w, "\t%.2f", x)
				}
			}
			fmt.Fprintln(w)
		}
	}
	w.Flush()
	b.Logf("times are medians, × of the first way\n%s", table.String())
	b.ReportMetric(0, "ns/op")
}

// measure returns the figures of one row.
func (s stand) measure(b *testing.B, way way) (row []float64) {
	set, err := Config{URL: s.url, KeyPrefix: strings.Map(letters, s.what+way.name)}.check()
	if err != nil {
		b.Fatal(err)
	}
	set.track = way.track
	c, other := start(set), start(set)
	defer c.Close()
	defer other.Close()
	l := listen(b, ready(b, c))
	ready(b, other)
	revision := uint64(1)
	change := func(names []string) {
		b.Helper()
		fills := make([]tiers.Fill, len(names))
		for i, name := range names {
			fills[i].Record = value(name, 1, revision, `"`+strings.Repeat("x", 200)+`"`)
		}
		revision++
		for _, res := range other.Fill(limit(b, patience), ns, fills) {
			if res.Err != nil {
				b.Fatal(res.Err)
			}
		}
	}
	loads := func(names []string) float64 {
		b.Helper()
		began := time.Now()
		for _, res := range c.Load(limit(b, patience), ns, names) {
			if res.Err != nil {
				b.Fatal(res.Err)
			}
		}
		return float64(time.Since(began).Microseconds())
	}
	settle := func() { l.after(b, 0, "Alive", since(time.Now())) }
	for _, n := range []int{1, 100, 1000} {
		var cold, warm []float64
		for range 11 {
			change(names(n))
			settle()
			cold, warm = append(cold, loads(names(n))), append(warm, loads(names(n)))
		}
		row = append(row, median(cold), median(warm))
	}
	for _, n := range []int{1, 1000} {
		change(names(n))
		settle()
		before := s.commands()
		loads(names(n))
		row = append(row, float64(s.commands()-before)/float64(n))
	}
	var lags []float64
	for range 200 {
		loads(names(1))
		at := len(l.heard())
		began := time.Now()
		change(names(1))
		for len(l.heard()) == at {
			runtime.Gosched()
		}
		lags = append(lags, float64(time.Since(began).Microseconds()))
	}
	row = append(row, median(lags))
	change(names(1000))
	c.Close()
	other.Close()
	return append(row, s.idle(b, set)...)
}

// idle returns what 1,000 loaded names cost who does nothing with them.
func (s stand) idle(b *testing.B, set *setup) (row []float64) {
	c := ready(b, start(set))
	defer c.Close()
	heap, server := heapKB(), s.memoryKB()
	c.Load(limit(b, patience), ns, names(1000))
	row = append(row, heapKB()-heap, s.memoryKB()-server)
	go c.Watch(b.Context(), ns, func(tiers.Event) {})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	<-time.After(4 * time.Second)
	runtime.ReadMemStats(&after)
	return append(row, float64(after.Mallocs-before.Mallocs)/time.Since(began).Seconds())
}

func letters(r rune) rune {
	if strings.ContainsRune(prefixChars, r) {
		return r
	}
	return -1
}

func median(xs []float64) float64 {
	slices.Sort(xs)
	return xs[len(xs)/2]
}

func heapKB() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1024
}

// memoryKB is what the servers use, of which only the difference made by a load is of interest.
func (s stand) memoryKB() (sum float64) {
	for _, op := range s.ops {
		sum += op.info("memory", "used_memory:")
	}
	return sum / 1024
}

// commands is how many the servers have run but for heartbeats, looking around, and our own question.
func (s stand) commands() (sum int) {
	for _, op := range s.ops {
		stats, _ := op.do("INFO", "commandstats").ToString()
		for line := range strings.Lines(stats) {
			name, rest, _ := strings.Cut(line, ":calls=")
			switch name {
			case "cmdstat_get", "cmdstat_mget", "cmdstat_client|caching":
				var n int
				fmt.Sscanf(rest, "%d,", &n)
				sum += n
			}
		}
	}
	return sum
}

func (o *operator) info(section, field string) (n float64) {
	text, _ := o.do("INFO", section).ToString()
	_, text, _ = strings.Cut(text, field)
	fmt.Sscanf(text, "%f", &n)
	return n
}
