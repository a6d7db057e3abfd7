package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A comparison as a whole, of a repository that is made for it. Its benchmarks
// report figures of their own, so that no clock decides about the test.

const smallTest = `package small

import "testing"

func BenchmarkRow(b *testing.B) {
	b.Run("a", func(b *testing.B) { b.ReportMetric(ROW, "ns/op") })
	b.Run("b", func(b *testing.B) { b.ReportMetric(7, "ns/op") })
	b.Run("left", func(b *testing.B) { b.Run("out", func(b *testing.B) { b.ReportMetric(7, "ns/op") }) })
}

func BenchmarkOther(b *testing.B) { b.ReportMetric(1, "ns/op") }
`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// smallRepository has one commit, in which the row takes 2 ns.
func smallRepository(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write(t, dir, "go.mod", "module example.test/small\n\ngo 1.26\n")
	write(t, dir, "small_test.go", strings.ReplaceAll(smallTest, "ROW", "2"))
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."},
		{"-c", "user.name=n", "-c", "user.email=e@example.test", "commit", "-q", "-m", "small: begin"},
	} {
		command(t, dir, append([]string{"git"}, args...)...)
	}
	return dir
}

// compareSmall runs a comparison of the working tree with HEAD, in folder tmp.
func compareSmall(t *testing.T, dir, tmp, bench string) (verdicts []verdict, printed string) {
	t.Helper()
	t.Setenv("TMPDIR", tmp)
	var out strings.Builder
	c := comparison{root: dir, base: "HEAD", pkg: ".", bench: bench, skip: "^BenchmarkOther$|^BenchmarkRow$/./out", benchtime: "1x", rounds: minRounds, layouts: 2, cpus: "0", out: &out, progress: &out}
	verdicts, err := c.run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return verdicts, out.String()
}

func TestComparisonOfACommitWithItselfAndWithAPlantedCost(t *testing.T) {
	dir, tmp := smallRepository(t), t.TempDir()
	verdicts, printed := compareSmall(t, dir, tmp, "Row")
	for _, v := range verdicts {
		if v.word != unchanged {
			t.Errorf("nothing changed: %+v", v)
		}
	}
	if len(verdicts) != 2 || verdicts[0].row != "Row/a" || verdicts[1].row != "Row/b" || strings.Contains(printed, "Other") {
		t.Errorf("rows: %+v\n%s", verdicts, printed)
	}

	// The tree is dirty: the head is what lies there, not what was committed.
	text := strings.ReplaceAll(smallTest, "ROW", "4")
	write(t, dir, "small_test.go", text+"\nfunc BenchmarkRowNew(b *testing.B) { b.ReportMetric(1, \"ns/op\") }\n")
	verdicts, printed = compareSmall(t, dir, tmp, "Row")
	if len(verdicts) != 2 || verdicts[0].word != "slower" || !verdicts[0].worse || verdicts[0].ratio != 2 || verdicts[1].word != unchanged {
		t.Errorf("twice as slow: %+v", verdicts)
	}
	for _, want := range []string{"vs base", "RowNew: new, not in the base", "tests of this package differ", "about ", "A row is slower or faster if"} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not said:\n%s", want, printed)
		}
	}

	// It leaves nothing behind.
	if list := command(t, dir, "git", "worktree", "list"); strings.Count(list, "\n") != 1 {
		t.Errorf("worktrees are left:\n%s", list)
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "bench-compare-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAlternativesOfAnyDepthAreCompared(t *testing.T) {
	dir := smallRepository(t)
	for _, bench := range []string{"Other|Row/a", "Row/a|Other"} {
		var out strings.Builder
		c := comparison{root: dir, base: "HEAD", pkg: ".", bench: bench, benchtime: "1x", rounds: minRounds, layouts: 1, cpus: "0", out: &out, progress: &out}
		verdicts, err := c.run(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		rows := map[string]bool{}
		for _, v := range verdicts {
			rows[v.row] = true
		}
		if len(verdicts) != 2 || !rows["Other"] || !rows["Row/a"] {
			t.Errorf("%s: %+v\n%s", bench, verdicts, out.String())
		}
	}
}

func TestWhatCannotBeComparedIsAnError(t *testing.T) {
	dir := smallRepository(t)
	for name, c := range map[string]comparison{
		"no such revision":  {base: "nosuch", pkg: ".", bench: "."},
		"no such package":   {base: "HEAD", pkg: "./nosuch", bench: "."},
		"no such benchmark": {base: "HEAD", pkg: ".", bench: "NoSuch"},
	} {
		var out strings.Builder
		c.root, c.benchtime, c.rounds, c.layouts, c.cpus, c.out, c.progress = dir, "1x", minRounds, 1, "0", &out, &out
		if v, err := c.run(t.Context()); err == nil {
			t.Errorf("%s: %+v, want an error", name, v)
		}
	}
	if list := command(t, dir, "git", "worktree", "list"); strings.Count(list, "\n") != 1 {
		t.Errorf("worktrees are left:\n%s", list)
	}
	err := compareCommand(context.Background(), dir, []string{"-base", "HEAD", "-rounds", "3"})
	if err == nil || !strings.Contains(err.Error(), "at least") {
		t.Errorf("three rounds: %v", err)
	}
}

func TestPackagesAreFoundInTheirModules(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"lib", "bench/peers"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, "go.mod", "module m\n")
	write(t, filepath.Join(dir, "bench"), "go.mod", "module m/bench\n")
	for pkg, want := range map[string][2]string{
		"./lib": {"", "./lib"}, "lib/": {"", "./lib"}, ".": {"", "./."},
		"./bench": {"bench", "./"}, "./bench/peers": {"bench", "./peers"},
	} {
		module, rel, err := revision{dir: dir, pkg: pkg}.module()
		if err != nil || module != filepath.Join(dir, want[0]) || rel != want[1] {
			t.Errorf("%s is %s in %s, %v", pkg, rel, module, err)
		}
	}
}
