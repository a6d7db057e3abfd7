package fastopt_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Get is cheap only if a caller in another module gets it inlined. That is the
// compiler's decision, so the compiler is asked: a small caller is built, and
// both its inlining decisions and the machine code of its loops are read.
//
// The line "can inline (*Option[int]).Get" proves nothing: that is the wrapper
// that passes a dictionary. What has to inline is the body that all types of
// one shape share, (*Option[go.shape.int]).Get.
//
// Both are asked for amd64 and arm64, whatever the machine: the inliner's budget
// is the same, what counts as cheap is not.

const inlineCaller = `package main

import (
	"sync/atomic"

	"github.com/fastopt/fastopt-go/fastopt"
)

type limits struct {
	rate  float64
	burst int64
	name  string
}

//go:noinline
func loopInt(o *fastopt.Option[int], n int) (sum int) {
	for range n {
		sum += o.Get()
	}
	return sum
}

//go:noinline
func loopString(o *fastopt.Option[string], n int) (sum int) {
	for range n {
		sum += len(o.Get())
	}
	return sum
}

//go:noinline
func loopStruct(o *fastopt.Option[limits], n int) (sum int64) {
	for range n {
		v := o.Get()
		sum += v.burst + int64(v.rate) + int64(len(v.name))
	}
	return sum
}

//go:noinline
func loopStore(o *fastopt.Option[int], last *int, n int) (sum int) {
	for range n {
		sum += o.Get()
		*last = sum
	}
	return sum
}

//go:noinline
func loopBad(o *fastopt.Option[int], reads *atomic.Int64, n int) (sum int) {
	for range n {
		reads.Add(1)
		sum += o.Inspect().Value
	}
	return sum
}

func main() {
	var r fastopt.Registry
	i, s, l := fastopt.New(&r, "i", 1), fastopt.New(&r, "s", "x"), fastopt.New(&r, "l", limits{})
	println(loopInt(i, 2), loopString(s, 2), loopStruct(l, 2), loopBad(i, new(atomic.Int64), 2), loopStore(i, new(int), 2))
}
`

