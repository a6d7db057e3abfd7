package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestRecordingIsOneFileThatCanBeRead(t *testing.T) {
	dir, out := smallRepository(t), t.TempDir()
	var progress strings.Builder
	r := recording{root: dir, out: out, bench: "Row", benchtime: "1x", count: 3, suites: []suite{{module: ".", pkg: "."}}, progress: &progress}
	file, err := r.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.run(t.Context())
	if err != nil || again == file || !strings.HasSuffix(again, "-2.txt") {
		t.Errorf("a second run of the day is written to %s, %v; the first to %s", again, err, file)
	}
	for _, want := range []string{"BenchmarkRow/a", "[1 of 1]", "is not known yet", "as last time (" + filepath.Base(file) + ")"} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("%q is not said:\n%s", want, progress.String())
		}
	}
	results, err := readResults(out)
	if err != nil || len(results) != 2 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	got := results[0]
	commit := strings.TrimSpace(command(t, dir, "git", "rev-parse", "HEAD"))
	if n := len(got.rows["Row/a"]["ns/op"]); n != 3 || got.rows["Other"] != nil {
		t.Errorf("%d values, of rows %v", n, got.names)
	}
	if got.config["commit"] != commit || got.config["code"] != "as committed" || got.config["toolchain"] == "" || got.config["duration"] == "" || got.config["date"] == "" {
		t.Errorf("configuration: %v", got.config)
	}
	if !strings.Contains(got.name, commit[:12]) {
		t.Errorf("the file is called %s", got.name)
	}
}

func TestEachBenchmarkIsInOneSuite(t *testing.T) {
	begin := regexp.MustCompile(`(?m)^func (Benchmark\w+)\(`)
	for _, folder := range []string{"fastopt", "bench", "bench/peers"} {
		files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range begin.FindAllStringSubmatch(string(text), -1) {
				in := 0
				for _, s := range suites {
					if filepath.Join(s.module, s.pkg) == filepath.FromSlash(folder) && (s.skip == "" || !regexp.MustCompile(s.skip).MatchString(m[1])) {
						in++
					}
				}
				if in != 1 {
					t.Errorf("%s of %s is in %d suites", m[1], folder, in)
				}
			}
		}
	}
}

func TestRecordingThatFailsKeepsWhatThereIsUnderNoName(t *testing.T) {
	dir, out := smallRepository(t), t.TempDir()
	write(t, dir, "small_test.go", strings.ReplaceAll(smallTest, "ROW", "2")+"\nfunc BenchmarkRowFails(b *testing.B) { b.Fatal(`planted`) }\n")
	r := recording{root: dir, out: out, bench: "Row", benchtime: "1x", count: 1, suites: []suite{{module: ".", pkg: "."}}, progress: &strings.Builder{}}
	if file, err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), ".part") {
		t.Errorf("%s, %v", file, err)
	}
	left, err := os.ReadDir(out)
	if err != nil || len(left) != 1 || filepath.Ext(left[0].Name()) != ".part" {
		t.Errorf("left: %v, %v", left, err)
	}
	config, err := place(t.Context(), dir, time.Now())
	if err != nil || config[1].value != "changed since" {
		t.Errorf("a dirty tree is %v, %v", config, err)
	}
	r.bench = "NoSuch"
	if _, err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), "no benchmark matches") {
		t.Errorf("no benchmark: %v", err)
	}
}
