// Package structure holds, as tests, what the shape of this repository
// promises: which package may import which, what a user's module graph holds,
// that all that is exported is explained, and that no text speaks of the
// machine it was written on.
package structure

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Imports point one way: cmd, bench, fuzz → fastopt → tiers ← stores.

const (
	module  = "github.com/fastopt/fastopt-go"
	fastopt = module + "/fastopt"
	tiers   = module + "/tiers"
	within  = module + "/internal/"

	xsync   = "github.com/puzpuzpuz/xsync/v3"
	rueidis = "github.com/redis/rueidis"
	pgx     = "github.com/jackc/pgx/v5"
	xSync   = "golang.org/x/sync"
	xTime   = "golang.org/x/time"
	flock   = "github.com/gofrs/flock"
	breaker = "github.com/sony/gobreaker/v2"
)

// allowed says, per folder, what its code may import beside the standard
// library: a package, or with a slash at the end all packages under it. What is
// allowed to be imported stands here, too, so that nothing comes in by a detour.
// Tests may import more. A new folder of other code is given its place here.
var allowed = map[string][]string{
	"tiers":               {},
	"tiers/memory":        {tiers},
	"tiers/redis":         {tiers, within + "envelope", rueidis, rueidis + "/"},
	"tiers/postgres":      {tiers, pgx, pgx + "/"},
	"tiers/tiertest":      {tiers},
	"fastopt":             {tiers, within + "point", within + "evict", within + "hook", within + "snapshot", xsync, xSync + "/", xTime + "/rate", breaker},
	"fastopt/fastopttest": {fastopt, tiers, tiers + "/memory", within + "hook", within + "faults"},
	"internal/endtoend":   {},
	"internal/evict":      {},
	"internal/envelope":   {tiers},
	"internal/faults":     {tiers},
	"internal/hook":       {},
	"internal/passes":     {},
	"internal/point":      {},
	"internal/servers":    {pgx, pgx + "/", rueidis},
	"internal/snapshot":   {tiers, flock},
	"internal/structure":  {},
	"cmd":                 {module + "/", xsync, rueidis, rueidis + "/", pgx, pgx + "/", xSync + "/"},
}

// ruleOf returns the rule of a folder; all under cmd share one.
func ruleOf(dir string) (rule []string, ok bool) {
	if strings.HasPrefix(dir, "cmd/") {
		dir = "cmd"
	}
	rule, ok = allowed[dir]
	return rule, ok
}

func permits(rule []string, imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(rule, func(r string) bool {
		return imported == r || strings.HasSuffix(r, "/") && strings.HasPrefix(imported, r)
	})
}

func TestImportsPointOneWay(t *testing.T) {
	unruled := map[string]bool{}
	for _, file := range sources(t) {
		dir := path.Dir(file)
		isTest := strings.HasSuffix(file, "_test.go")
		rule, ok := ruleOf(dir)
		if !ok && !isTest {
			unruled[dir] = true
			continue
		}
		for _, imported := range importsOf(t, file) {
			switch {
			case !isTest && !permits(rule, imported):
				t.Errorf("%s imports %s: %s may not", file, imported, dir)
			case isTest && strings.HasPrefix(dir, "tiers") && strings.HasPrefix(imported, fastopt):
				// Tests may look around, but a store is not tested by the library.
				t.Errorf("%s imports %s: a store does not know the library", file, imported)
			}
		}
	}
	for dir := range unruled {
		t.Errorf("%s: no rule says what it may import", dir)
	}
}

func TestUsersModuleGraphStaysSmall(t *testing.T) {
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Module  struct{ Path string }
		Go      string
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
		Tool    []any
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if mod.Module.Path != module {
		t.Errorf("the module is %s", mod.Module.Path)
	}
	if !regexp.MustCompile(`^1\.26(\.0)?$`).MatchString(mod.Go) {
		t.Errorf("the go directive is %s, want 1.26", mod.Go)
	}
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	slices.Sort(direct)
	if want := []string{flock, pgx, xsync, rueidis, breaker, xSync, xTime}; !slices.Equal(direct, want) {
		t.Errorf("direct requirements are %v, want %v", direct, want)
	}
	if len(mod.Replace)+len(mod.Tool) > 0 {
		t.Error("go.mod replaces modules or requires tools")
	}
}

func TestWhatOnlyMeasuresOrFuzzesHasItsOwnModule(t *testing.T) {
	for _, dir := range []string{"bench", "fuzz"} {
		text := read(t, dir+"/go.mod")
		for _, want := range []string{"module " + module + "/" + dir + "\n", "replace " + module + " => ../\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s/go.mod lacks %q", dir, want)
			}
		}
	}
}

// sources returns the Go files of the root module, relative to its root.
func sources(t *testing.T) (files []string) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			if strings.HasSuffix(name, ".go") {
				files = append(files, filepath.ToSlash(rel))
			}
		case rel == ".":
		case strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || exists(filepath.Join(name, "go.mod")):
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files under the root", len(files))
	}
	return files
}

func importsOf(t *testing.T, file string) (imported []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, read(t, file), parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		imported = append(imported, p)
	}
	return imported
}
