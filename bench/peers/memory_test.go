package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a million entries take: bytes and objects of the heap, the memory of the
// process, and the time of a garbage collection. Each peer has a process of its own,
// so that nothing of another is in its figures: this test binary, which finds in
// its environment whom to fill.

const (
	fillEnv     = "FASTOPT_BENCH_FILL"      // name of a peer
	fillSizeEnv = "FASTOPT_BENCH_FILL_SIZE" // number of keys
)

func TestMain(m *testing.M) {
	name := os.Getenv(fillEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	var size int
	h, err := holding{}, error(nil)
	if _, err = fmt.Sscan(os.Getenv(fillSizeEnv), &size); err == nil {
		h, err = hold(name, size)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(h)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// holding is what a process holds for its entries, beside what it held before.
type holding struct {
	Bytes, Objects float64 // of the heap, per entry
	Resident       float64 // bytes per entry; 0: the system does not say
	Server         float64 // bytes per entry in a server beside the process; 0: there is none
	GC             float64 // ms of one garbage collection with nothing else to do
	Fill           float64 // s
}

// hold fills a peer and measures this process.
func hold(name string, size int) (h holding, err error) {
	p, ok := Named(name)
	if !ok {
		return h, fmt.Errorf("no peer is named %s", name)
	}
	values(size) // the truth is in the figures before
	before, resident := heap(), residentBytes()
	start := time.Now()
	s, err := p.Open(context.Background(), size)
	if err != nil {
		return h, err
	}
	h.Fill = time.Since(start).Seconds()
	after := heap()
	per := float64(size)
	h.Bytes = (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / per
	h.Objects = (float64(after.HeapObjects) - float64(before.HeapObjects)) / per
	if resident > 0 {
		h.Resident = float64(residentBytes()-resident) / per
	}
	if server, ok := s.(interface {
		ServerBytes(ctx context.Context) (int, error)
	}); ok {
		n, err := server.ServerBytes(context.Background())
		if err != nil {
			return h, err
		}
		h.Server = float64(n) / per
	}
	h.GC = collection()
	return h, s.Close()
}

// heap returns what is reachable, once finalizers and weak pointers had their turn.
func heap() (m runtime.MemStats) {
	runtime.GC()
	debug.FreeOSMemory()
	runtime.ReadMemStats(&m)
	return m
}

// collection returns the median time of a forced garbage collection, in ms.
func collection() float64 {
	times := make([]float64, 7)
	for i := range times {
		start := time.Now()
		runtime.GC()
		times[i] = float64(time.Since(start)) / 1e6
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// residentBytes returns what memory the process has, on Linux.
func residentBytes() int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kB int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kB); err == nil {
			return kB << 10
		}
	}
	return 0
}

// fillProcess runs hold in a process of its own.
func fillProcess(ctx context.Context, name string, size int) (h holding, err error) {
	var out, errors bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fillEnv+"="+name, fmt.Sprintf("%s=%d", fillSizeEnv, size))
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		return h, fmt.Errorf("fill %s: %w: %s", name, err, errors.String())
	}
	return h, json.Unmarshal(out.Bytes(), &h)
}

// BenchmarkMemory has one row per peer: BenchmarkMemory/<peer>. ns/op is the time
// of a garbage collection; x-…-otter are ratios to otter, which is filled once.
// Registered options are few and known: there are ten thousand of them, and their
// time of a collection says nothing beside the others'.
func BenchmarkMemory(b *testing.B) {
	measured := map[string]holding{} // a benchmark may be called again for more operations
	process := func(b *testing.B, name string, size int) holding {
		h, ok := measured[name]
		if !ok {
			var err error
			if h, err = fillProcess(context.Background(), name, size); err != nil {
				b.Fatal(err)
			}
			measured[name] = h
		}
		return h
	}
	for _, p := range All() {
		if p.Job == DoesMore {
			continue
		}
		b.Run(p.Name, func(b *testing.B) {
			size := million
			if ofOptions(p) {
				size = 10_000
			}
			otter, h := process(b, "otter", million), process(b, p.Name, size)
			b.ReportMetric(h.GC*1e6, "ns/op")
			b.ReportMetric(h.Bytes, "B/entry")
			b.ReportMetric(h.Objects, "objects/entry")
			b.ReportMetric(h.Resident, "RSS-B/entry")
			b.ReportMetric(h.Fill, "fill-s")
			if h.Server > 0 {
				b.ReportMetric(h.Server, "server-B/entry")
			}
			b.ReportMetric(h.Bytes/otter.Bytes, "x-bytes-otter")
			b.ReportMetric(h.Objects/otter.Objects, "x-objects-otter")
			if size == million {
				b.ReportMetric(h.GC/otter.GC, "x-gc-otter")
			}
		})
	}
}

func TestAProcessOfItsOwnHolds(t *testing.T) {
	const size = 20_000
	h, err := fillProcess(t.Context(), "xsync-v3", size)
	if err != nil {
		t.Fatal(err)
	}
	// A key, an entry, and their place in the map.
	if h.Bytes < 40 || h.Bytes > 400 || h.Objects < 2 || h.Objects > 10 || h.GC <= 0 {
		t.Errorf("%d entries of xsync take %+v", size, h)
	}
	if _, err := fillProcess(t.Context(), "nobody", size); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("to fill a peer that is not there: %v", err)
	}
}
