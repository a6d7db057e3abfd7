package fastopt_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// A reader that writes makes all other readers wait for the cache line. So no
// hit, by name or of a family, may execute a locked instruction, or store to
// memory that is shared; that Option.Get does not is seen in get_inline_test.go.
//
// The paths are read in machine code: from a caller in a foreign module along all
// calls. The library is built without inlining for that, so that each of its
// functions, and each operation of sync/atomic, is a call that can be told from
// others. What is not part of a hit is left out by name, with the reason.

const writesCaller = `package main

import "github.com/fastopt/fastopt-go/fastopt"

//go:noinline
func byName(m *fastopt.Manager, name string) any {
	v, _ := m.Get(name)
	return v
}

//go:noinline
func typed(m *fastopt.Manager, name string) int {
	v, _ := fastopt.Lookup[int](m, name)
	return v
}

//go:noinline
func member(f *fastopt.Family[int], key string) int { return f.Get(key) }

//go:noinline
func bad(o *fastopt.Option[int]) int { return o.Inspect().Value }

func main() {
	var r fastopt.Registry
	o := fastopt.New(&r, "o", 1)
	f := fastopt.DeclareFamily(&r, fastopt.FamilySpec[int]{Prefix: "f", MaxEntries: 1})
	m := new(fastopt.Manager)
	println(byName(m, "o"), typed(m, "o"), member(f, "a"), bad(o))
}
`

// writesLeftOut are calls, written "caller → callee", that a hit does not make,
// or makes rarely by design.
var writesLeftOut = []struct {
	call *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`→ runtime\.(morestack|go[pP]anic|panic|gcWriteBarrier|newobject|conv|mallocgc|concat|fatal|throw|assert|typeAssert)`), "grows the stack, fails, or allocates, which no hit does (TestReadsDoNotAllocate)"},
	{regexp.MustCompile(`→ fastopt\.(failed|because|unknown|mistyped|unbox)\b`), "is an error"},
	{regexp.MustCompile(`→ fastopt\.(\(\*Manager\)\.member|checkFamilyKey)$`), "no option has this name"},
	{regexp.MustCompile(`→ fastopt\.(\(\*refresher\)\.read|\(\*key\)\.outlive|\(\*family\)\.usable|\(\*residents\[.*\]\)\.missing)$`), "the member is missing, old, or past its end"},
	{regexp.MustCompile(`→ internal/evict\.\(\*Node\)\.Used$`), "writes under a condition that hits soon make false"},
	{regexp.MustCompile(`→ fastopt\.\(\*readCounter\)\.`), "counts reads, where Config.CountReads asks for it"},
}

// writesMet tells which of them were met: one that nothing needs any more could hide
// what comes next.
var writesMet = make([]atomic.Bool, len(writesLeftOut))

// What writes to memory that others read, on each architecture.
var writesLocked = map[string]*regexp.Regexp{
	"amd64": regexp.MustCompile(`\t(LOCK|XCHG\w* .*\(|CMPXCHG|XADD|MFENCE)`),
	"arm64": regexp.MustCompile(`\t(DMB|CAS\w*|SWP\w*|LDADD\w*|LDCLR\w*|LDSET\w*|LDEOR\w*|LDA?XRB?W?|STL?XRB?W?|STLR\w*)\b`),
}

var (
	writesCall   = regexp.MustCompile(`\t(?:CALL|JMP|B|BL) (\S.*)\(SB\)`)
	writesModule = strings.NewReplacer("github.com/fastopt/fastopt-go/", "", "github.com/puzpuzpuz/", "")
)

// writesOn follows all calls from root, and returns what writes, each with the
// way that leads there.
func writesOn(code map[string]string, arch, root string) (found []string, seen map[string]bool) {
	seen = map[string]bool{}
	var follow func(name, way string)
	follow = func(name, way string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, writing := range writesLocked[arch].FindAllString(code[name], -1) {
			found = append(found, way+" holds "+strings.TrimSpace(writing))
		}
		if strings.HasPrefix(name, "fastopt.") || strings.HasPrefix(name, "internal/evict.") || strings.HasPrefix(name, "xsync/") {
			for _, store := range inlineStore(code[name]) {
				found = append(found, way+" stores: "+store)
			}
		}
	calls:
		for _, call := range writesCall.FindAllStringSubmatch(code[name], -1) {
			step := name + " → " + call[1]
			for i, out := range writesLeftOut {
				if out.call.MatchString(step) {
					writesMet[i].Store(true)
					continue calls
				}
			}
			follow(call[1], way+" → "+call[1])
		}
	}
	follow(root, root)
	return found, seen
}

func TestHitsByNameAndOfFamiliesWriteNothing(t *testing.T) {
	t.Cleanup(func() { // when all architectures are done
		for i, out := range writesLeftOut {
			if !writesMet[i].Load() {
				t.Errorf("nothing is left out by %q", out.call)
			}
		}
	})
	for arch := range writesLocked {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			dir := inlineModule(t, writesCaller)
			bin := filepath.Join(dir, "caller")
			inlineRun(t, dir, arch, "go", "build", "-gcflags=-l", "-gcflags=github.com/fastopt/fastopt-go/...=-l", "-o", bin, ".")
			code := map[string]string{}
			for _, text := range strings.Split(inlineRun(t, dir, "", "go", "tool", "objdump", bin), "TEXT ")[1:] {
				name, _, _ := strings.Cut(text, "(SB)")
				code[writesModule.Replace(name)] = writesModule.Replace(text)
			}
			for root, through := range map[string]string{
				"main.byName": "fastopt.(*Manager).Get", "main.typed": "fastopt.(*Manager).find",
				"main.member": "fastopt.(*Family[go.shape.int]).Get",
			} {
				found, seen := writesOn(code, arch, root)
				if !seen[through] {
					t.Errorf("%s does not lead to %s: the check is blind", root, through)
				}
				for _, what := range found {
					t.Error(what)
				}
			}
			// The methods behind cell and table, which are called through an interface.
			for _, root := range []string{"fastopt.(*Option[go.shape.int]).load", "fastopt.(*residents[go.shape.int]).get"} {
				if found, seen := writesOn(code, arch, root); len(found) > 0 || len(seen) < 2 {
					t.Errorf("%s: %q, through %v", root, found, seen)
				}
			}
			// The control: it sees the lock that a write takes.
			if found, _ := writesOn(code, arch, "fastopt.(*Option[go.shape.int]).swap"); len(found) == 0 {
				t.Error("the check is blind: it sees nothing in the publication of a value")
			}
		})
	}
}
