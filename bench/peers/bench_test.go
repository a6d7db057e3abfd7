package peers

import (
	"context"
	"runtime"
	"testing"

	"github.com/fastopt/fastopt-go/internal/passes"
)

// What a read costs: BenchmarkPeers/<workload>/<peer>. Each peer is timed in
// turns with those it is compared with. ns/op is its own median over all passes,
// x-… the median of its ratios to another one in the same pass; misses/op and
// changes/s stand where there are any.

// references are those whom a peer is compared with.
func references(p Peer) []string {
	switch {
	case p.Job == ByHandle:
		return []string{"atomic.Pointer"}
	case p.Ours:
		return []string{"xsync-v3", "otter", "otter-coarse", "sturdyc"}
	}
	return []string{"xsync-v3"}
}

// A workload is measured on all peers that can take part in it.
type workload struct {
	name    string
	size    int // keys
	has     func(p Peer) bool
	prepare preparation
	// pass is how many operations a pass has at least; of handles twenty times as
	// many, for they cost a twentieth. Where memory is what a read costs, those who
	// run in turns drive each other out of the processor's caches; a pass must be
	// long enough to bring its own in again, and for goroutines to begin.
	pass int
}

func (w workload) least(p Peer) int {
	if p.Job == ByHandle {
		return passes.Passes * w.pass * handleFactor
	}
	return passes.Passes * w.pass
}

const handleFactor = 20

const million = 1_000_000

func everybody(Peer) bool { return true }
func sameJob(p Peer) bool { return p.Job != DoesMore }

// Handles are of options, which are few and known.
func byKey(p Peer) bool { return p.Job == ByKey && !ofOptions(p) }

// ofOptions says whether a peer reads registered options.
func ofOptions(p Peer) bool { return p.Ours && p.Name != "Family.Get" }

// Each write of OpenFeature's provider sorts all its flags.
func writers(p Peer) bool { return p.Name != "OpenFeature" }

var workloads = []workload{
	{"hot", 10_000, everybody, inOrder(Hot, 1<<10), 0},
	{"chain-8k", 8192, everybody, inChain, 1 << 14},
	{"zipf-10k", 10_000, everybody, inOrder(Zipf, 1<<16), 1 << 14},
	{"uniform-1M", million, byKey, inOrder(Uniform, 1<<20), 1 << 13},
	{"write-0.1%", 10_000, writers, mixed(1000), 1 << 13},
	{"write-10%", 10_000, writers, mixed(10), 1 << 10},
	{"request-16", 10_000, everybody, byRequest, 0},
	{"neighbour", 10_000, sameJob, besidePublisher, 1 << 15},
	{"storm", 10_000, sameJob, inStorm, 1 << 15},
}

func BenchmarkPeers(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			f := &field{workload: w, stores: map[string]Store{}, rivals: map[string]*rival{}}
			b.Cleanup(f.closeAll)
			for _, p := range All() {
				if w.has(p) {
					b.Run(p.Name, func(b *testing.B) { f.measure(b, p) })
					f.leave(p)
				}
			}
		})
	}
}

// A field is all rivals in one workload. A store is opened when it is first
// needed, and closed after its row, unless others are compared with it: a
// benchmark that is not asked for costs nothing, and what is held for one row
// burdens no other.
type field struct {
	workload
	ready  func(s Store) *rival // prepared
	stores map[string]Store
	rivals map[string]*rival
}

// rival returns the rival of a peer's store.
func (f *field) rival(b *testing.B, name string) *rival {
	b.Helper()
	if r := f.rivals[name]; r != nil {
		return r
	}
	p, ok := Named(name)
	if !ok {
		b.Fatalf("no peer is named %s", name)
	}
	s, err := p.Open(context.Background(), f.size)
	if err != nil {
		b.Fatalf("open %s: %v", name, err)
	}
	if f.ready == nil {
		f.ready = f.prepare(f.size)
	}
	f.stores[name], f.rivals[name] = s, f.ready(s)
	return f.rivals[name]
}

// measure times a peer and its references.
func (f *field) measure(b *testing.B, p Peer) {
	own := f.rival(b, p.Name)
	run := []passes.Rival{own.do}
	var against []string
	for _, name := range references(p) {
		if name != p.Name {
			against = append(against, name)
			run = append(run, f.rival(b, name).do)
		}
	}
	misses, changes := f.stores[p.Name].Misses(), own.changes.Load()
	b.ResetTimer()
	ops := max(b.N, f.least(p))
	figures := passes.Time(ops, run...)
	b.StopTimer()
	b.ReportMetric(figures[0].NS, "ns/op")
	reportAllocations(b, own.do)
	for i, name := range against {
		b.ReportMetric(1/figures[i+1].Ratio, "x-"+name)
	}
	if n := f.stores[p.Name].Misses() - misses; n > 0 {
		b.ReportMetric(float64(n)/float64(ops), "misses/op")
	}
	if n := own.changes.Load() - changes; n > 0 {
		b.ReportMetric(float64(n)/(figures[0].NS*float64(ops)/1e9), "changes/s")
	}
}

// reportAllocations reports those of one rival, with what goes on in the
// background meanwhile.
func reportAllocations(b *testing.B, do passes.Rival) {
	const ops = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do(ops)
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64((after.Mallocs-before.Mallocs)/ops), "allocs/op")
	b.ReportMetric(float64((after.TotalAlloc-before.TotalAlloc)/ops), "B/op")
}

// leave closes a peer's store if nobody is compared with it.
func (f *field) leave(p Peer) {
	for _, q := range All() {
		for _, name := range references(q) {
			if name == p.Name {
				return
			}
		}
	}
	f.close(p.Name)
}

func (f *field) close(name string) {
	if s := f.stores[name]; s != nil {
		must(s.Close())
		delete(f.stores, name)
		delete(f.rivals, name)
	}
}

func (f *field) closeAll() {
	for name := range f.stores {
		f.close(name)
	}
}