// inlineModule writes a caller as a module of its own and returns its folder.
// It has the library's requirements, so that it needs no network.
func inlineModule(t *testing.T, caller string) string {
	t.Helper()
	gomod := strings.TrimSpace(inlineRun(t, ".", "", "go", "env", "GOMOD"))
	root, dir := filepath.Dir(gomod), t.TempDir()
	const path = "github.com/fastopt/fastopt-go"
	mod := strings.Replace(inlineRead(t, gomod), "module "+path, "module example.test/caller", 1)
	mod += "\nrequire " + path + " v0.0.0\n\nreplace " + path + " => " + root + "\n"
	for name, text := range map[string]string{
		"go.mod": mod, "go.sum": inlineRead(t, filepath.Join(root, "go.sum")), "main.go": caller,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func inlineRead(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// inlineRun returns what a go command says, for an architecture ("" for ours).
func inlineRun(t *testing.T, dir, arch string, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if dir != "." {
		cmd.Env = append(cmd.Env, "GOFLAGS=-mod=mod", "GOPROXY=off")
	}
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOOS=linux", "GOARCH="+arch)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

func TestGetInlinesIntoAForeignCaller(t *testing.T) {
	for arch := range inlineCostly {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			dir := inlineModule(t, inlineCaller)
			said := inlineRun(t, dir, arch, "go", "build", "-gcflags=-m=2", "-o", filepath.Join(dir, "caller"), ".")
			for _, shape := range []string{`int`, `string`, `struct {[^}]*}`} {
				body := `fastopt\.\(\*Option\[go\.shape\.` + shape + `\]\)\.Get`
				if !regexp.MustCompile(`option\.go:\d+:\d+: can inline ` + body + ` with cost`).MatchString(said) {
					t.Errorf("shape %s: the compiler does not say that the body of Get can be inlined", shape)
				}
				if !regexp.MustCompile(`main\.go:\d+:\d+: inlining call to ` + body).MatchString(said) {
					t.Errorf("shape %s: the compiler does not inline Get into the caller", shape)
				}
			}
		})
	}
}

// What no loop of reads may hold: a call, or an instruction that locks a cache
// line. A plain LDAR of arm64 is the atomic load itself.
var inlineCostly = map[string]*regexp.Regexp{
	"amd64": regexp.MustCompile(`\t(CALL|LOCK|XCHG|CMPXCHG|XADD|MFENCE)`),
	"arm64": regexp.MustCompile(`\t(CALL|BL|BLR|DMB|CAS\w*|SWP\w*|LDADD\w*|LDCLR\w*|LDSET\w*|LDEOR\w*|LDA?XRB?W?|STL?XRB?W?|STLR\w*)\b`),
}

// inlineStore finds the instructions of a listing that write to memory other than
// the own stack: those whose last operand is an address in a register that is not
// the stack pointer. Compared, tested, jumped to or prefetched is not written.
func inlineStore(text string) (found []string) {
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		instruction := strings.TrimSpace(fields[len(fields)-1])
		if inlineAddress.MatchString(instruction) && !inlineReads.MatchString(instruction) && !strings.HasSuffix(instruction, "SP)") {
			found = append(found, instruction)
		}
	}
	return found
}

var (
	inlineReads   = regexp.MustCompile(`^(CMP|TEST|BT[LQW] |UCOMI|COMI|NOP|J|CALL|BL? |CBN?Z|TBN?Z|PRFM|PREFETCH|PCMP)`)
	inlineAddress = regexp.MustCompile(`, [^,]*\(\w+(\*\d|<<\d)?\)$|^(INC|DEC|NEG|NOT|SET)\w* [^,]*\(\w+(\*\d)?\)$`)
)

func TestStoresAreToldFromReads(t *testing.T) {
	for instruction, stores := range map[string]bool{
		"MOVQ AX, 0x8(CX)": true, "MOVQ AX, 0(CX)(DX*8)": true, "ADDQ $0x1, 0(AX)": true, "INCQ 0(AX)": true, "BTSQ $0x3, 0(AX)": true, "MOVD R1, (R2)(R3<<3)": true, "STP (R1, R2), 16(R0)": true,
		"MOVQ 0x8(CX), AX": false, "MOVQ AX, 0x8(SP)": false, "CMPQ AX, 0x8(CX)": false, "BTQ $0x3, 0(AX)": false, "TESTB AX, 0(CX)": false, "MOVD 8(R0), R1": false, "MOVD R1, 8(RSP)": false,
	} {
		if found := inlineStore("  x.go:1\t0x10\t00\t" + instruction + "\t"); (len(found) > 0) != stores {
			t.Errorf("%s: a store is %v, want %v", instruction, !stores, stores)
		}
	}
}

func TestLoopOfGetHoldsNoCallNoLockAndNoStore(t *testing.T) {
	for arch, costly := range inlineCostly {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			dir := inlineModule(t, inlineCaller)
			bin := filepath.Join(dir, "caller")
			inlineRun(t, dir, arch, "go", "build", "-o", bin, ".")
			listing := inlineRun(t, dir, "", "go", "tool", "objdump", "-s", `^main\.loop`, bin)
			code := map[string]string{}
			for _, text := range strings.Split(listing, "TEXT ")[1:] {
				name, _, _ := strings.Cut(text, "(SB)")
				code[name] = text
			}
			for _, name := range []string{"main.loopInt", "main.loopString", "main.loopStruct"} {
				text := code[name]
				if !regexp.MustCompile(`option\.go:\d+`).MatchString(text) {
					t.Errorf("%s: no instruction comes from Get:\n%s", name, text)
				}
				if found := costly.FindString(text); found != "" {
					t.Errorf("%s holds%s:\n%s", name, found, text)
				}
				if found := inlineStore(text); len(found) > 0 {
					t.Errorf("%s writes to memory, by %q:\n%s", name, found, text)
				}
			}
			// The control: this check finds calls, locks and stores where they are.
			bad := strings.Join(costly.FindAllString(code["main.loopBad"], -1), "")
			if want := map[string]string{"amd64": "LOCK", "arm64": "LDAXR"}[arch]; !strings.Contains(bad, "CALL") || !strings.Contains(bad, want) {
				t.Errorf("the check is blind: in the bad loop it sees only %q", bad)
			}
			if found := inlineStore(code["main.loopStore"]); len(found) != 1 {
				t.Errorf("the check is blind: in the loop that stores it sees %q:\n%s", found, code["main.loopStore"])
			}
		})
	}
}
