// Command mutants plants bugs in a copy of the library, one at a time, and says
// how many seeds the simulator needs to find each. What the simulator does not
// simulate, or meets too seldom, has a killer: a test of package fastopt or sim. A bug that
// is not found ends the command with status 1, unless it is known to be harmless:
// where two guards stand, either alone is enough.
//
//	go run ./sim/mutants [-seeds 5000] [-only m4,g7] [-all]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A mutant is a bug: what is replaced in which files.
type mutant struct {
	name, what string
	harmless   string // why no seed can find it; "" if one must
	killer     string // the test that finds it, of package fastopt or, as sim.Test…, of sim; "": the simulator
	edits      []edit
}

// An edit replaces a text that stands in a file exactly once.
type edit struct{ file, old, new string }

func main() {
	seeds := flag.Int("seeds", 5000, "seeds to try per bug")
	all := flag.Bool("all", false, "go on after the first that finds it, and count")
	only := flag.String("only", "", "try these bugs alone, by name, separated by commas")
	flag.Parse()
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/fastopt/fastopt-go").Output()
	if err != nil {
		fatal(fmt.Errorf("find the library: %w", err))
	}
	missed := 0
	for _, m := range mutants {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), m.name) {
			continue
		}
		start := time.Now()
		found, err := m.hunt(strings.TrimSpace(string(root)), *seeds, *all)
		if err != nil {
			fatal(fmt.Errorf("%s: %w", m.name, err))
		}
		switch {
		case found == "" && m.harmless != "":
			found = "not found, and need not be: " + m.harmless
		case found == "":
			found = "NOT FOUND"
			missed++
		}
		fmt.Printf("%-5s %-58s %s (%v)\n", m.name, m.what, found, time.Since(start).Round(time.Second))
	}
	if missed > 0 {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "mutants:", err)
	os.Exit(1)
}

var (
	violation = regexp.MustCompile(`seed (\d+), step \d+: ([^:\n]+)`)
	failure   = regexp.MustCompile(`--- FAIL: (\w+)`)
	total     = regexp.MustCompile(`(\d+) seeds, \d+ steps, (\d+) with a violation`)
)

// hunt runs the campaign on a copy of the library with m in it, and says which
// seed found it first and how many did, "" if none.
func (m mutant) hunt(root string, seeds int, all bool) (string, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := copyLibrary(root, dir); err != nil {
		return "", err
	}
	for _, e := range m.edits {
		if err := e.apply(dir); err != nil {
			return "", err
		}
	}
	if m.killer != "" {
		return m.unitTest(dir)
	}
	args := []string{"test", "./sim", "-run", "TestCampaign", "-v", "-timeout", "10m", fmt.Sprint("-sim.all=", all),
		fmt.Sprint("-sim.seeds=", seeds)}
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(dir, "fuzz")
	out, err := cmd.CombinedOutput()
	first := violation.FindSubmatch(out)
	sum := total.FindSubmatch(out)
	switch {
	case first != nil && !all:
		return fmt.Sprintf("by seed %s (%s)", first[1], first[2]), nil
	case first != nil && sum != nil:
		return fmt.Sprintf("first by seed %s (%s), %s of %s", first[1], first[2], sum[2], sum[1]), nil
	case first != nil:
		return fmt.Sprintf("first by seed %s (%s), then the run broke down", first[1], first[2]), nil
	case err != nil && strings.Contains(string(out), "[build failed]"), sum == nil && !strings.Contains(string(out), "panic:"):
		return "", fmt.Errorf("it does not run:\n%s", out)
	case sum == nil:
		return "the run broke down", nil
	}
	return "", nil
}

// unitTest runs m's killer on the copy in dir.
func (m mutant) unitTest(dir string) (string, error) {
	name, module, pkg := m.killer, dir, "./fastopt"
	if after, ok := strings.CutPrefix(name, "sim."); ok {
		name, module, pkg = after, filepath.Join(dir, "fuzz"), "./sim"
	}
	cmd := exec.Command("go", "test", pkg, "-run", "^("+name+")$", "-count", "1", "-timeout", "5m")
	cmd.Dir = module
	out, err := cmd.CombinedOutput()
	switch failed := failure.FindSubmatch(out); {
	case failed != nil:
		return fmt.Sprintf("by %s", failed[1]), nil
	case err != nil || strings.Contains(string(out), "no tests to run"):
		return "", fmt.Errorf("its killer %s does not run:\n%s", m.killer, out)
	}
	return "", nil
}

// copyLibrary copies what the campaign is built from.
func copyLibrary(root, dir string) error {
	for _, part := range []string{"fastopt", "tiers", "internal", "fuzz"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(root, part))); err != nil {
			return err
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e edit) apply(dir string) error {
	path := filepath.Join(dir, e.file)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(data), e.old); n != 1 {
		return fmt.Errorf("%s has the text to replace %d times, not once: %q", e.file, n, e.old)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(data), e.old, e.new, 1)), 0o600)
}
